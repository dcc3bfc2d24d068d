"""Claims elements that are to be made, fetches their pictures, and puts them on the shelf."""

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
from framehouse.adapters.postgres.pool import TROUBLE, Database
from framehouse.adapters.storage import Storage, StorageAway
from framehouse.adapters.telemetry import logs
from framehouse.adapters.telemetry.safe_traceback import trace
from framehouse.domain.element import LEASE_S, MAKING_LIMIT_S
from framehouse.domain.errors import Declined, Unavailable
from framehouse.entrypoints.poll_loop import take_turns
from framehouse.pipeline.saved_elements import gather_images

log = logging.getLogger(__name__)
_POLL_S = 1.0
_MOST, _SLOW_S = 4, 2.0
"""So many at once, of which those do not count that take longer: one slow server must not stop everybody's elements."""
_MOST_SLOW = 16
"""With so many under way, only elements are taken on that need nothing fetched."""
_LEASE = timedelta(seconds=LEASE_S)
_STORAGE_PAUSE_S = 10.0
_LONGEST_PAUSE_S = 60.0


class ElementWorker:
    """One process's share of the making of elements. `run` until cancelled; `turn` is one look at the queue."""

    def __init__(
        self, db: Database, storage: Storage, *, allow_private: bool, attempts: int = 5, only: UUID | None = None
    ) -> None:
        self._db = db
        self._storage = storage
        self._allow_private = allow_private
        self._attempts = attempts
        self._only = only
        self._checker = ImageChecker(at_once=2)
        self._running: dict[asyncio.Task[None], float] = {}
        self._wake = asyncio.Event()

    async def run(self) -> None:
        """Make elements until cancelled; what is under way then is handed back."""
        listener = asyncio.create_task(self._db.listen({ELEMENTS_CHANNEL: lambda _: self._wake.set()}))
        try:
            await take_turns(self.turn, self._wake, poll_s=_POLL_S, what="elements")
        finally:
            for task in (listener, *self._running):
                task.cancel()
            await asyncio.gather(listener, *self._running, return_exceptions=True)
            await self._checker.close()

    async def turn(self) -> int:
        """Claim as many as there is room for and start on them; how many that were."""
        now = time.monotonic()
        room = _MOST - sum(now - since < _SLOW_S for since in self._running.values())
        if room <= 0 or len(self._running) >= 2 * _MOST_SLOW:
            return 0
        claimed = await element_store.claim_elements(
            self._db,
            most=room,
            lease=_LEASE,
            task_id=self._only,
            ready=len(self._running) >= _MOST_SLOW,
        )
        for one in claimed:
            task = asyncio.create_task(self._make(one))
            self._running[task] = now
            task.add_done_callback(self._done)
        return len(claimed)

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._running.pop(task, None)
        self._wake.set()
        if not task.cancelled() and (error := task.exception()):
            log.error("making an element broke; its lease will run out: %s", trace(error))

    async def _make(self, claimed: ClaimedElement) -> None:
        logs.about.set({"task_id": claimed.task.id})
        try:
            await self._write_down(claimed)
            await notify(self._db, ENDED_CHANNEL, str(claimed.task.id))
        except asyncio.CancelledError:
            with suppress(*TROUBLE):
                await element_store.release_element(self._db, claimed, after=timedelta(0), count_attempt=False)
            raise
        except TROUBLE as error:
            log.warning("element %s is given up, its lease will run out: %s", claimed.task.id, error)

    async def _write_down(self, claimed: ClaimedElement) -> None:
        """Make it and say so, or what went wrong: for good, or until the next try."""
        if claimed.attempt > self._attempts:
            why = f"given up after {claimed.attempt - 1} attempts: {claimed.last_error or 'no reason known'}"
            await element_store.fail_element(self._db, claimed, why)
            return
        try:
            async with asyncio.timeout(MAKING_LIMIT_S):
                images = await gather_images(
                    claimed, self._db, self._storage, self._checker, allow_private=self._allow_private
                )
        except Declined as error:
            await element_store.fail_element(self._db, claimed, error.message)
        except Unavailable as error:
            after = timedelta(seconds=min(_LONGEST_PAUSE_S, 2.0**claimed.attempt) * random.uniform(0.8, 1.2))
            await element_store.release_element(self._db, claimed, after=after, error=error.message)
        except TimeoutError:  # its pictures may be the reason, so it uses up an attempt
            await element_store.release_element(
                self._db, claimed, after=timedelta(0), error="its pictures could not be had and checked in time"
            )
        except StorageAway as error:  # not the element's fault
            log.warning("element %s again later: %s", claimed.task.id, error)
            after = timedelta(seconds=_STORAGE_PAUSE_S)
            await element_store.release_element(self._db, claimed, after=after, count_attempt=False)
        else:
            await element_store.finish_element(self._db, claimed, images)
