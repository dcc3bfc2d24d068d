"""List failed tasks, and return failed tasks to the queue."""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from framehouse.adapters.postgres.audit_log import SYSTEM
from framehouse.adapters.postgres.pool import Database, sql
from framehouse.domain.plan_shots import make_batches
from framehouse.domain.task import CANCELED
from framehouse.domain.turn_cost import shot_cost

RetryResult = Literal["retried", "not_failed", "canceled", "expired", "reference_gone", "over_units"]
"""The result of `retry_task`. A task is returned to the queue only if the result is `retried`."""


@dataclass(frozen=True, slots=True)
class FailedTask:
    """A failed task. `unfinished` contains the indexes of the shots that have no image."""

    id: UUID
    account: str
    model: str
    resolution: str
    result_type: str
    status_message: str
    ended_at: datetime
    unfinished: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class FailedTaskFilter:
    """The conditions for failed tasks. A task is selected if it meets all conditions that are not None.

    `reason` is a text that the error message must contain. The case of the letters is ignored. `since` excludes tasks
    that failed before this time.
    """

    account: str | None = None
    model: str | None = None
    reason: str | None = None
    since: datetime | None = None
    task_ids: tuple[UUID, ...] | None = None


async def list_failed_tasks(
    db: Database, tasks: FailedTaskFilter = FailedTaskFilter(), *, limit: int
) -> list[FailedTask]:
    """Return at most `limit` of the selected failed tasks, newest first. Cancelled tasks are not returned."""
    rows = await db.rows(
        sql("list_failed_tasks"),
        limit=limit,
        account=tasks.account,
        model=tasks.model,
        reason=tasks.reason,
        since=tasks.since,
        task_ids=tasks.task_ids,
        canceled=CANCELED,
    )
    return [FailedTask(**dict(row) | {"unfinished": tuple(row["unfinished"])}) for row in rows]


async def retry_task(
    db: Database, task: FailedTask, *, max_batch: int, whole_series: bool = False, actor: str = SYSTEM
) -> RetryResult:
    """Return a failed task to the queue. Each new batch contains at most `max_batch` unfinished shots.

    If `whole_series` is true, one batch contains all unfinished shots of a series. `actor` is recorded in the audit
    log.

    The account is charged only if the task now succeeds. The quota of the account is not checked, because the server
    has already accepted the task. The units of the account are checked.
    """
    series = task.result_type == "series"
    batches = make_batches(task.unfinished, max_batch=max_batch, whole=whole_series and series)
    result: RetryResult = await db.value(
        "select retry_task(:task_id, :batches::text::jsonb, :shot_cost, :canceled, :actor)",
        task_id=task.id,
        batches=json.dumps(batches),
        shot_cost=float(shot_cost(task.resolution)),
        canceled=CANCELED,
        actor=actor,
    )
    return result
