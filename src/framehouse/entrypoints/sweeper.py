"""The clock: work of lost workers, expired pictures, references that nobody needs, old rows. Any number may run."""

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
from framehouse.adapters.postgres.orphaned_batches import Unrenewed, requeue_batches, unrenewed_batches
from framehouse.adapters.postgres.pool import TROUBLE, Database
from framehouse.adapters.postgres.task_store import delete_old_idempotency_keys, delete_old_tasks
from framehouse.adapters.storage import Storage, StorageAway
from framehouse.adapters.telemetry import metrics
from framehouse.pipeline.expire import expire_images, remove_references

log = logging.getLogger(__name__)
_LOOK_S = 1.0
_SILENCE_S = 2.0
"""A living worker renews more often."""
DEAD_AFTER_S = 3.0
"""For how long a worker whose connection is gone is watched, before its work is given to others."""
_HOUSEKEEPING_S = 60.0
_TIDYING_S = 24 * 3600.0
_UNFINISHED_S = 3600.0
"""No file takes so long to write."""
_CALLBACKS_KEPT = timedelta(days=30)
_LONGEST_PAUSE = timedelta(minutes=2)
"""No batch and no element waits longer for its next try."""
_STEP = 500
"""Rows removed in one transaction: a few milliseconds, so that nobody waits for their locks."""


class OrphanedBatches:
    """Finds batches whose worker died or hangs, and gives them to others.

    Time is this process's own: a batch is lost when it was seen unchanged for long enough, and the time between two
    looks counts for little. So neither a database's clock that jumps nor a pause of the whole machine takes work away
    from workers that live, which would be painted, and paid for, twice.
    """

    def __init__(self, db: Database, *, lease_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._db = db
        self._lease_s = lease_s
        self._seen: dict[Unrenewed, float] = {}
        self._clock = clock
        self._looked_at = clock()

    async def look(self) -> int:
        """One look; how many batches are free again."""
        silence_s = min(_SILENCE_S, self._lease_s / 2)
        unrenewed = await unrenewed_batches(
            self._db, lease=timedelta(seconds=self._lease_s), silence=timedelta(seconds=silence_s)
        )
        now = self._clock()
        passed_s, self._looked_at = min(now - self._looked_at, 1.5 * _LOOK_S), now
        self._seen = {batch: self._seen[batch] + passed_s if batch in self._seen else 0.0 for batch in unrenewed}
        dead_after_s = min(DEAD_AFTER_S, self._lease_s)
        orphaned = [b for b in unrenewed if self._seen[b] >= (self._lease_s if b.alive else dead_after_s)]
        requeued = await requeue_batches(self._db, orphaned) if orphaned else 0
        if requeued:
            metrics.LOST_BATCHES.inc(requeued)
            log.warning("%d batches of lost workers are free again", requeued)
        return requeued

    async def run(self) -> NoReturn:
        """Look until cancelled."""
        while True:
            try:
                await self.look()
            except TROUBLE as error:
                log.warning("looking for lost work again later: %s", error)
            await asyncio.sleep(_LOOK_S * random.uniform(0.8, 1.2))


async def run_sweeper(db: Database, storage: Storage, *, lease_s: float, history: timedelta) -> None:
    """Sweep until cancelled. What takes long does not hold up the search for lost work."""
    async with asyncio.TaskGroup() as group:
        group.create_task(OrphanedBatches(db, lease_s=lease_s).run())
        group.create_task(_repeat(_HOUSEKEEPING_S, partial(sweep, db, storage, history=history)))
        group.create_task(_repeat(_TIDYING_S, partial(storage.remove_unfinished, older_s=_UNFINISHED_S)))


async def _repeat(every_s: float, step: Callable[[], Awaitable[object]]) -> NoReturn:
    while True:
        try:
            await step()
        except (*TROUBLE, StorageAway) as error:
            log.warning("sweeping again later: %s", error)
        await asyncio.sleep(every_s * random.uniform(0.8, 1.2))


async def sweep(db: Database, storage: Storage, *, history: timedelta) -> None:
    """Remove what is over, in small steps, and mend what a clock that went back has put off."""
    if fixed := await fix_due_times(db, _LONGEST_PAUSE):
        log.warning("the clock has gone back; %d that waited for it are due now", fixed)
    steps: list[Callable[[], Awaitable[int]]] = [
        partial(delete_old_idempotency_keys, db, _STEP),
        partial(delete_old_callbacks, db, _CALLBACKS_KEPT, _STEP),
        partial(expire_images, db, storage),
        partial(remove_references, db, storage),
        partial(delete_old_tasks, db, history, _STEP),
        partial(delete_old_elements, db, history, _STEP),
    ]
    for step in steps:
        while await step():
            pass
