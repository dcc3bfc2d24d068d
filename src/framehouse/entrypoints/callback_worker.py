"""Claims callback messages and delivers them to the clients' receivers.

Deliveries run independently of generation, so a slow receiver never delays a batch.
"""

import asyncio
import logging
import time
from collections import Counter, OrderedDict
from contextlib import suppress
from datetime import timedelta

from framehouse.adapters.postgres import callback_queue
from framehouse.adapters.postgres.callback_queue import CallbackMessage, HostLimits
from framehouse.adapters.postgres.channels import ENDED_CHANNEL
from framehouse.adapters.postgres.pool import DATABASE_ERRORS, Database
from framehouse.adapters.telemetry import logs, metrics, spans
from framehouse.adapters.telemetry.safe_traceback import safe_traceback
from framehouse.domain.callback import BROKEN_PAUSE_S, LEASE_S
from framehouse.domain.delivery_advice import delivery_advice
from framehouse.domain.signed_urls import Links
from framehouse.domain.task import Task
from framehouse.entrypoints.poll_loop import poll_until_cancelled
from framehouse.pipeline.deliver_callback import Again, Delivered, Ended, deliver

log = logging.getLogger(__name__)
_POLL_S = 0.5
_MIN_PAUSE_S = 0.1
"""The pause in seconds after a poll that found no message. The end of a task wakes every callback worker, but most
callback workers find no message. Without this pause, the polls of many callback workers would put more load on
PostgreSQL than all other work (docs/scale.md)."""
_MAX_HOSTS = 10_000
_HEALTHY_S = 300.0
_FAILING_AFTER = 3
_STOP_S = 2.0
_LEASE = timedelta(seconds=LEASE_S)


class HostHistory:
    """The recent results of deliveries, by host.

    A host counts as healthy for five minutes after a successful delivery. Failed deliveries do not shorten these five
    minutes, because the failures may be limited to a single URL. A host counts as failing after three failures in a
    row.
    """

    def __init__(self) -> None:
        self._delivered_at: OrderedDict[str, float] = OrderedDict()
        self._failures: OrderedDict[str, int] = OrderedDict()

    def record(self, host: str, *, delivered: bool) -> None:
        if delivered:
            self._delivered_at[host] = time.monotonic()
            self._delivered_at.move_to_end(host)
            self._failures.pop(host, None)
        else:
            self._failures[host] = self._failures.pop(host, 0) + 1
        for by_host in (self._delivered_at, self._failures):
            if len(by_host) > _MAX_HOSTS:
                by_host.popitem(last=False)

    @property
    def healthy(self) -> list[str]:
        since = time.monotonic() - _HEALTHY_S
        return [host for host, at in self._delivered_at.items() if at > since]

    @property
    def failing(self) -> list[str]:
        return [host for host, failures in self._failures.items() if failures >= _FAILING_AFTER]


class CallbackWorker:
    """A worker that delivers callback messages.

    At most `max_deliveries` deliveries run at the same time, and at most half of this number for one account. Many dead
    hosts of one account therefore do not delay the messages of other accounts.
    """

    def __init__(
        self,
        db: Database,
        links: Links,
        *,
        allow_private: bool,
        max_deliveries: int = 1500,
        host_limits: HostLimits | None = None,
    ) -> None:
        self._db = db
        self._links = links
        self._allow_private = allow_private
        self._max_deliveries = max_deliveries
        self._host_limits = host_limits or HostLimits()
        self._hosts = HostHistory()
        self._running: dict[asyncio.Task[None], int] = {}
        """The running deliveries, and the account of each of them."""
        self._wake = asyncio.Event()

    async def run(self) -> None:
        """Deliver messages until cancelled.

        If the cancellation interrupts a delivery, the message is delivered again after its lease has expired.
        """
        listener = asyncio.create_task(self._db.listen({ENDED_CHANNEL: lambda _: self._wake.set()}))
        try:
            await poll_until_cancelled(
                self.poll_once, self._wake, poll_s=_POLL_S, min_pause_s=_MIN_PAUSE_S, subject="callbacks"
            )
        finally:
            listener.cancel()
            if self._running:  # a delivery that ends within _STOP_S is not repeated
                await asyncio.wait(self._running, timeout=_STOP_S)
            for task in self._running:
                task.cancel()
            await asyncio.gather(listener, *self._running, return_exceptions=True)

    async def poll_once(self) -> int:
        """Claim messages for the free slots and start their delivery. Returns the number of claimed messages."""
        free_slots = self._max_deliveries - len(self._running)
        if free_slots <= 0:
            return 0
        claimed = await callback_queue.claim_callbacks(
            self._db,
            limit=free_slots,
            host_limits=self._host_limits,
            healthy=self._hosts.healthy,
            failing=self._hosts.failing,
            deliveries=Counter(self._running.values()),
            account_limit=max(1, self._max_deliveries // 2),
            lease=_LEASE,
        )
        for message in claimed:
            task = asyncio.create_task(self._deliver(message))
            self._running[task] = message.account_id
            task.add_done_callback(self._done)
        return len(claimed)

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._running.pop(task, None)
        self._wake.set()
        if not task.cancelled() and (error := task.exception()):
            log.error("internal error in a delivery: %s", safe_traceback(error))

    async def _deliver(self, message: CallbackMessage) -> None:
        logs.log_context.set({"task_id": message.task.id})
        started = time.perf_counter()
        task = message.task.id if isinstance(message.task, Task) else None  # only image tasks have traces
        try:
            with spans.span("callback", task=task, client=True, attempt=message.attempt):
                outcome = await deliver(message, self._links, allow_private=self._allow_private)
        except Exception as error:  # noqa: BLE001 - the delivery is retried after every error
            metrics.INTERNAL_ERRORS.inc()
            log.error(  # noqa: TRY400
                "internal error in callback %s of task %s: %s", message.id, message.task.id, safe_traceback(error)
            )
            outcome = Again(BROKEN_PAUSE_S, f"internal error ({type(error).__name__})", None)
        metrics.DELIVERY_SECONDS.observe(time.perf_counter() - started)
        metrics.DELIVERIES.labels(type(outcome).__name__.lower()).inc()
        self._hosts.record(message.host, delivered=isinstance(outcome, Delivered))
        # If the result cannot be recorded, the message is delivered again, with the same id, after its lease has
        # expired.
        with suppress(*DATABASE_ERRORS):
            match outcome:
                case Delivered(code):
                    await callback_queue.end_callback(self._db, message, state="delivered", code=code, error="")
                case Ended(reason, code, gone):
                    log.warning("giving up on callback %s of task %s: %s", message.id, message.task.id, reason)
                    await callback_queue.end_callback(
                        self._db, message, state="gone" if gone else "given_up", code=code, error=reason
                    )
                case Again(after_s, reason, code):
                    _log_failure(message, reason, code, after_s)
                    after = timedelta(seconds=after_s)
                    await callback_queue.retry_callback(self._db, message, after=after, code=code, error=reason)


def _log_failure(message: CallbackMessage, reason: str, code: int | None, after_s: float) -> None:
    """Log a failed attempt. Only the first failed attempt of each message is a warning, because a receiver that is down
    fails many attempts."""
    log.log(
        logging.WARNING if message.attempt == 1 else logging.DEBUG,
        "callback %s of task %s to the host %s was not delivered: %s; the next attempt is due in %.0f s. %s",
        message.id,
        message.task.id,
        message.host,
        reason,
        after_s,
        delivery_advice(reason, code),
    )
