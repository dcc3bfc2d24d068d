"""Batches whose worker may have died or hung: they are found by their leases, and requeued."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from framehouse.adapters.postgres.advisory_locks import WORKER_LOCKS
from framehouse.adapters.postgres.pool import Database, sql


@dataclass(frozen=True, slots=True)
class UnrenewedBatch:
    """A claimed batch whose lease seems not to have been renewed recently.

    If an earlier and a later observation are equal, the lease was not renewed in between. `alive` is whether the
    worker's connection exists; it is not compared. Observations before and after a restart of the server are unequal,
    because the restart closed all connections.
    """

    id: int
    claim: UUID
    lease_until: datetime
    server_started_at: datetime
    alive: bool = field(compare=False)


async def unrenewed_batches(db: Database, *, lease: timedelta, unrenewed_for: timedelta) -> list[UnrenewedBatch]:
    """Return the claimed batches whose lease seems not to have been renewed for longer than `unrenewed_for`.

    `lease` is the length of a new lease.
    """
    rows = await db.rows(
        sql("list_unrenewed_batches"), lease=lease, unrenewed_for=unrenewed_for, lock_class=WORKER_LOCKS
    )
    return [UnrenewedBatch(**row) for row in rows]


async def requeue_batches(db: Database, orphaned: Sequence[UnrenewedBatch]) -> int:
    """Requeue these batches; they are due immediately. A batch is skipped if it was renewed since the observation.

    Returns the number of requeued batches.
    """
    rows = await db.rows(
        sql("requeue_batches"),
        batch_ids=[batch.id for batch in orphaned],
        claims=[batch.claim for batch in orphaned],
        leases=[batch.lease_until for batch in orphaned],
    )
    return len(rows)
