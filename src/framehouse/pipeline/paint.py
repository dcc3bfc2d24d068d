"""Shots -> engine -> pictures, each finished and kept as soon as it is made."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import timedelta

import numpy as np

from framehouse.adapters.engines.base import Batch, Painted
from framehouse.adapters.engines.registry import Route
from framehouse.adapters.postgres import claims
from framehouse.adapters.postgres.claims import Claimed
from framehouse.adapters.postgres.pool import Database
from framehouse.adapters.storage import Storage
from framehouse.domain.errors import Broken, Declined, Unavailable, Unknown
from framehouse.domain.reference import ratio_from_references
from framehouse.domain.shot import Shot
from framehouse.domain.sizes import AUTO, size_of
from framehouse.pipeline.finish import Finishing, finish
from framehouse.pipeline.references import load_references
from framehouse.pipeline.settle import settle_shot


@dataclass(frozen=True, slots=True)
class Done:
    """Every shot of the batch is kept, or nobody wants them any more."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Not now: the batch goes back and is due again later. `blamed`: it may be the batch's own fault, so its tries
    are counted."""

    why: str
    blamed: bool = False


@dataclass(frozen=True, slots=True)
class Fail:
    """Final: the task ends as failed, with this reason for the caller."""

    why: str


Fate = Done | Retry | Fail


@dataclass(frozen=True, slots=True)
class Rules:
    """How this house paints: what pictures are like, how long they are kept, where references may come from."""

    finishing: Finishing
    retention: timedelta
    allow_private_addresses: bool


async def paint_batch(
    batch: Claimed,
    routes: Sequence[Route],
    *,
    db: Database,
    storage: Storage,
    rules: Rules,
    on_progress: Callable[[float], None],
) -> Fate:
    """Make the shots of a claimed batch and say what is to become of it.

    Dying at any point loses at most the shot under the brush: what was settled before is never painted again.
    """
    try:
        references = await load_references(batch, db, storage, allow_private=rules.allow_private_addresses)
    except Unavailable as error:
        return Retry(error.message)
    except Declined as error:
        return Fail(error.message)
    ratio = batch.ratio
    if ratio == AUTO:
        sizes = [(reference.width, reference.height) for reference in references]
        ratio = ratio_from_references(batch.prompt, sizes, elements=len(batch.elements))
        await claims.keep_ratio(db, batch.task_id, ratio)
    wanted = Batch(
        task_id=str(batch.task_id),
        shots=batch.shots,
        image_count=batch.image_count,
        size=size_of(ratio, batch.resolution),
        references=references,
    )
    why = "no engine is configured"
    for route in routes:
        try:
            return await _paint_by(route, batch, wanted, db, storage, rules, on_progress)
        except Unavailable as error:
            why = error.message
            wanted = replace(wanted, shots=await _missing(batch, wanted, db))
        except (Declined, Broken) as error:
            return Fail(error.message)
        except Unknown as error:
            return Fail(f"{error.message} (the answer was lost after the request was taken; it is not sent again)")
    return Retry(why)


async def _paint_by(
    route: Route,
    batch: Claimed,
    wanted: Batch,
    db: Database,
    storage: Storage,
    rules: Rules,
    on_progress: Callable[[float], None],
) -> Fate:
    shots = {shot.index: shot for shot in wanted.shots}
    total = len(shots)
    abilities = route.engine.abilities()
    if len(wanted.references) > abilities.max_references:
        return Fail(
            f"{batch.model} takes at most {abilities.max_references} references, {len(wanted.references)} were sent"
        )
    async with aclosing(route.engine.paint(wanted)) as events:  # type: ignore[type-var]
        async for event in events:
            if not isinstance(event, Painted):
                on_progress(min(1.0, max(0.0, event.share)))
                continue
            shot = shots.pop(event.index, None)
            if shot is None or event.pixels.ndim != 3 or event.pixels.shape[2] != 3 or event.pixels.dtype != np.uint8:
                raise Broken(f"{route.name} returned a picture that was not asked for")
            facts = {
                "model": batch.model,
                "engine": route.name,
                "seed": shot.seed if abilities.seeds else None,
                "task": str(batch.task_id),
                "index": shot.index,
                "prompt": shot.prompt,
                **event.facts,
            }
            finished = await asyncio.to_thread(
                finish, event.pixels, wanted.size, facts, rules.finishing, watermark=batch.watermark
            )
            outcome = await settle_shot(
                batch, shot.index, finished, engine=route.name, db=db, storage=storage, retention=rules.retention
            )
            if outcome == "lost":
                return Done()
            on_progress((total - len(shots)) / total)
    if shots:
        raise Broken(f"{route.name} left out {len(shots)} of {total} pictures")
    return Done()


async def _missing(batch: Claimed, wanted: Batch, db: Database) -> tuple[Shot, ...]:
    """The shots not kept yet, for the next route."""
    painted = await claims.painted_indexes(db, batch.task_id)
    return tuple(shot for shot in wanted.shots if shot.index not in painted)
