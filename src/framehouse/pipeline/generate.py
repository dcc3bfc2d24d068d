"""Shots -> engine -> pictures, each finished and kept as soon as it is made."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Literal
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from framehouse.adapters.images.checker import PictureChecker
from framehouse.adapters.postgres import batch_queue
from framehouse.adapters.postgres.batch_queue import Claimed
from framehouse.adapters.postgres.pool import Database
from framehouse.adapters.storage import Storage
from framehouse.adapters.telemetry import metrics, spans
from framehouse.domain.errors import Broken, Declined, Unavailable, Unknown
from framehouse.domain.reference import ratio_from_references
from framehouse.domain.shot import Finished, Shot
from framehouse.domain.sizes import AUTO, Size, size_of
from framehouse.engines.image_files import Png
from framehouse.engines.interface import Abilities, Batch, BatchLost, Painted, ReferenceImage
from framehouse.engines.registry import Route
from framehouse.pipeline.finish import Finishing, finish
from framehouse.pipeline.order_note import BatchMemory, open_route
from framehouse.pipeline.references import load_elements, load_references
from framehouse.pipeline.save_shot import settle_shot

FINISH_PAUSES_S = (0.5, 5.0)


@dataclass(frozen=True, slots=True)
class Done:
    """Every shot of the batch is kept, or nobody wants them any more."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Not now: the batch goes back and is due again later. `blamed`: it may be the batch's own fault, so its tries
    are counted. `owed`: something of it is under way elsewhere, so it is not given up soon."""

    why: str
    blamed: bool = False
    owed: bool = False


@dataclass(frozen=True, slots=True)
class Fail:
    """Final: the task ends as failed, with this reason for the caller."""

    why: str


class Unfinished(Exception):
    """An engine painted it, and we could not make files of it: it must not be painted again. The message is for the
    caller, the cause for the log."""


@dataclass(frozen=True, slots=True)
class HandOn:
    """Now, but by a worker that serves this route: the batch goes back and waits for one. `why` is what was wrong with
    the routes before; empty where nothing was."""

    route: str
    why: str = ""


Fate = Done | Retry | Fail | HandOn


@dataclass(frozen=True, slots=True)
class Rules:
    """How this house paints: what pictures are like, how long they are kept, where references may come from, and by
    which URL others may hasten a batch (None: nobody can reach this house)."""

    finishing: Finishing
    retention: timedelta
    allow_private_addresses: bool
    hasten_url: Callable[[int], str | None] = lambda _: None


async def load_batch(
    batch: Claimed, *, db: Database, storage: Storage, checker: PictureChecker, rules: Rules
) -> Batch | Fate:
    """What the engines are to be given for a claimed batch, its pictures fetched and checked; or, where they cannot be
    had, what is to become of it. May take long, and paints nothing."""
    try:
        references = await load_references(batch, db, storage, checker, allow_private=rules.allow_private_addresses)
        elements = await load_elements(batch.elements, db, storage, checker)
    except Unavailable as error:
        return Retry(error.message, blamed=True)
    except Declined as error:
        return Fail(error.message)
    ratio = batch.ratio
    if ratio == AUTO:
        sizes = [(reference.width, reference.height) for reference in references]
        frontal = [(element.images[0].width, element.images[0].height) for element in elements]
        found = ratio_from_references(batch.prompt, sizes, frontal)
        assert found is not None  # auto is left only where a reference decides
        ratio = await batch_queue.keep_ratio(db, batch.task_id, found)
    return Batch(
        task_id=str(batch.task_id),
        shots=batch.shots,
        image_count=batch.image_count,
        size=size_of(ratio, batch.resolution),
        references=references,
        elements=elements,
        model=batch.model,
        prompt=batch.prompt,
        series=batch.result_type == "series",
    )


async def paint_batch(
    batch: Claimed,
    wanted: Batch,
    routes: Sequence[Route],
    *,
    db: Database,
    storage: Storage,
    rules: Rules,
    on_progress: Callable[[float], None],
    hurry: asyncio.Event,
) -> Fate:
    """Make the shots of a claimed batch, which are `wanted`, and say what is to become of it. `hurry` ends an engine's
    pause.

    Dying at any point loses at most the shot under the brush: what was settled before is never painted again. A route
    that has something of the batch under way is the only one asked. Where the turn comes to a route that is not served
    here, the batch is handed on; who takes it up begins there, for those before were asked by who serves them.
    """
    pinned = open_route(batch)
    kept: set[int] = set()
    if pinned and pinned not in {route.name for route in routes}:
        return Retry(f'route "{pinned}" has something of this task under way and is not configured any more', owed=True)
    retry: Retry | None = None
    passed = False
    fail = Fail("no engine is configured")
    start = next((place for place, route in enumerate(routes) if route.name == batch.route), 0)
    for place, route in enumerate(routes):
        memory = BatchMemory(db, batch, route.name, hurry=hurry, hasten_url=rules.hasten_url(batch.id))
        abilities = route.engine.abilities()
        sent = len(wanted.references) + len(wanted.elements)
        if pinned not in (None, route.name):
            passed = passed or not (memory.given_up() or sent > abilities.max_references)
            continue
        if reason := memory.given_up():
            fail = Fail(reason)
            continue
        if sent > abilities.max_references:
            fail = Fail(f"{batch.model} takes at most {abilities.max_references} references, {sent} were sent")
            continue
        if place < start and not pinned:
            retry = Retry(batch.last_error or "no engine is available")
            continue
        if not route.served:
            return HandOn(route.name, retry.why if retry else "")
        try:
            while missing := tuple(shot for shot in wanted.shots if shot.index not in kept):
                call = await _next_call(replace(wanted, memory=memory), missing, abilities, db, storage)
                if await _paint_by(route, batch, call, db, storage, rules, on_progress, kept) == "lost":
                    break
            return Done()
        except BatchLost:
            return Done()
        except Unavailable as error:
            if memory.note:
                return Retry(error.message, owed=True)
            pinned = None
            if memory.given_up():
                fail = Fail(error.message)
            else:
                retry = Retry(error.message)
        except (Declined, Broken) as error:
            return Fail(error.message)
        except Unknown as error:
            if memory.note:
                return Retry(error.message, owed=True)
            return Fail(f"{error.message} (the answer was lost after the request was taken; it is not sent again)")
    if passed and not (retry or pinned):  # those before one that had it under way, and has given it up now
        retry = Retry(batch.last_error or fail.why)
    return retry or fail


async def _next_call(
    wanted: Batch, missing: tuple[Shot, ...], abilities: Abilities, db: Database, storage: Storage
) -> Batch:
    """As many of the missing shots as the engine takes at once, with the first picture of the series if it is made."""
    if not (wanted.series and abilities.whole_series):
        return replace(wanted, shots=missing[: abilities.max_batch])
    if missing[0].index == 0:
        return replace(wanted, shots=missing)
    first = await batch_queue.first_picture(db, UUID(wanted.task_id))
    content = await storage.get(first[0]) if first else None
    frame = ReferenceImage(content, *first[1:]) if first and content else None
    return replace(wanted, shots=missing, first_frame=frame)


async def _paint_by(
    route: Route,
    batch: Claimed,
    wanted: Batch,
    db: Database,
    storage: Storage,
    rules: Rules,
    on_progress: Callable[[float], None],
    kept: set[int],
) -> Literal["kept", "lost"]:
    """One call of one engine; `kept` grows by what was made. `lost`: the task ended or the batch is somebody else's."""
    shots = {shot.index: shot for shot in wanted.shots}
    done = batch.batch_size - len(batch.shots) + sum(shot.index < wanted.shots[0].index for shot in batch.shots)
    with (
        spans.span("paint", client=True, model=batch.model, route=route.name, shots=len(shots)),
        metrics.EngineCall(batch.model, route.name) as call,
    ):
        async with aclosing(route.engine.paint(wanted)) as events:  # type: ignore[type-var]
            async for event in events:
                if not isinstance(event, Painted):
                    on_progress((done + len(wanted.shots) * min(1.0, max(0.0, event.share))) / batch.batch_size)
                    continue
                shot = shots.pop(event.index, None)
                if shot is None or not _is_rgb(event.picture):
                    raise Broken(f"{route.name} returned a picture that was not asked for")
                if not shots:
                    call.whole()
                with call.beside():
                    if await _keep(route, batch, wanted, shot, event, db, storage, rules) == "lost":
                        return "lost"
                kept.add(shot.index)
                on_progress((done + len(wanted.shots) - len(shots)) / batch.batch_size)
        if shots:
            raise Broken(f"{route.name} left out {len(shots)} of {len(wanted.shots)} pictures")
    return "kept"


async def _keep(
    route: Route,
    batch: Claimed,
    wanted: Batch,
    shot: Shot,
    painted: Painted,
    db: Database,
    storage: Storage,
    rules: Rules,
) -> Literal["kept", "lost"]:
    """Finish a painted picture and settle it."""
    facts = {
        "model": batch.model,
        "engine": route.name,
        "seed": shot.seed if route.engine.abilities().seeds else None,
        "task": str(batch.task_id),
        "index": shot.index,
        "prompt": shot.prompt,
        **painted.facts,
    }
    with spans.span("finish", index=shot.index), metrics.FINISH_SECONDS.time():
        finished = await _finish(painted.picture, wanted.size, facts, rules.finishing, watermark=batch.watermark)
    with spans.span("settle", index=shot.index):
        outcome = await settle_shot(
            batch, shot.index, finished, engine=route.name, db=db, storage=storage, retention=rules.retention
        )
    return "lost" if outcome == "lost" else "kept"


async def _finish(
    picture: NDArray[np.uint8] | Png, size: Size, facts: Mapping[str, object], how: Finishing, *, watermark: bool
) -> Finished:
    """A picture that was paid for gets several tries, some seconds apart: memory may be short for a moment."""
    pauses = list(FINISH_PAUSES_S)
    while True:
        try:
            return await asyncio.to_thread(finish, picture, size, facts, how, watermark=watermark)
        except Exception as error:
            if not pauses:
                raise Unfinished("internal error: the picture could not be finished") from error
        await asyncio.sleep(pauses.pop(0))


def _is_rgb(picture: NDArray[np.uint8] | Png) -> bool:
    """Whether an engine of a third party kept to what it must return."""
    return isinstance(picture, Png) or (picture.ndim == 3 and picture.shape[2] == 3 and picture.dtype == np.uint8)
