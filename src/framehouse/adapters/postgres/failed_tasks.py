"""List failed tasks, and return failed tasks to the queue."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

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


async def list_failed_tasks(
    db: Database,
    *,
    limit: int,
    account: str | None = None,
    task_ids: Sequence[UUID] | None = None,
    model: str | None = None,
    since: datetime | None = None,
    reason: str | None = None,
) -> list[FailedTask]:
    """Return at most `limit` failed tasks, newest first. Cancelled tasks are not returned.

    A task is returned only if it meets all conditions. An argument that is None is not a condition. `since` excludes
    tasks that failed before this time. `reason` is a text that the error message must contain. The case of the letters
    is ignored.
    """
    rows = await db.rows(
        sql("list_failed_tasks"),
        limit=limit,
        account=account,
        task_ids=None if task_ids is None else list(task_ids),
        model=model,
        since=since,
        reason=reason,
        canceled=CANCELED,
    )
    return [FailedTask(**dict(row) | {"unfinished": tuple(row["unfinished"])}) for row in rows]


async def retry_task(db: Database, task: FailedTask, *, max_batch: int, whole_series: bool = False) -> RetryResult:
    """Return a failed task to the queue. Each new batch contains at most `max_batch` unfinished shots.

    If `whole_series` is true, one batch contains all unfinished shots of a series.

    The account is charged only if the task now succeeds. The quota of the account is not checked, because the server
    has already accepted the task. The units of the account are checked.
    """
    series = task.result_type == "series"
    batches = make_batches(task.unfinished, max_batch=max_batch, whole=whole_series and series)
    result: RetryResult = await db.value(
        "select retry_task(:task_id, :batches::text::jsonb, :shot_cost, :canceled)",
        task_id=task.id,
        batches=json.dumps(batches),
        shot_cost=float(shot_cost(task.resolution)),
        canceled=CANCELED,
    )
    return result
