"""The sweeper: requeues orphaned batches and deletes expired images, unused references and old rows.

Any number of sweepers may run at the same time.
"""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from typing import NoReturn

from framehouse.adapters.postgres.callback_queue import delete_old_callbacks
from framehouse.adapters.postgres.due_times import fix_due_times
from framehouse.adapters.postgres.element_store import delete_old_elements
from framehouse.adapters.postgres.orphaned_batches import UnrenewedBatch, requeue_batches, unrenewed_batches
from framehouse.adapters.postgres.pool import DATABASE_ERRORS, Database
from framehouse.adapters.postgres.task_store import delete_old_idempotency_keys, delete_old_tasks
from framehouse.adapters.storage import Storage, StorageUnavailable
from framehouse.adapters.telemetry import metrics
from framehouse.pipeline.expire import expire_images, remove_references

log = logging.getLogger(__name__)
_CHECK_S = 1.0
_UNRENEWED_S = 2.0
"""A live worker renews its leases more often."""
DEAD_AFTER_S = 3.0
"""If the connection of a worker is closed, its batches are requeued after this many seconds without renewal."""
_HOUSEKEEPING_S = 60.0
_PARTIAL_FILES_S = 24 * 3600.0
_PARTIAL_FILE_AGE_S = 3600.0
"""Writing a file never takes this long."""
_CALLBACK_RETENTION = timedelta(days=30)
_LONGEST_PAUSE = timedelta(minutes=2)
"""Longer than every pause between two attempts of a batch or an element."""
_STEP = 500
"""The rows that one transaction deletes. It takes a few milliseconds, so that other transactions hardly wait for it."""


class OrphanedBatches:
    """Finds batches whose worker died or hangs, and requeues them.

    A batch is orphaned if its lease was not renewed for long enough, measured with the monotonic clock of this process.
    At most 1.5 check intervals are counted between two checks, even if more time has passed. Therefore neither a jump
    of the database's clock nor a pause of the whole machine takes batches from live workers. Such batches would be
    generated, and paid for, twice.
    """

    def __init__(self, db: Database, *, lease_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._db = db
        self._lease_s = lease_s
        self._unrenewed_s: dict[UnrenewedBatch, float] = {}
        self._clock = clock
        self._checked_at = clock()

    async def check_once(self) -> int:
        """Check once. Returns the number of requeued batches."""
        unrenewed_for_s = min(_UNRENEWED_S, self._lease_s / 2)
        unrenewed = await unrenewed_batches(
            self._db, lease=timedelta(seconds=self._lease_s), unrenewed_for=timedelta(seconds=unrenewed_for_s)
        )
        now = self._clock()
        passed_s, self._checked_at = min(now - self._checked_at, 1.5 * _CHECK_S), now
        before = self._unrenewed_s
        self._unrenewed_s = {batch: before[batch] + passed_s if batch in before else 0.0 for batch in unrenewed}
        dead_after_s = min(DEAD_AFTER_S, self._lease_s)
        orphaned = [
            batch
            for batch, unrenewed_s in self._unrenewed_s.items()
            if unrenewed_s >= (self._lease_s if batch.alive else dead_after_s)
        ]
        requeued = await requeue_batches(self._db, orphaned) if orphaned else 0
        if requeued:
            metrics.ORPHANED_BATCHES.inc(requeued)
            log.warning("requeued %d orphaned batches", requeued)
        return requeued

    async def run(self) -> NoReturn:
        """Check until cancelled."""
        while True:
            try:
                await self.check_once()
            except DATABASE_ERRORS as error:
                log.warning("cannot check for orphaned batches: %s", error)
            await asyncio.sleep(_CHECK_S * random.uniform(0.8, 1.2))


async def run_sweeper(db: Database, storage: Storage, *, lease_s: float, history: timedelta) -> None:
    """Sweep until cancelled. A slow deletion does not delay the search for orphaned batches."""
    async with asyncio.TaskGroup() as group:
        group.create_task(OrphanedBatches(db, lease_s=lease_s).run())
        group.create_task(_repeat(_HOUSEKEEPING_S, partial(sweep, db, storage, history=history)))
        delete_partial_files = partial(storage.delete_partial_files, older_than_s=_PARTIAL_FILE_AGE_S)
        group.create_task(_repeat(_PARTIAL_FILES_S, delete_partial_files))


async def _repeat(every_s: float, step: Callable[[], Awaitable[object]]) -> NoReturn:
    while True:
        try:
            await step()
        except (*DATABASE_ERRORS, StorageUnavailable) as error:
            log.warning("a cleanup failed and will be repeated: %s", error)
        await asyncio.sleep(every_s * random.uniform(0.8, 1.2))


async def sweep(db: Database, storage: Storage, *, history: timedelta) -> None:
    """Delete everything that has expired, in small steps, and repair due times if the clock was set back."""
    if changed_rows := await fix_due_times(db, _LONGEST_PAUSE):
        log.warning("the clock was set back; the due times of %d rows were repaired", changed_rows)
    steps: list[Callable[[], Awaitable[int]]] = [
        partial(delete_old_idempotency_keys, db, _STEP),
        partial(delete_old_callbacks, db, _CALLBACK_RETENTION, _STEP),
        partial(expire_images, db, storage),
        partial(remove_references, db, storage),
        partial(delete_old_tasks, db, history, _STEP),
        partial(delete_old_elements, db, history, _STEP),
    ]
    for step in steps:
        while await step():
            pass
