"""Store a finished picture and record it; the last one ends the task, charges it and frees its quota."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from typing import TypeVar

from framehouse.adapters.images.encode import EXTENSIONS
from framehouse.adapters.postgres import batch_queue
from framehouse.adapters.postgres.batch_queue import Claimed, Made, Saved
from framehouse.adapters.postgres.channels import ENDED_CHANNEL, notify
from framehouse.adapters.postgres.pool import FAULTS, TROUBLE, Database, DatabaseAway
from framehouse.adapters.storage import Storage, StorageAway
from framehouse.adapters.telemetry import metrics
from framehouse.domain.shot import Finished

log = logging.getLogger(__name__)
_LONGEST_PAUSE_S = 15.0
_LAST_TRY_S = 3.0
_MOST_REFUSALS = 20
T = TypeVar("T")


def folder_of(task_id: object) -> str:
    """Where all files of a task's pictures are."""
    return f"images/{task_id}/"


async def retry_until_saved(step: Callable[[], Awaitable[T]], what: str) -> T:
    """Do what must not be forgotten, for it would be painted, and paid for, once more. While storage or database are
    away it is tried again, until the caller gives up on it, and then once more; what the database has against it, but
    for the statement itself, may pass within some minutes."""
    pause_s, refusals = 0.5, 0
    while True:
        try:
            return await step()
        except (StorageAway, *TROUBLE) as error:
            refusals += not isinstance(error, StorageAway | DatabaseAway)
            if isinstance(error, FAULTS) or refusals > _MOST_REFUSALS:
                raise
            log.warning("%s again in %.1f s: %s", what, pause_s, error)
        try:
            await asyncio.sleep(pause_s)
        except asyncio.CancelledError:  # a worker that is told to stop, or to whom it does not belong any more
            with suppress(StorageAway, TimeoutError, *TROUBLE):
                async with asyncio.timeout(_LAST_TRY_S):
                    await step()
            raise
        pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)


async def settle_shot(
    batch: Claimed,
    index: int,
    finished: Finished,
    *,
    engine: str,
    db: Database,
    storage: Storage,
    retention: timedelta,
) -> Saved:
    """Keep one picture. `lost`: the task ended or the batch is somebody else's, and nothing was changed.

    The name holds a part of the claim: a late twin writes beside a recorded picture, never over it, and what it leaves
    is removed with the task's folder.
    """
    name = f"{folder_of(batch.task_id)}{index}-{batch.claim.hex[:12]}"
    extension = EXTENSIONS[finished.media_type]
    key, watermark_key = f"{name}.{extension}", f"{name}-marked.{extension}" if finished.marked else ""
    made = Made(index, engine, key, watermark_key, finished.media_type, finished.size.width, finished.size.height)

    async def keep() -> Saved:
        await storage.put(key, finished.content)
        if watermark_key:
            await storage.put(watermark_key, finished.marked)
        return await batch_queue.settle_shot(db, batch.task_id, batch.id, batch.claim, made, retention)

    outcome = await retry_until_saved(keep, f"keeping picture {index} of task {batch.task_id}")
    if outcome != "lost":
        metrics.IMAGES.labels(batch.model, engine).inc()
    if outcome == "succeeded":
        with suppress(DatabaseAway):
            await notify(db, ENDED_CHANNEL, str(batch.task_id))
    return outcome
