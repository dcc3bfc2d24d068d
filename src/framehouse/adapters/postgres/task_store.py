"""Tasks in Postgres: accepted, read, cancelled, expired."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

import asyncpg

from framehouse.adapters.postgres.new_task import NewTask, accept_rows
from framehouse.adapters.postgres.pool import Database, sql
from framehouse.domain.task import CANCELED, AcceptOutcome, Task, TaskImage, read_task_id


@dataclass(frozen=True, slots=True)
class Accepted:
    """Answer to one offered task. `detail` is the missing element of `element_gone`, or the numbers of a limit."""

    outcome: AcceptOutcome
    task_id: UUID
    created_at: datetime
    detail: str


async def accept_tasks(db: Database, tasks: Sequence[NewTask]) -> list[Accepted]:
    """Offer tasks, in one transaction and one round trip; one refusal does not touch the others.

    Running twice with the same task ids accepts once.
    """
    answers = await db.rows("select * from accept_tasks(:rows::text::jsonb) order by ordinal", rows=accept_rows(tasks))
    return [Accepted(a["outcome"], a["task_id"], a["created_at"], a["detail"] or "") for a in answers]


async def find_accepted(db: Database, account_id: int, key: str, body_hash: bytes) -> tuple[UUID, datetime] | None:
    """The task that was accepted for this very body under this idempotency key, and when."""
    row = await db.row(
        "select task_id, created_at from idempotency_keys "
        "where account_id = :account_id and key = :key and body_hash = :body_hash "
        "and created_at > now() - idempotency_window()",
        account_id=account_id,
        key=key,
        body_hash=body_hash,
    )
    return (row["task_id"], row["created_at"]) if row else None


class Asked(NamedTuple):
    """One question for a task, by its task id or external id. `key_id` is the key it came with, where that is still to
    be looked at."""

    account_id: int
    either_id: str
    key_id: int | None = None


class Found(NamedTuple):
    """`refused`: the key is revoked or the account disabled; the task is not to be told then."""

    refused: bool
    task: Task | None


async def find_tasks(db: Database, asked: Sequence[Asked]) -> list[Found]:
    """What is asked for, in one statement, in order."""
    accounts, ids, keys = zip(*asked, strict=True)
    rows = await db.rows(
        sql("find_tasks"),
        account_ids=accounts,
        task_ids=[read_task_id(id) for id in ids],
        external_ids=ids,
        key_ids=keys,
    )
    return [Found(bool(row["refused"]), task_from(row) if row["id"] else None) for row in rows]


async def find_task(db: Database, account_id: int, either_id: str) -> Task | None:
    """A task of this account by task id or by external id."""
    return (await find_tasks(db, [Asked(account_id, either_id)]))[0].task


async def list_tasks(db: Database, account_id: int, *, limit: int, offset: int) -> list[Task]:
    """Newest first."""
    rows = await db.rows(sql("list_tasks"), account_id=account_id, limit=limit, offset=offset)
    return [task_from(row) for row in rows]


async def cancel_task(db: Database, account_id: int, task_id: UUID, retention: timedelta) -> bool:
    """End a task that has not ended. False: it had. Raises LookupError where the account has no such task."""
    ended = await db.value(
        "select cancel_task(:task_id, :account_id, :message, :retention)",
        task_id=task_id,
        account_id=account_id,
        message=CANCELED,
        retention=retention,
    )
    if ended is None:
        raise LookupError(task_id)
    return bool(ended)


async def ended_tasks(db: Database, task_ids: Sequence[UUID]) -> list[UUID]:
    """Those of these tasks that have ended."""
    rows = await db.rows(
        "select id from tasks where id = any(:task_ids::uuid[]) and status in ('succeed', 'failed')",
        task_ids=list(task_ids),
    )
    return [row["id"] for row in rows]


async def abandoned_tasks(db: Database, lock_class: int) -> list[UUID]:
    """Tasks at work for a command that has died: nobody holds their owner's lock of this class any more."""
    return [row["id"] for row in await db.rows(sql("list_abandoned_tasks"), lock_class=lock_class)]


async def tasks_to_expire(db: Database, limit: int) -> list[UUID]:
    """Ended tasks whose pictures are due for removal, oldest first."""
    rows = await db.rows(
        "select id from tasks where expired_at is null and expires_at < now() order by expires_at limit :limit",
        limit=limit,
    )
    return [row["id"] for row in rows]


async def mark_expired(db: Database, task_ids: Sequence[UUID]) -> None:
    await db.row("update tasks set expired_at = now() where id = any (:task_ids::uuid[])", task_ids=sorted(task_ids))


async def delete_old_tasks(db: Database, age: timedelta, limit: int) -> int:
    """Delete up to `limit` tasks whose images were removed longer than `age` ago, with all that belongs to them; how
    many. Their external ids stay taken."""
    return int(await db.value(sql("delete_old_tasks"), age=age, limit=limit))


async def delete_old_idempotency_keys(db: Database, limit: int) -> int:
    """Delete up to `limit` keys that are out of the window; how many."""
    deleted = await db.rows(
        "delete from idempotency_keys where (account_id, key) in ("
        "select account_id, key from idempotency_keys where created_at < now() - idempotency_window() "
        "order by created_at limit :limit for update skip locked) returning 1",
        limit=limit,
    )
    return len(deleted)


def task_from(row: asyncpg.Record) -> Task:
    """A task from a row of the view task_answers."""
    images = json.loads(row["pictures"]) if row["pictures"] else []
    return Task(
        id=row["id"],
        account_id=row["account_id"],
        external_task_id=row["external_task_id"] or "",
        status=row["status"],
        status_message=row["status_message"],
        model=row["model"],
        prompt=row["prompt"],
        result_type=row["result_type"],
        image_count=row["image_count"],
        resolution=row["resolution"],
        ratio=row["ratio"],
        watermark=row["watermark"],
        units_charged=row["units_charged"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        expires_at=row["expires_at"],
        progress=row["progress"],
        elements=tuple(row["elements"]),
        images=tuple(TaskImage(**image) for image in images),
    )
