"""Callback messages in Postgres: claimed host by host and in order per task, tried again later, ended."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID, uuid4

import asyncpg

from framehouse.adapters.postgres.element_store import element_from
from framehouse.adapters.postgres.pool import Database, sql
from framehouse.adapters.postgres.task_store import task_from
from framehouse.domain.callback import Delivery
from framehouse.domain.element import ElementTask
from framehouse.domain.task import Task, read_task_id

EndState = Literal["delivered", "gone", "given_up"]


@dataclass(frozen=True, slots=True)
class Shares:
    """How many deliveries to one host may be under way at once: to one that answered well lately, and to one of which
    nothing is known. A host that only failed lately gets one."""

    living: int = 8
    unknown: int = 3


@dataclass(frozen=True, slots=True)
class CallbackMessage:
    """A claimed message: the task of either kind as it was at the change, where it goes, the secrets that sign it,
    newest first."""

    id: UUID
    claim: UUID
    attempt: int
    created_at: datetime
    task: Task | ElementTask
    url: str
    host: str
    secrets: tuple[str, ...]


async def claim_callbacks(
    db: Database, *, most: int, shares: Shares, living: Collection[str], failing: Collection[str], lease: timedelta
) -> list[CallbackMessage]:
    """Take due messages, oldest first, of no host more than its share at once, of a task only the first that is not
    done. An answer that is lost is mended by the lease running out."""
    rows = await db.rows(
        sql("claim_callbacks"),
        limit=most,
        lease=lease,
        claim=uuid4(),
        healthy_share=shares.living,
        healthy_hosts=list(living),
        unknown_share=shares.unknown,
        failing_hosts=list(failing),
    )
    return [_message(row) for row in rows]


async def end_callback(
    db: Database, message: CallbackMessage, *, state: EndState, code: int | None, error: str
) -> None:
    """It is delivered, or nobody will try again."""
    await db.row(
        "select end_callback(:id, :claim, :state, :code, :error)",
        id=message.id,
        claim=message.claim,
        state=state,
        code=code,
        error=error or None,
    )


async def retry_callback(
    db: Database, message: CallbackMessage, *, after: timedelta, code: int | None, error: str
) -> None:
    """It is due again later."""
    await db.row(
        "update callback_messages "
        "set run_at = now() + :after, last_code = :code, last_error = :error, claim = null, lease_until = null "
        "where id = :id and claim = :claim and state = 'waiting'",
        id=message.id,
        claim=message.claim,
        after=after,
        code=code,
        error=error,
    )


async def list_callbacks(
    db: Database, account_id: int, *, either_id: str | None, failed: bool, limit: int
) -> list[Delivery]:
    """Messages of an account, newest first; of one task, if given; with `failed` only what was not delivered."""
    task_id = read_task_id(either_id) if either_id else None
    rows = await db.rows(
        sql("list_callbacks"), account_id=account_id, task_id=task_id, external_id=either_id, failed=failed, limit=limit
    )
    return [Delivery(*row) for row in rows]


async def resend_callback(db: Database, account_id: int, message_id: UUID) -> bool:
    """Make a message due now, with 24 hours from now, even if it was delivered; its id stays. False: there is none."""
    found = await db.value(sql("resend_callback"), account_id=account_id, message_id=message_id)
    return found is not None


async def delete_old_callbacks(db: Database, age: timedelta, limit: int) -> int:
    """Delete up to `limit` messages that have ended and are older than `age`; how many."""
    deleted = await db.rows(
        "delete from callback_messages where id in (select id from callback_messages "
        "where created_at < now() - :age::interval and state <> 'waiting' limit :limit for update skip locked) "
        "returning 1",
        age=age,
        limit=limit,
    )
    return len(deleted)


def _message(row: asyncpg.Record) -> CallbackMessage:
    subject = row["task"] or row["element_task"]
    task = task_from(subject) if row["task"] else element_from(subject)
    changes = {
        "status": row["message_status"],
        "status_message": row["message_status_message"],
        "updated_at": row["message_updated_at"],
    }
    if isinstance(task, Task):
        changes["units_charged"] = row["message_units"]
        if changes["status"] != "succeed":
            changes["images"] = ()
    old = row["callback_secret_old"]
    return CallbackMessage(
        id=row["message_id"],
        claim=row["claim"],
        attempt=row["message_attempt"],
        created_at=row["message_created_at"],
        task=replace(task, **changes),
        url=subject["callback_url"],
        host=row["message_host"],
        secrets=(row["callback_secret"], *(old or "").split()),
    )
