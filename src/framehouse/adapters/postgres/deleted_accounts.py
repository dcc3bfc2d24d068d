"""Delete the data of deleted accounts, in small steps that do not delay other statements."""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from framehouse.adapters.postgres.pool import Database, sql


async def list_deleted_accounts(db: Database) -> list[int]:
    """Return the ids of the deleted accounts that still have data."""
    return [row["id"] for row in await db.rows("select id from accounts where deleted_at is not null order by id")]


async def unfinished_tasks(db: Database, account_id: int, limit: int) -> list[UUID]:
    """Return the ids of up to `limit` tasks of an account that have not ended."""
    rows = await db.rows(
        "select t.id from accounts a join tasks t on t.account_id = a.id "
        "where a.id = :account_id and a.images_in_flight > 0 and t.ended_at is null limit :limit",
        account_id=account_id,
        limit=limit,
    )
    return [row["id"] for row in rows]


async def end_without_callback(db: Database, task_id: UUID, message: str) -> None:
    """End a task of a deleted account as failed, without a charge and without a callback."""
    await db.row("select end_without_callback(:task_id, :message)", task_id=task_id, message=message)


async def delete_callbacks(db: Database, account_id: int) -> None:
    """Delete the callback messages of an account that are waiting for their delivery."""
    await db.row(
        "delete from callback_messages m using tasks t where t.id = m.task_id and t.account_id = :account_id "
        "and m.state = 'waiting' and (m.claim is null or m.lease_until < now())",
        account_id=account_id,
    )


async def tasks_to_purge(db: Database, account_id: int, grace: timedelta, limit: int) -> list[UUID]:
    """Return the ids of up to `limit` tasks of an account that ended before the period `grace`."""
    rows = await db.rows(
        "select id from tasks where account_id = :account_id and ended_at < now() - :grace::interval limit :limit",
        account_id=account_id,
        grace=grace,
        limit=limit,
    )
    return [row["id"] for row in rows]


async def delete_tasks(db: Database, task_ids: Sequence[UUID]) -> None:
    """Delete the rows of ended tasks."""
    await db.row(
        "delete from tasks where id = any(:task_ids::uuid[]) and ended_at is not null", task_ids=list(task_ids)
    )


async def purge_rows(db: Database, account_id: int, limit: int) -> int:
    """Delete up to `limit` rows of each table that contains data of an account, except the tables of its tasks.

    Returns the number of deleted rows.
    """
    return int(await db.value(sql("purge_rows"), account_id=account_id, limit=limit))


async def purge_account(db: Database, account_id: int) -> bool:
    """Delete the row of a deleted account. Returns False if other rows still refer to the account."""
    return await db.value(sql("purge_account"), account_id=account_id) is not None
