"""Claims callback messages and delivers them, with a share of its own: painting never waits for a receiver."""

import asyncio
import logging
import random
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

from framehouse.adapters.postgres import callbacks
from framehouse.adapters.postgres.callbacks import CallbackMessage
from framehouse.adapters.postgres.claims import ENDED_CHANNEL
from framehouse.adapters.postgres.pool import TROUBLE, Database
from framehouse.domain.links import Links
from framehouse.pipeline.notify import ANSWER_LIMIT_S, Again, Delivered, Ended, deliver

log = logging.getLogger(__name__)
_POLL_S = 0.5
_MOST_LIVING = 10_000
_LEASE = timedelta(seconds=2 * ANSWER_LIMIT_S)


@dataclass(frozen=True, slots=True)
class Share:
    """How many deliveries may be under way at once, in all and to one host that answers. A host that has not answered
    well lately gets one at a time, so that a thousand dead ones leave room."""

    most: int = 1500
    per_host: int = 8


class Notifier:
    """One process's deliveries. `run` until cancelled; `turn` is one look at the queue."""

    def __init__(self, db: Database, links: Links, *, allow_private: bool, share: Share | None = None) -> None:
        self._db = db
        self._links = links
        self._allow_private = allow_private
        self._share = share or Share()
        self._living: set[str] = set()
        self._running: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()

    async def run(self) -> None:
        """Deliver until cancelled; what is under way then is given back by its lease."""
        listener = asyncio.create_task(self._db.listen({ENDED_CHANNEL: lambda _: self._wake.set()}))
        try:
            while True:
                self._wake.clear()
                claimed = 0
                try:
                    claimed = await self.turn()
                except TROUBLE as error:
                    log.warning("cannot claim callbacks: %s", error)
                if not claimed:
                    with suppress(TimeoutError):
                        async with asyncio.timeout(_POLL_S * random.uniform(0.8, 1.2)):
                            await self._wake.wait()
        finally:
            for task in (listener, *self._running):
                task.cancel()
            await asyncio.gather(listener, *self._running, return_exceptions=True)

    async def turn(self) -> int:
        """Claim as many as there is room for and start on them; how many that were."""
        room = self._share.most - len(self._running)
        if room <= 0:
            return 0
        claimed = await callbacks.claim_callbacks(
            self._db, most=room, per_host=self._share.per_host, living=self._living, lease=_LEASE
        )
        for message in claimed:
            task = asyncio.create_task(self._deliver(message))
            self._running.add(task)
            task.add_done_callback(self._done)
        return len(claimed)

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._running.discard(task)
        self._wake.set()
        if not task.cancelled() and (error := task.exception()):
            log.error("a delivery broke", exc_info=error)

    async def _deliver(self, message: CallbackMessage) -> None:
        outcome = await deliver(message, self._links, allow_private=self._allow_private)
        if isinstance(outcome, Delivered) and len(self._living) < _MOST_LIVING:
            self._living.add(message.host)
        elif not isinstance(outcome, Delivered):
            self._living.discard(message.host)
        with suppress(*TROUBLE):  # then the lease runs out and it is delivered twice, with the same id
            match outcome:
                case Delivered(code):
                    await callbacks.end_callback(self._db, message, state=callbacks.DELIVERED, code=code, error="")
                case Ended(why, code, gone):
                    state = callbacks.GONE if gone else callbacks.GIVEN_UP
                    log.warning("callback %s of task %s ended: %s", message.id, message.task.id, why)
                    await callbacks.end_callback(self._db, message, state=state, code=code, error=why)
                case Again(after_s, why, code):
                    after = timedelta(seconds=after_s)
                    await callbacks.retry_callback(self._db, message, after=after, code=code, error=why)
