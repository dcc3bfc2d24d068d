"""Claims callback messages and delivers them, with a share of its own: painting never waits for a receiver."""

import asyncio
import logging
import time
from collections import OrderedDict
from contextlib import suppress
from datetime import timedelta

from framehouse.adapters.postgres import callback_queue
from framehouse.adapters.postgres.callback_queue import CallbackMessage, Shares
from framehouse.adapters.postgres.channels import ENDED_CHANNEL
from framehouse.adapters.postgres.pool import TROUBLE, Database
from framehouse.adapters.telemetry import logs, metrics, spans
from framehouse.adapters.telemetry.safe_traceback import trace
from framehouse.domain.callback import BROKEN_PAUSE_S, LEASE_S
from framehouse.domain.signed_urls import Links
from framehouse.domain.task import Task
from framehouse.entrypoints.poll_loop import take_turns
from framehouse.pipeline.deliver_callback import Again, Delivered, Ended, deliver

log = logging.getLogger(__name__)
_POLL_S = 0.5
_REST_S = 0.1
"""After a look that found nothing. Every end of a task wakes every process, and most have nothing to deliver: looking
each time costs PostgreSQL more than all else, where there are many workers (docs/scale.md)."""
_MOST_HOSTS = 10_000
_LATELY_S = 300.0
_SUSPICIOUS = 3
_STOP_S = 2.0
_LEASE = timedelta(seconds=LEASE_S)


class KnownHosts:
    """Which receivers answered well lately, and which only failed. One bad path does not condemn its host."""

    def __init__(self) -> None:
        self._answered_at: OrderedDict[str, float] = OrderedDict()
        self._failures: OrderedDict[str, int] = OrderedDict()

    def note(self, host: str, *, well: bool) -> None:
        if well:
            self._answered_at[host] = time.monotonic()
            self._answered_at.move_to_end(host)
            self._failures.pop(host, None)
        else:
            self._failures[host] = self._failures.pop(host, 0) + 1
        for known in (self._answered_at, self._failures):
            if len(known) > _MOST_HOSTS:
                known.popitem(last=False)

    @property
    def living(self) -> list[str]:
        since = time.monotonic() - _LATELY_S
        return [host for host, at in self._answered_at.items() if at > since]

    @property
    def failing(self) -> list[str]:
        return [host for host, failures in self._failures.items() if failures >= _SUSPICIOUS]


class CallbackWorker:
    """One process's deliveries. `run` until cancelled; `turn` is one look at the queue."""

    def __init__(
        self, db: Database, links: Links, *, allow_private: bool, most: int = 1500, shares: Shares | None = None
    ) -> None:
        self._db = db
        self._links = links
        self._allow_private = allow_private
        self._most = most
        self._shares = shares or Shares()
        self._hosts = KnownHosts()
        self._running: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()

    async def run(self) -> None:
        """Deliver until cancelled; what is under way then is given back by its lease."""
        listener = asyncio.create_task(self._db.listen({ENDED_CHANNEL: lambda _: self._wake.set()}))
        try:
            await take_turns(self.turn, self._wake, poll_s=_POLL_S, rest_s=_REST_S, what="callbacks")
        finally:
            listener.cancel()
            if self._running:  # those that are about to be answered are not sent twice
                await asyncio.wait(self._running, timeout=_STOP_S)
            for task in self._running:
                task.cancel()
            await asyncio.gather(listener, *self._running, return_exceptions=True)

    async def turn(self) -> int:
        """Claim as many as there is room for and start on them; how many that were."""
        room = self._most - len(self._running)
        if room <= 0:
            return 0
        claimed = await callback_queue.claim_callbacks(
            self._db,
            most=room,
            shares=self._shares,
            living=self._hosts.living,
            failing=self._hosts.failing,
            lease=_LEASE,
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
            log.error("a delivery broke: %s", trace(error))

    async def _deliver(self, message: CallbackMessage) -> None:
        logs.about.set({"task_id": message.task.id})
        began = time.perf_counter()
        task = message.task.id if isinstance(message.task, Task) else None  # elements have no trace
        try:
            with spans.span("callback", task=task, client=True, attempt=message.attempt):
                outcome = await deliver(message, self._links, allow_private=self._allow_private)
        except Exception as error:  # noqa: BLE001 - the worker's edge: whatever a receiver does, there is a next try
            metrics.INTERNAL_ERRORS.inc()
            log.error("callback %s of task %s broke: %s", message.id, message.task.id, trace(error))  # noqa: TRY400
            outcome = Again(BROKEN_PAUSE_S, f"internal error ({type(error).__name__})", None)
        metrics.DELIVERY_SECONDS.observe(time.perf_counter() - began)
        metrics.DELIVERIES.labels(type(outcome).__name__.lower()).inc()
        self._hosts.note(message.host, well=isinstance(outcome, Delivered))
        with suppress(*TROUBLE):  # then the lease runs out and it is delivered twice, with the same id
            match outcome:
                case Delivered(code):
                    await callback_queue.end_callback(self._db, message, state="delivered", code=code, error="")
                case Ended(why, code, gone):
                    log.warning("callback %s of task %s ended: %s", message.id, message.task.id, why)
                    await callback_queue.end_callback(
                        self._db, message, state="gone" if gone else "given_up", code=code, error=why
                    )
                case Again(after_s, why, code):
                    after = timedelta(seconds=after_s)
                    await callback_queue.retry_callback(self._db, message, after=after, code=code, error=why)
