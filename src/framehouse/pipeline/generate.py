"""Shots -> route -> images, each finished and saved as soon as it is generated."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import Literal
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from framehouse.adapters.postgres import batch_queue
from framehouse.adapters.postgres.batch_queue import Claimed
from framehouse.adapters.postgres.pool import Database
from framehouse.adapters.storage import Storage
from framehouse.adapters.telemetry import metrics, spans
from framehouse.domain.errors import Broken, Declined, Failed, Unavailable, Unknown
from framehouse.domain.outcome import Outcome
from framehouse.domain.routing import RouteResult, RouteState, choose_routes
from framehouse.domain.shot import Finished, Shot
from framehouse.domain.sizes import Size
from framehouse.engines.image_files import Png
from framehouse.engines.interface import Abilities, Batch, BatchLost, GeneratedImage, ReferenceImage
from framehouse.engines.registry import Route
from framehouse.pipeline.finish import Finishing, finish
from framehouse.pipeline.open_order import StoredOrder, route_with_open_order
from framehouse.pipeline.save_shot import settle_shot

SaveResult = Literal["saved", "lost"]
Save = Callable[[Route, Shot, GeneratedImage], Awaitable[SaveResult]]
FINISH_PAUSES_S = (0.5, 5.0)


class Unfinished(Exception):
    """An engine generated an image, and no file could be made of it. It must not be generated again. The message is for
    the caller, the cause is for the log."""


@dataclass(frozen=True, slots=True)
class Rules:
    """How images are generated here: how they are finished, how long they are stored, which addresses references may
    have, and the URL of a batch's upstream callback (None: upstreams cannot reach this server)."""

    finishing: Finishing
    retention: timedelta
    allow_private_addresses: bool
    upstream_callback_url: Callable[[int], str | None] = lambda _: None


async def generate_batch(
    batch: Claimed,
    wanted: Batch,
    routes: Sequence[Route],
    *,
    db: Database,
    storage: Storage,
    rules: Rules,
    on_progress: Callable[[float], None],
    wake: asyncio.Event,
) -> Outcome:
    """Generate the shots of a claimed batch, described by `wanted`, by the first route that can. `wake` ends the pause
    of an engine that waits for its upstream.

    A crash at any point loses at most the shot in progress: saved shots are never generated again.
    """
    open_orders = {
        r.name: StoredOrder(db, batch, r.name, wake=wake, upstream_callback_url=rules.upstream_callback_url(batch.id))
        for r in routes
    }
    by_name = {route.name: route for route in routes}
    save = partial(_save, batch, wanted.size, db=db, storage=storage, rules=rules)
    first_frame = partial(_load_first_frame, batch.task_id, db, storage)
    saved: set[int] = set()
    choice = choose_routes(
        [
            RouteState(
                r.name, r.engine.abilities().max_references, served=r.served, given_up=open_orders[r.name].given_up()
            )
            for r in routes
        ],
        model=batch.model,
        references=len(wanted.references) + len(wanted.elements),
        order_at=route_with_open_order(batch),
        resume_at=batch.route,
        last_error=batch.last_error,
    )
    try:
        name = next(choice)
        while True:
            order = open_orders[name]
            call = replace(wanted, open_order=order)
            error = await _try_route(by_name[name], batch, call, saved, save, first_frame, on_progress)
            name = choice.send(RouteResult(error, open_order=bool(order.data), given_up=bool(order.given_up())))
    except StopIteration as end:
        outcome: Outcome = end.value
        return outcome


async def _try_route(
    route: Route,
    batch: Claimed,
    wanted: Batch,
    saved: set[int],
    save: Save,
    first_frame: Callable[[], Awaitable[ReferenceImage | None]],
    on_progress: Callable[[float], None],
) -> Failed | None:
    """Generate the shots that are not in `saved` by this route, in as many calls as its engine needs. Returns the error
    that the engine raised on purpose; None if every shot is saved or the batch was lost."""
    abilities = route.engine.abilities()
    try:
        while missing := tuple(shot for shot in wanted.shots if shot.index not in saved):
            shots = _shots_of_call(missing, abilities, series=wanted.series)
            frame = await first_frame() if _needs_first_frame(shots, abilities, series=wanted.series) else None
            call = replace(wanted, shots=shots, first_frame=frame)
            if await _call_engine(route, batch, call, saved, save, on_progress) == "lost":
                return None
    except BatchLost:
        return None
    except (Declined, Broken, Unavailable, Unknown) as error:
        return error
    return None


def _shots_of_call(missing: tuple[Shot, ...], abilities: Abilities, *, series: bool) -> tuple[Shot, ...]:
    """As many of the missing shots as the engine takes in one call."""
    return missing if series and abilities.whole_series else missing[: abilities.max_batch]


def _needs_first_frame(shots: tuple[Shot, ...], abilities: Abilities, *, series: bool) -> bool:
    """Whether the engine makes the later images of a series match the first one, which was generated before."""
    return series and abilities.whole_series and shots[0].index != 0


async def _load_first_frame(task_id: UUID, db: Database, storage: Storage) -> ReferenceImage | None:
    """The first image of a task, None if it is not generated yet."""
    first = await batch_queue.first_image(db, task_id)
    content = await storage.get(first[0]) if first else None
    return ReferenceImage(content, *first[1:]) if first and content else None


async def _call_engine(
    route: Route,
    batch: Claimed,
    wanted: Batch,
    saved: set[int],
    save: Save,
    on_progress: Callable[[float], None],
) -> SaveResult:
    """One call of one engine; the indexes of its shots are added to `saved`. `lost`: the task ended or another worker
    has the batch."""
    shots = {shot.index: shot for shot in wanted.shots}
    done = batch.batch_size - len(batch.shots) + sum(shot.index < wanted.shots[0].index for shot in batch.shots)
    with (
        spans.span("paint", client=True, model=batch.model, route=route.name, shots=len(shots)),
        metrics.EngineCall(batch.model, route.name) as call,
    ):
        async with aclosing(route.engine.generate(wanted)) as events:  # type: ignore[type-var]
            async for event in events:
                if not isinstance(event, GeneratedImage):
                    on_progress((done + len(wanted.shots) * min(1.0, max(0.0, event.share))) / batch.batch_size)
                    continue
                shot = shots.pop(event.index, None)
                if shot is None or not _is_rgb(event.image):
                    raise Broken(f"{route.name} returned a picture that was not asked for")
                if not shots:
                    call.whole()
                with call.beside():
                    if await save(route, shot, event) == "lost":
                        return "lost"
                saved.add(shot.index)
                on_progress((done + len(wanted.shots) - len(shots)) / batch.batch_size)
        if shots:
            raise Broken(f"{route.name} left out {len(shots)} of {len(wanted.shots)} pictures")
    return "saved"


async def _save(
    batch: Claimed,
    size: Size,
    route: Route,
    shot: Shot,
    generated: GeneratedImage,
    *,
    db: Database,
    storage: Storage,
    rules: Rules,
) -> SaveResult:
    """Finish a generated image and save it."""
    facts = {
        "model": batch.model,
        "engine": route.name,
        "seed": shot.seed if route.engine.abilities().seeds else None,
        "task": str(batch.task_id),
        "index": shot.index,
        "prompt": shot.prompt,
        **generated.facts,
    }
    with spans.span("finish", index=shot.index), metrics.FINISH_SECONDS.time():
        finished = await _finish(generated.image, size, facts, rules.finishing, watermark=batch.watermark)
    with spans.span("settle", index=shot.index):
        outcome = await settle_shot(
            batch, shot.index, finished, engine=route.name, db=db, storage=storage, retention=rules.retention
        )
    return "lost" if outcome == "lost" else "saved"


async def _finish(
    image: NDArray[np.uint8] | Png, size: Size, facts: Mapping[str, object], how: Finishing, *, watermark: bool
) -> Finished:
    """Finish an image, in up to three attempts: it was paid for, and memory may be short for a moment."""
    pauses = list(FINISH_PAUSES_S)
    while True:
        try:
            return await asyncio.to_thread(finish, image, size, facts, how, watermark=watermark)
        except Exception as error:
            if not pauses:
                raise Unfinished("internal error: the picture could not be finished") from error
        await asyncio.sleep(pauses.pop(0))


def _is_rgb(image: NDArray[np.uint8] | Png) -> bool:
    """Whether an engine returned what the interface demands. Third-party engines may not."""
    return isinstance(image, Png) or (image.ndim == 3 and image.shape[2] == 3 and image.dtype == np.uint8)
