"""Claim the elements that clients have requested, fetch and store their images, and make the elements usable."""

import asyncio
import logging
import random
import time
from contextlib import suppress
from datetime import timedelta
from uuid import UUID

from framehouse.adapters.images.checker import ImageChecker
from framehouse.adapters.postgres import element_store
from framehouse.adapters.postgres.channels import ELEMENTS_CHANNEL, ENDED_CHANNEL, notify
from framehouse.adapters.postgres.element_store import ClaimedElement
from framehouse.adapters.postgres.pool import DATABASE_ERRORS, Database
from framehouse.adapters.storage import Storage, StorageUnavailable
from framehouse.adapters.telemetry import logs
from framehouse.adapters.telemetry.safe_traceback import safe_traceback
from framehouse.domain.element import CREATION_TIMEOUT_S, LEASE_S
from framehouse.domain.errors import Declined, Unavailable
from framehouse.entrypoints.poll_loop import poll_until_cancelled
from framehouse.pipeline.saved_elements import gather_images

log = logging.getLogger(__name__)
_POLL_S = 1.0
_LIMIT, _SLOW_S = 4, 2.0
"""`_LIMIT` is the maximum number of elements that a worker creates at the same time. After `_SLOW_S` seconds, an
element no longer counts towards this limit, so that a slow image server does not stop the creation of other
elements."""
_FETCH_LIMIT, _TOTAL_LIMIT = 16, 32
"""While `_FETCH_LIMIT` or more elements are in progress, the worker claims only elements whose images are all stored.
While `_TOTAL_LIMIT` elements are in progress, the worker claims no elements."""
_LEASE = timedelta(seconds=LEASE_S)
_STORAGE_PAUSE_S = 10.0
_LONGEST_PAUSE_S = 60.0


class ElementWorker:
    """A worker that creates elements. If `only_task` is set, the worker creates only the element of this task."""

    def __init__(
        self, db: Database, storage: Storage, *, allow_private: bool, attempts: int = 5, only_task: UUID | None = None
    ) -> None:
        self._db = db
        self._storage = storage
        self._allow_private = allow_private
        self._attempts = attempts
        self._only_task = only_task
        self._checker = ImageChecker(processes=2)
        self._running: dict[asyncio.Task[None], float] = {}
        self._wake = asyncio.Event()

    async def run(self) -> None:
        """Create elements until cancelled. When the method is cancelled, it returns unfinished elements to the
        queue."""
        listener = asyncio.create_task(self._db.listen({ELEMENTS_CHANNEL: lambda _: self._wake.set()}))
        try:
            await poll_until_cancelled(self.poll_once, self._wake, poll_s=_POLL_S, subject="elements")
        finally:
            for task in (listener, *self._running):
                task.cancel()
            await asyncio.gather(listener, *self._running, return_exceptions=True)
            await self._checker.close()

    async def poll_once(self) -> int:
        """Claim elements for the free slots and start creating them. Returns the number of claimed elements."""
        now = time.monotonic()
        free_slots = _LIMIT - sum(now - since < _SLOW_S for since in self._running.values())
        if free_slots <= 0 or len(self._running) >= _TOTAL_LIMIT:
            return 0
        claimed = await element_store.claim_elements(
            self._db,
            limit=free_slots,
            lease=_LEASE,
            task_id=self._only_task,
            ready=len(self._running) >= _FETCH_LIMIT,
        )
        for element in claimed:
            task = asyncio.create_task(self._create(element))
            self._running[task] = now
            task.add_done_callback(self._done)
        return len(claimed)

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._running.pop(task, None)
        self._wake.set()
        if not task.cancelled() and (error := task.exception()):
            log.error("internal error; the element remains claimed until its lease expires: %s", safe_traceback(error))

    async def _create(self, claimed: ClaimedElement) -> None:
        logs.log_context.set({"task_id": claimed.task.id})
        try:
            await self._create_and_record(claimed)
            await notify(self._db, ENDED_CHANNEL, str(claimed.task.id))
        except asyncio.CancelledError:
            with suppress(*DATABASE_ERRORS):
                await element_store.release_element(self._db, claimed, after=timedelta(0), count_attempt=False)
            raise
        except DATABASE_ERRORS as error:
            log.warning("element %s remains claimed until its lease expires: %s", claimed.task.id, error)

    async def _create_and_record(self, claimed: ClaimedElement) -> None:
        """Create the element and record the result: success, failure of the task, or release for a later attempt."""
        if claimed.attempt > self._attempts:
            reason = f"given up after {claimed.attempt - 1} attempts: {claimed.last_error or 'no reason known'}"
            await element_store.fail_element(self._db, claimed, reason)
            return
        try:
            async with asyncio.timeout(CREATION_TIMEOUT_S):
                images = await gather_images(
                    claimed, self._db, self._storage, self._checker, allow_private=self._allow_private
                )
        except Declined as error:
            await element_store.fail_element(self._db, claimed, error.message)
        except Unavailable as error:
            after = timedelta(seconds=min(_LONGEST_PAUSE_S, 2.0**claimed.attempt) * random.uniform(0.8, 1.2))
            await element_store.release_element(self._db, claimed, after=after, error=error.message)
        except TimeoutError:  # this attempt counts, because the images may have caused the timeout
            await element_store.release_element(
                self._db, claimed, after=timedelta(0), error="the images could not be fetched and checked in time"
            )
        except StorageUnavailable as error:  # this attempt does not count, because only the storage failed
            log.warning("element %s will be retried later: %s", claimed.task.id, error)
            after = timedelta(seconds=_STORAGE_PAUSE_S)
            await element_store.release_element(self._db, claimed, after=after, count_attempt=False)
        else:
            await element_store.finish_element(self._db, claimed, images)
