"""The audit log: which operator changed what, and when."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from framehouse.adapters.postgres.pool import Database, sql

SYSTEM = "framehouse"
"""The actor of changes that Framehouse makes itself, for example when it creates the account `default`."""


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """A change that an operator, or Framehouse itself, made.

    `actor` is the user and the host that ran a command, the name and the prefix of an admin key, or `SYSTEM`. `action`
    is the kind of change, for example `account.set`. `subject` is the name of an account, the prefix of a key, a route
    as `model/route`, or the id of a task or a callback message. The content of `details` depends on the action. For
    `account.set`, `details` contains the old value and the new value of each changed field.
    """

    id: int
    changed_at: datetime
    actor: str
    action: str
    subject: str
    details: Mapping[str, Any]


async def list_changes(
    db: Database,
    *,
    limit: int,
    before: int | None = None,
    since: datetime | None = None,
    action: str | None = None,
    subject: str | None = None,
) -> list[AuditEntry]:
    """Return up to `limit` changes, newest first.

    `before` selects the changes with an id below this number. `since` is the earliest time of a change. `action` is a
    complete action, such as `account.set`, or only the part before a dot: `account` selects all actions that begin with
    `account.`. An argument that is None does not restrict the result.
    """
    rows = await db.rows(sql("list_changes"), limit=limit, before=before, since=since, action=action, subject=subject)
    return [AuditEntry(**dict(row) | {"details": json.loads(row["details"])}) for row in rows]


async def delete_old_changes(db: Database, age: timedelta, limit: int) -> int:
    """Delete up to `limit` entries that are older than `age`. Returns the number of deleted entries."""
    deleted = await db.rows(
        "delete from audit_log where id in (select id from audit_log where changed_at < now() - :age::interval "
        "order by changed_at limit :limit for update skip locked) returning 1",
        age=age,
        limit=limit,
    )
    return len(deleted)
