"""The claim loop claims batches for the worker's free slots whenever the queue may contain due batches."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

from framehouse.adapters.postgres import batch_queue
from framehouse.adapters.postgres.pool import DATABASE_ERRORS, Database
from framehouse.adapters.telemetry import metrics
from framehouse.domain.batch_retry import RetryLimits, may_be_poison
from framehouse.entrypoints.worker.held_batches import HeldBatch, HeldBatches
from framehouse.entrypoints.worker.route_gate import RouteClaims
from framehouse.pipeline.open_order import route_with_open_order

log = logging.getLogger(__name__)
_POLL_S = 1.0
MISSES_BEFORE_PAUSE, MISS_PAUSE_S = 4, 0.1
"""If a worker has found no batch after more than `MISSES_BEFORE_PAUSE` consecutive notifications, it pauses for about
`MISS_PAUSE_S` seconds before each claim. Each new task wakes all workers. Without this pause, the claims of many
workers would put more load on PostgreSQL than all other work (docs/scale.md)."""
LOADING_LIMIT = 16
"""If at least this number of held batches are still loading references, the worker claims only batches whose references
are all stored. If at least half of this number of loading batches belong to one account, the same rule applies to the
other batches of this account, so that slow hosts of one account do not delay other accounts."""
_POISON_PAUSE_S = 3.0


@dataclass(slots=True)
class ClaimSignal:
    """A signal that wakes and stops the claim loop.

    `notified` is true if a notification about new batches arrived after the last claim. `more_due` is true if the queue
    may still contain due batches after the last claim. `stopping` ends the loop.
    """

    event: asyncio.Event = field(default_factory=asyncio.Event)
    notified: bool = False
    more_due: bool = True
    stopping: bool = False

    def notify(self) -> None:
        self.notified = True
        self.event.set()

    def slot_freed(self) -> None:
        """Wake the loop if the queue may contain more due batches.

        Otherwise, the loop sleeps until a notification announces new batches or the next regular poll is due.
        """
        if self.more_due:
            self.event.set()

    def stop(self) -> None:
        self.stopping = True
        self.event.set()


async def run_claim_loop(
    claim: Callable[[], Awaitable[int]], free_slots: Callable[[], int], signal: ClaimSignal
) -> None:
    """Call `claim` repeatedly until `signal` stops the loop. `claim` returns the number of claimed batches."""
    misses = 0
    while not signal.stopping:
        if misses > MISSES_BEFORE_PAUSE:
            await asyncio.sleep(MISS_PAUSE_S * random.uniform(0.5, 1.5))
        signal.event.clear()
        notified, signal.notified = signal.notified and free_slots() > 0, False
        claimed = 0
        try:
            claimed = await claim()
        except DATABASE_ERRORS as error:
            log.warning("cannot claim batches: %s", error)
        misses = 0 if claimed else misses + notified
        if not (claimed and signal.more_due) or free_slots() <= 0:
            try:
                async with asyncio.timeout(_POLL_S * random.uniform(0.8, 1.2)):
                    await signal.event.wait()
            except TimeoutError:
                misses = 0


async def claim_batches(
    db: Database,
    held: HeldBatches,
    signal: ClaimSignal,
    *,
    worker: int,
    routes: RouteClaims,
    lease: timedelta,
    limits: RetryLimits,
    only_task: UUID | None = None,
) -> list[HeldBatch]:
    """Claim batches for the free slots once, and add the claimed batches to `held`.

    A batch that may be poison can kill this process. If several claimed batches may be poison, only one of these
    batches is added. The other possible poison batches are released before any work starts.
    """
    free = held.free_slots
    signal.more_due = True
    if free <= 0:
        return []
    loading = held.loading_by_account
    ready = loading.total() >= LOADING_LIMIT
    ready_accounts = [account_id for account_id, count in loading.items() if count >= LOADING_LIMIT // 2]
    batches = await batch_queue.claim_batches(
        db,
        worker=worker,
        limit=free,
        lease=lease,
        routes=list(routes.filters),
        filters=routes.filters,
        max_batches=routes.max_batches,
        task_id=only_task,
        ready=ready,
        ready_accounts=ready_accounts,
    )
    signal.more_due = ready or bool(ready_accounts) or len(batches) == free
    poison = [
        batch for batch in batches
        if may_be_poison(batch.attempt, limits, open_order=route_with_open_order(batch) is not None)
    ]  # fmt: skip
    for batch in poison[1:]:
        after = timedelta(seconds=_POISON_PAUSE_S)
        await batch_queue.release_batch(db, batch.id, batch.claim, after=after, count_attempt=False)
    claimed = [HeldBatch(batch, isolated=batch in poison) for batch in batches if batch not in poison[1:]]
    for entry in claimed:
        metrics.CLAIMS.labels(entry.batch.model).inc()
        held.add(entry)
    return claimed
