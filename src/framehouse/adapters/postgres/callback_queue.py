"""The queue of callback messages in Postgres.

The number of concurrent deliveries to each host is limited. The messages of a task are sent in order.
"""

from collections.abc import Collection, Mapping
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
_ADDRESS_RULE, _ALLOWED, _REFUSED = "callbacks_to_private_addresses", "allowed", "refused"


@dataclass(frozen=True, slots=True)
class HostLimits:
    """The maximum number of concurrent deliveries to one host.

    `healthy` is the maximum for a host that has recently accepted a message, even if this host is failing now. For any
    other failing host, the maximum is one. `unknown` is the maximum for all other hosts.
    `entrypoints.callback_worker` defines which hosts are failing.
    """

    healthy: int = 8
    unknown: int = 3


@dataclass(frozen=True, slots=True)
class CallbackMessage:
    """A claimed message.

    `task` is the image task or the element task with the status that the message reports. The message must be
    signed with each of the `secrets`, newest first.
    """

    id: UUID
    claim: UUID
    attempt: int
    created_at: datetime
    account_id: int
    task: Task | ElementTask
    url: str
    host: str
    secrets: tuple[str, ...]


async def claim_callbacks(
    db: Database,
    *,
    limit: int,
    host_limits: HostLimits,
    healthy: Collection[str],
    failing: Collection[str],
    lease: timedelta,
    deliveries: Mapping[int, int] | None = None,
    account_limit: int | None = None,
) -> list[CallbackMessage]:
    """Claim up to `limit` due messages. The accounts take turns.

    `deliveries` is the number of deliveries that are already running in this process, by account. No account gets more
    than `account_limit` deliveries at the same time. If `account_limit` is None, this maximum is `limit`.
    `healthy` and `failing` contain host names. All other hosts are unknown. `host_limits` limits the number of
    concurrent deliveries to each host. A message can be claimed only after all earlier messages of its task have ended.
    If the connection is lost before the claimed messages are returned, they can be claimed again after their leases
    have expired.
    """
    deliveries = deliveries or {}
    account_limit = limit if account_limit is None else account_limit
    rows = await db.rows(
        sql("claim_callbacks"),
        limit=limit,
        lease=lease,
        claim=uuid4(),
        healthy_limit=host_limits.healthy,
        healthy_hosts=list(healthy),
        unknown_limit=host_limits.unknown,
        failing_hosts=list(failing),
        busy_accounts=list(deliveries),
        deliveries=list(deliveries.values()),
        full_accounts=[account_id for account_id, count in deliveries.items() if count >= account_limit],
        account_limit=account_limit,
    )
    return [_message(row) for row in rows]


async def end_callback(
    db: Database, message: CallbackMessage, *, state: EndState, code: int | None, error: str
) -> None:
    """Record that a message was delivered or will not be retried. The next message of its task becomes due."""
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
    """Release a message after a failed attempt. The next attempt becomes due when the period `after` has passed."""
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
    """Return an account's messages, newest first.

    `either_id` is a task id or an external id, and restricts the list to one task. `failed` restricts the list to
    messages whose last attempt failed, whether or not another attempt follows.
    """
    task_id = read_task_id(either_id) if either_id else None
    rows = await db.rows(
        sql("list_callbacks"), account_id=account_id, task_id=task_id, external_id=either_id, failed=failed, limit=limit
    )
    return [Delivery(*row) for row in rows]


async def resend_callback(db: Database, account_id: int, message_id: UUID, *, actor: str | None = None) -> bool:
    """Queue a message for another delivery, even if it was already delivered.

    `actor` is the operator who resends the message, or None if a client resends the message.

    The id of the message does not change, and the message is retried for up to 24 hours from now. A message whose
    delivery is in progress is not changed. Returns False only if the account has no such message.
    """
    resent_id = await db.value(sql("resend_callback"), account_id=account_id, message_id=message_id, actor=actor)
    return resent_id is not None


async def save_address_rule(db: Database, *, allow_private: bool) -> None:
    """Save whether callbacks may be sent to private addresses, so that commands know the rule of the running workers.

    If workers have different rules, the rule of the worker that started last is stored.
    """
    await db.row(
        "insert into settings (name, value) values (:name, :value) "
        "on conflict (name) do update set value = excluded.value where settings.value <> excluded.value",
        name=_ADDRESS_RULE,
        value=_ALLOWED if allow_private else _REFUSED,
    )


async def find_address_rule(db: Database) -> bool | None:
    """Return whether the worker that started last sends callbacks to private addresses.

    Returns None if no worker has started yet.
    """
    value = await db.value("select value from settings where name = :name", name=_ADDRESS_RULE)
    return None if value is None else value == _ALLOWED


async def delete_old_callbacks(db: Database, age: timedelta, limit: int) -> int:
    """Delete up to `limit` ended messages that are older than `age`. Returns the number of deleted messages."""
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
    old_secrets = row["callback_secret_old"]
    return CallbackMessage(
        id=row["message_id"],
        claim=row["claim"],
        attempt=row["message_attempt"],
        created_at=row["message_created_at"],
        account_id=row["account_id"],
        task=replace(task, **changes),
        url=subject["callback_url"],
        host=row["message_host"],
        secrets=(row["callback_secret"], *(old_secrets or "").split()),
    )
