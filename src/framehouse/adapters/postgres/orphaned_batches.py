"""Find batches whose leases are no longer renewed, and requeue these batches.

The worker of such a batch may be dead or hung.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from framehouse.adapters.postgres.advisory_locks import WORKER_LOCKS
from framehouse.adapters.postgres.pool import Database, sql


@dataclass(frozen=True, slots=True)
class UnrenewedBatch:
    """An observation of a claimed batch whose lease does not seem to have been renewed recently.

    Two observations of a batch are equal if, between them, the lease was not renewed and the database server was not
    restarted. The restart matters because it closes all connections, so live workers seem to be dead until they have
    reconnected. `alive` is true if the worker is connected to the database. Comparisons ignore `alive`.
    """

    id: int
    claim: UUID
    lease_until: datetime
    server_started_at: datetime
    alive: bool = field(compare=False)


async def unrenewed_batches(db: Database, *, lease: timedelta, unrenewed_for: timedelta) -> list[UnrenewedBatch]:
    """Return the claimed batches whose lease does not seem to have been renewed for longer than `unrenewed_for`.

    `lease` is the duration of a new lease.
    """
    rows = await db.rows(
        sql("list_unrenewed_batches"), lease=lease, unrenewed_for=unrenewed_for, lock_class=WORKER_LOCKS
    )
    return [UnrenewedBatch(**row) for row in rows]


async def requeue_batches(db: Database, orphaned: Sequence[UnrenewedBatch]) -> int:
    """Requeue batches, and make them due immediately. Returns the number of requeued batches.

    A batch is skipped if its lease was renewed or its claim has changed since the observation.
    """
    rows = await db.rows(
        sql("requeue_batches"),
        batch_ids=[batch.id for batch in orphaned],
        claims=[batch.claim for batch in orphaned],
        leases=[batch.lease_until for batch in orphaned],
    )
    return len(rows)
