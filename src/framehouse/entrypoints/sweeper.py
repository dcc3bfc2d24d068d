"""The sweeper requeues orphaned batches, and deletes expired images, unused references, unfinished files and old rows.

The sweeper also deletes the data of deleted accounts. Any number of sweepers may run at the same time.
"""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from typing import NoReturn

from framehouse.adapters.postgres.audit_log import delete_old_changes
from framehouse.adapters.postgres.callback_queue import delete_old_callbacks
from framehouse.adapters.postgres.due_times import fix_due_times
from framehouse.adapters.postgres.element_store import delete_old_elements
from framehouse.adapters.postgres.orphaned_batches import UnrenewedBatch, requeue_batches, unrenewed_batches
from framehouse.adapters.postgres.pool import DATABASE_ERRORS, Database
from framehouse.adapters.postgres.task_store import delete_old_idempotency_keys, delete_old_tasks
from framehouse.adapters.postgres.upload_store import delete_old_uploads
from framehouse.adapters.storage import Storage, StorageUnavailable
from framehouse.adapters.telemetry import metrics
from framehouse.domain.upload import DOWNLOAD_VALID_S
from framehouse.pipeline.delete_account import purge_deleted_accounts
from framehouse.pipeline.expire import expire_images, remove_references

log = logging.getLogger(__name__)
_CHECK_S = 1.0
_UNRENEWED_S = 2.0
"""The sweeper starts to observe a lease if the lease has not been renewed for this number of seconds. A live worker
renews its leases at shorter intervals."""
DEAD_AFTER_S = 3.0
"""The number of seconds after which a batch is requeued if the database connection of its worker is closed. This time
starts when this process first observes that the lease was not renewed."""
_HOUSEKEEPING_S = 60.0
_PARTIAL_FILES_S = 24 * 3600.0
_PARTIAL_FILE_AGE_S = 3600.0
"""The age after which an unfinished file is deleted, in seconds. Writing a file never takes this long."""
_CALLBACK_RETENTION = timedelta(days=30)
_LONGEST_PAUSE = timedelta(minutes=2)
"""An upper limit for the time until a waiting batch or element is due. All actual delays are shorter. A due time
further in the future therefore shows that the clock was set back."""
_STEP = 500
"""The maximum number of rows that one transaction deletes. With this limit, the transaction takes only a few
milliseconds, and hardly delays other transactions."""


class OrphanedBatches:
    """A periodic check that finds batches whose worker died or hangs, and requeues these batches.

    A batch is orphaned if its lease was not renewed for `lease_s` seconds. If the worker's database connection is
    closed, `DEAD_AFTER_S` replaces `lease_s`. This time starts when a check first observes that the lease was not
    renewed, and is measured with the monotonic clock of this process. Between two checks, at most 1.5 check intervals
    are counted, even if more time has passed.

    Because the time is measured in this way, a batch of a live worker is not requeued if the database's clock jumps or
    the entire machine pauses. A batch that is requeued by mistake would be generated twice, and possibly billed twice.
    """

    def __init__(self, db: Database, *, lease_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._db = db
        self._lease_s = lease_s
        self._unrenewed_s: dict[UnrenewedBatch, float] = {}
        self._clock = clock
        self._checked_at = clock()

    async def check_once(self) -> int:
        """Check all leases once, and return the number of requeued batches."""
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
        """Check all leases about once per second until cancelled."""
        while True:
            try:
                await self.check_once()
            except DATABASE_ERRORS as error:
                log.warning("cannot check for orphaned batches: %s", error)
            await asyncio.sleep(_CHECK_S * random.uniform(0.8, 1.2))


async def run_sweeper(db: Database, storage: Storage, *, lease_s: float, history: timedelta) -> None:
    """Run the sweeper until cancelled. A slow deletion does not delay the search for orphaned batches."""
    async with asyncio.TaskGroup() as group:
        group.create_task(OrphanedBatches(db, lease_s=lease_s).run())
        group.create_task(_repeat(_HOUSEKEEPING_S, partial(sweep, db, storage, history=history)))
        group.create_task(_repeat(_HOUSEKEEPING_S, partial(purge_deleted_accounts, db, storage)))
        delete_partial_files = partial(storage.delete_partial_files, older_than_s=_PARTIAL_FILE_AGE_S)
        group.create_task(_repeat(_PARTIAL_FILES_S, delete_partial_files))


async def _repeat(every_s: float, step: Callable[[], Awaitable[object]]) -> NoReturn:
    while True:
        try:
            await step()
        except (*DATABASE_ERRORS, StorageUnavailable) as error:
            log.warning("a cleanup failed and will be retried: %s", error)
        await asyncio.sleep(every_s * random.uniform(0.8, 1.2))


async def sweep(db: Database, storage: Storage, *, history: timedelta) -> None:
    """Delete all expired data in small steps. If the clock was set back, repair the due times first."""
    if changed_rows := await fix_due_times(db, _LONGEST_PAUSE):
        log.warning("the clock was set back; the due times of %d rows were repaired", changed_rows)
    steps: list[Callable[[], Awaitable[int]]] = [
        partial(delete_old_idempotency_keys, db, _STEP),
        partial(delete_old_callbacks, db, _CALLBACK_RETENTION, _STEP),
        partial(expire_images, db, storage),
        partial(delete_old_uploads, db, timedelta(seconds=DOWNLOAD_VALID_S), _STEP),
        partial(remove_references, db, storage),
        partial(delete_old_tasks, db, history, _STEP),
        partial(delete_old_elements, db, history, _STEP),
        partial(delete_old_changes, db, history, _STEP),
    ]
    for step in steps:
        while await step():
            pass
