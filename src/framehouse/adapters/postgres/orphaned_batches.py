"""Batches whose worker may have died: found by their lease, and requeued."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from framehouse.adapters.postgres.advisory_locks import WORKER_LOCKS
from framehouse.adapters.postgres.pool import Database, sql


@dataclass(frozen=True, slots=True)
class Unrenewed:
    """A claimed batch whose lease looks as if nobody renewed it. Equal to a later one: nobody did. `alive`: the
    connection of its worker lives. All connections are new after a restart of the server."""

    id: int
    claim: UUID
    lease_until: datetime
    server_started_at: datetime
    alive: bool = field(compare=False)


async def unrenewed_batches(db: Database, *, lease: timedelta, silence: timedelta) -> list[Unrenewed]:
    """Claimed batches whose lease does not look as if it was renewed within `silence`."""
    rows = await db.rows(sql("list_unrenewed_batches"), lease=lease, silence=silence, lock_class=WORKER_LOCKS)
    return [Unrenewed(**row) for row in rows]


async def requeue_batches(db: Database, orphaned: Sequence[Unrenewed]) -> int:
    """Take these from their workers, unless they were renewed since; how many are due again."""
    rows = await db.rows(
        sql("requeue_batches"),
        batch_ids=[batch.id for batch in orphaned],
        claims=[batch.claim for batch in orphaned],
        leases=[batch.lease_until for batch in orphaned],
    )
    return len(rows)
