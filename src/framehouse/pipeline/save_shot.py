"""Store a finished image and record it in the database.

When the last image of a task is saved, the task succeeds: its units are charged, and its quota is released.
"""

import asyncio
import logging
from base64 import b64encode
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from typing import TypeVar

from framehouse.adapters.images.encode import EXTENSIONS
from framehouse.adapters.postgres import batch_queue
from framehouse.adapters.postgres.batch_queue import Claimed, Saved, StoredShot
from framehouse.adapters.postgres.channels import ENDED_CHANNEL, notify
from framehouse.adapters.postgres.pool import DATABASE_ERRORS, STATEMENT_ERRORS, Database, DatabaseUnavailable
from framehouse.adapters.storage import Storage, StorageUnavailable
from framehouse.adapters.telemetry import metrics
from framehouse.domain.cost import Cost
from framehouse.domain.shot import FinishedImage, image_folder, preview_key

log = logging.getLogger(__name__)
_LONGEST_PAUSE_S = 15.0
_LAST_ATTEMPT_S = 3.0
_MAX_DATABASE_ERRORS = 20
T = TypeVar("T")


async def retry_until_saved(save: Callable[[], Awaitable[T]], action: str) -> T:
    """Call `save` until it succeeds, and return its result. In log lines, `action` names the call ("saving image 2").

    Without retries, an image could be lost, and its shot would be generated and paid for again.

    If the storage fails or the database does not respond, the number of retries is unlimited. Other database errors may
    disappear within minutes, so `save` is retried after each of the first 20 such errors, and the 21st such error is
    raised. An error in the SQL statement itself is raised immediately. If this coroutine is cancelled during the pause
    before a retry, `save` is called one last time, with a time limit of three seconds.
    """
    pause_s, database_errors = 0.5, 0
    while True:
        try:
            return await save()
        except (StorageUnavailable, *DATABASE_ERRORS) as error:
            database_errors += not isinstance(error, StorageUnavailable | DatabaseUnavailable)
            if isinstance(error, STATEMENT_ERRORS) or database_errors > _MAX_DATABASE_ERRORS:
                raise
            log.warning("%s: retrying in %.1f s: %s", action, pause_s, error)
        try:
            await asyncio.sleep(pause_s)
        except asyncio.CancelledError:  # the worker is stopping, or the batch no longer belongs to this worker
            with suppress(StorageUnavailable, TimeoutError, *DATABASE_ERRORS):
                async with asyncio.timeout(_LAST_ATTEMPT_S):
                    await save()
            raise
        pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)


async def settle_shot(
    batch: Claimed,
    index: int,
    finished: FinishedImage,
    *,
    engine: str,
    cost: Cost | None,
    db: Database,
    storage: Storage,
    retention: timedelta,
) -> Saved:
    """Store the files of one image, then record the image and its cost.

    Returns the result of `batch_queue.settle_shot`.

    If the result is `lost`, the task has ended or another worker has claimed the batch, and the database is unchanged.

    The file name contains part of the id of the claim. A late worker that generates the same shot therefore never
    overwrites the file of a recorded image. The late worker's files are deleted later, with the folder of the task.
    """
    name = f"{image_folder(batch.task_id)}{index}-{batch.claim.hex[:12]}"
    extension = EXTENSIONS[finished.media_type]
    key, watermark_key = f"{name}.{extension}", ""
    if finished.watermarked:
        watermark_key = key if finished.watermarked == finished.content else f"{name}-marked.{extension}"
    files = {watermark_key or key: finished.watermarked, key: finished.content, preview_key(key): finished.preview}
    shot = StoredShot(
        index,
        engine,
        key,
        watermark_key,
        finished.media_type,
        finished.size.width,
        finished.size.height,
        b64encode(finished.thumb_hash).decode(),
        cost,
        finished.perceptual_hash,
    )

    async def save() -> Saved:
        await asyncio.gather(*(storage.put(name, content) for name, content in files.items()))
        return await batch_queue.settle_shot(db, batch.task_id, batch.id, batch.claim, shot, retention)

    outcome = await retry_until_saved(save, f"saving image {index} of task {batch.task_id}")
    if outcome != "lost":
        metrics.IMAGES.labels(batch.model, engine).inc()
    if outcome == "succeeded":
        with suppress(DatabaseUnavailable):
            await notify(db, ENDED_CHANNEL, str(batch.task_id))
    return outcome
