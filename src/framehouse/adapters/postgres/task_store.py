"""Store tasks in Postgres: accept, find, cancel, expire and delete tasks."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

import asyncpg

from framehouse.adapters.postgres.new_task import NewTask, accept_rows, options_from_json
from framehouse.adapters.postgres.pool import Database, sql
from framehouse.domain.task import CANCELED, AcceptOutcome, Task, TaskImage, read_task_id
from framehouse.domain.task_kind import TASK_KINDS, TaskKind


@dataclass(frozen=True, slots=True)
class AcceptResult:
    """The result of `accept_tasks` for one task. A task is created only if the outcome is `accepted`.

    If the outcome is `element_gone`, `detail` is the id of the missing element. If the outcome is `over_concurrency` or
    `over_units`, `detail` describes the limit. Otherwise, `detail` is empty.
    """

    outcome: AcceptOutcome
    task_id: UUID
    created_at: datetime
    detail: str


async def accept_tasks(db: Database, tasks: Sequence[NewTask]) -> list[AcceptResult]:
    """Accept or refuse tasks in one transaction and one round trip. A refused task does not affect the other tasks.

    A repeated call with the same task ids creates no new tasks, and returns `accepted` again for each accepted task.
    """
    answers = await db.rows("select * from accept_tasks(:rows::text::jsonb) order by ordinal", rows=accept_rows(tasks))
    return [AcceptResult(a["outcome"], a["task_id"], a["created_at"], a["detail"] or "") for a in answers]


async def find_accepted(db: Database, account_id: int, key: str, body_hash: bytes) -> tuple[UUID, datetime] | None:
    """Return the id and creation time of the task with this idempotency key and body hash.

    Returns None if there is no such task.
    """
    row = await db.row(
        "select task_id, created_at from idempotency_keys "
        "where account_id = :account_id and key = :key and body_hash = :body_hash "
        "and created_at > now() - idempotency_window()",
        account_id=account_id,
        key=key,
        body_hash=body_hash,
    )
    return (row["task_id"], row["created_at"]) if row else None


async def find_latest_key(db: Database, account_id: int, prefix: str) -> str | None:
    """Return the newest idempotency key that consists of this prefix and 32 hexadecimal digits, or None.

    The prefix must consist of lower-case letters and digits, so that the range of keys is the same in all collations.
    """
    found: str | None = await db.value(
        "select key from idempotency_keys where account_id = :account_id and key between :first and :last "
        "and created_at > now() - idempotency_window() order by created_at desc limit 1",
        account_id=account_id,
        first=prefix + "0" * 32,
        last=prefix + "f" * 32,
    )
    return found


async def expire_key_soon(db: Database, account_id: int, key: str) -> None:
    """Let an idempotency key expire in one minute."""
    await db.rows(
        "update idempotency_keys set created_at = now() - idempotency_window() + interval '1 minute' "
        "where account_id = :account_id and key = :key",
        account_id=account_id,
        key=key,
    )


class TaskQuery(NamedTuple):
    """A query for one task by its task id or external id.

    If `key_id` is the id of the request's API key, the SQL statement also checks that the key is active and that the
    account is not disabled. If `key_id` is None, the statement does not check this. Tasks of another `kind` are not
    found. If `kind` is None, tasks of all kinds are found.
    """

    account_id: int
    either_id: str
    key_id: int | None = None
    kind: TaskKind | None = None


class FoundTask(NamedTuple):
    """The result of a `TaskQuery`.

    `refused` is true if the key is revoked or the account is disabled. The task must then not be returned to the
    client.
    """

    refused: bool
    task: Task | None


async def find_tasks(db: Database, queries: Sequence[TaskQuery]) -> list[FoundTask]:
    """Run all queries in one statement. Returns one result per query, in the order of the queries."""
    accounts, ids, keys, kinds = zip(*queries, strict=True)
    rows = await db.rows(
        sql("find_tasks"),
        account_ids=accounts,
        task_ids=[read_task_id(id) for id in ids],
        external_ids=ids,
        key_ids=keys,
        kinds=kinds,
    )
    return [FoundTask(bool(row["refused"]), task_from(row) if row["id"] else None) for row in rows]


async def find_task(db: Database, account_id: int, either_id: str) -> Task | None:
    """Return the account's task with this task id or external id. Returns None if there is no such task."""
    return (await find_tasks(db, [TaskQuery(account_id, either_id)]))[0].task


async def list_tasks(
    db: Database, account_id: int, *, limit: int, offset: int, kinds: Sequence[TaskKind] = TASK_KINDS
) -> list[Task]:
    """Return an account's tasks of these kinds, newest first."""
    rows = await db.rows(sql("list_tasks"), account_id=account_id, kinds=kinds, limit=limit, offset=offset)
    return [task_from(row) for row in rows]


async def with_thumb_hashes(db: Database, tasks: Sequence[Task]) -> list[Task]:
    """Return the tasks with the ThumbHashes of their images."""
    rows = await db.rows(
        "select task_id, index, thumb_hash from shots "
        "where task_id = any(:task_ids::uuid[]) and thumb_hash is not null",
        task_ids=[task.id for task in tasks],
    )
    hashes = {(row["task_id"], row["index"]): row["thumb_hash"] for row in rows}
    return [
        replace(
            task,
            images=tuple(replace(image, thumb_hash=hashes.get((task.id, image.index), "")) for image in task.images),
        )
        for task in tasks
    ]


async def cancel_task(
    db: Database, account_id: int, task_id: UUID, retention: timedelta, *, actor: str | None = None
) -> bool:
    """Cancel a task. Returns False if the task had already ended.

    If an operator cancels the task, `actor` is the operator, and the change is recorded in the audit log. Raises
    LookupError if the account has no such task.
    """
    canceled = await db.value(
        sql("cancel_task"),
        actor=actor,
        task_id=task_id,
        account_id=account_id,
        message=CANCELED,
        retention=retention,
    )
    if canceled is None:
        raise LookupError(task_id)
    return bool(canceled)


async def ended_tasks(db: Database, task_ids: Sequence[UUID]) -> list[UUID]:
    """Return the ids from `task_ids` whose tasks have ended."""
    rows = await db.rows(
        "select id from tasks where id = any(:task_ids::uuid[]) and status in ('succeed', 'failed')",
        task_ids=list(task_ids),
    )
    return [row["id"] for row in rows]


async def abandoned_tasks(db: Database, lock_class: int) -> list[UUID]:
    """Return the ids of unfinished tasks whose `framehouse generate` commands have died.

    A command has died if no process holds the advisory lock of this command. `lock_class` is the first key of the
    advisory locks of all such commands.
    """
    return [row["id"] for row in await db.rows(sql("list_abandoned_tasks"), lock_class=lock_class)]


async def tasks_to_expire(db: Database, limit: int) -> list[UUID]:
    """Return the ids of up to `limit` ended tasks whose images are due for deletion, oldest first."""
    rows = await db.rows(
        "select id from tasks where expired_at is null and expires_at < now() order by expires_at limit :limit",
        limit=limit,
    )
    return [row["id"] for row in rows]


async def mark_expired(db: Database, task_ids: Sequence[UUID]) -> None:
    await db.row("update tasks set expired_at = now() where id = any (:task_ids::uuid[])", task_ids=sorted(task_ids))


async def delete_old_tasks(db: Database, age: timedelta, limit: int) -> int:
    """Delete up to `limit` tasks, with all dependent rows, if their images were deleted more than `age` ago.

    The external ids of the tasks cannot be used again. Returns the number of deleted tasks.
    """
    return int(await db.value(sql("delete_old_tasks"), age=age, limit=limit))


async def delete_old_idempotency_keys(db: Database, limit: int) -> int:
    """Delete up to `limit` idempotency keys that have expired. Returns the number of deleted keys."""
    deleted = await db.rows(
        "delete from idempotency_keys where (account_id, key) in ("
        "select account_id, key from idempotency_keys where created_at < now() - idempotency_window() "
        "order by created_at limit :limit for update skip locked) returning 1",
        limit=limit,
    )
    return len(deleted)


def task_from(row: asyncpg.Record) -> Task:
    """Create a Task from a row of the view task_answers."""
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
        kind=row["kind"],
        options=options_from_json(json.loads(row["options"])),
        declined=row["declined"],
    )
