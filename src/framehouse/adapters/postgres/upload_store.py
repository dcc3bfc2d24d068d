"""Store uploads in Postgres. An upload refers to a stored reference, and is deleted after 24 hours."""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from framehouse.adapters.postgres.pool import Database, sql
from framehouse.domain.reference import Reference


async def save_upload(db: Database, id: UUID, account_id: int, reference: Reference, *, max_uploads: int) -> bool:
    """Save an upload. Another call with the same id replaces the file.

    Returns False if the account is disabled or has `max_uploads` other uploads. Concurrent calls may exceed the maximum
    by a few uploads.
    """
    key = await db.value(
        sql("save_upload"),
        id=id,
        account_id=account_id,
        key=reference.key,
        width=reference.width,
        height=reference.height,
        max_uploads=max_uploads,
    )
    return key is not None


async def use_uploads(db: Database, account_id: int, ids: Sequence[UUID]) -> dict[UUID, Reference]:
    """Return the account's uploads with these ids. Their files are protected from deletion for a grace period."""
    rows = await db.rows(sql("use_uploads"), ids=list(ids), account_id=account_id)
    return {row["id"]: Reference(key=row["key"], width=row["width"], height=row["height"]) for row in rows}


async def find_upload_key(db: Database, id: UUID) -> str | None:
    key = await db.value("select key from uploads where id = :id", id=id)
    return str(key) if key else None


async def delete_old_uploads(db: Database, age: timedelta, limit: int) -> int:
    """Delete up to `limit` uploads that are older than `age`. Returns the number of deleted uploads.

    The files are deleted later, if no task and no element needs them.
    """
    deleted = await db.rows(
        "delete from uploads where id in (select id from uploads where created_at < now() - :age::interval "
        "order by created_at limit :limit for update skip locked) returning 1",
        age=age,
        limit=limit,
    )
    return len(deleted)
