"""Return failed tasks to the queue, for example after an outage."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from uuid import UUID

from framehouse.adapters.postgres import failed_tasks
from framehouse.adapters.postgres.channels import BATCHES_CHANNEL, notify
from framehouse.adapters.postgres.failed_tasks import FailedTask, FailedTaskFilter, RetryResult
from framehouse.adapters.postgres.pool import DATABASE_ERRORS, Database
from framehouse.domain.outcome import MAY_BE_PAID
from framehouse.engines.registry import Registry

_CONCURRENCY = 4
_PROBLEMS: dict[RetryResult, str] = {
    "not_failed": "it has not failed, or has already been retried",
    "canceled": "it was cancelled",
    "expired": "its images have expired",
    "reference_gone": "one of its reference images has been deleted",
    "over_units": "its account has too few units",
}
_MAY_BE_PAID = "an upstream may already have charged for its images; to retry the task anyway, specify its id"
_UNKNOWN = "there is no failed task with this id"


@dataclass(frozen=True, slots=True)
class RetryReport:
    """The result of retrying tasks.

    `retried` contains the ids of the retried tasks. `not_retried` maps the id of each other task to the reason why the
    task was not retried. A dry run only checks that the model of a task is configured. `retried` then contains the ids
    of all tasks that pass this check.
    """

    retried: list[UUID] = field(default_factory=list)
    not_retried: dict[UUID, str] = field(default_factory=dict)


async def retry_tasks(
    db: Database,
    registry: Registry,
    tasks: FailedTaskFilter,
    *,
    limit: int,
    actor: str,
    dry_run: bool = False,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> RetryReport:
    """Return to the queue the failed tasks that match the filter `tasks`, oldest first.

    If more than `limit` tasks match, only the `limit` tasks that failed most recently are retried.

    Calls `on_progress` with the number of processed tasks and the total number of tasks. If the process is stopped, the
    tasks that were already retried stay in the queue, and a repeated call retries the remaining tasks.
    """
    found = await failed_tasks.list_failed_tasks(db, tasks, limit=limit)
    report = RetryReport()
    missing = set(tasks.task_ids or ()) - {task.id for task in found}
    report.not_retried.update(dict.fromkeys(missing, _UNKNOWN))
    remaining, done = iter(found[::-1]), 0

    async def retry_remaining() -> None:
        nonlocal done
        for task in remaining:
            if not tasks.task_ids and MAY_BE_PAID in task.status_message:
                report.not_retried[task.id] = _MAY_BE_PAID
            elif problem := await _retry(db, registry, task, actor=actor, dry_run=dry_run):
                report.not_retried[task.id] = problem
            else:
                report.retried.append(task.id)
            done += 1
            on_progress(done, len(found))

    results = await asyncio.gather(*(retry_remaining() for _ in range(_CONCURRENCY)), return_exceptions=True)
    if report.retried and not dry_run:
        with suppress(*DATABASE_ERRORS):  # a lost notification is harmless, because workers also poll
            await notify(db, BATCHES_CHANNEL, "")
    for error in results:
        if error is not None:
            raise error
    return report


async def _retry(db: Database, registry: Registry, task: FailedTask, *, actor: str, dry_run: bool) -> str:
    """Return a failed task to the queue. Returns the reason why the task was not retried, or an empty string."""
    model = registry.model(task.model)
    if model is None:
        return f"the model {task.model} is not configured"
    if dry_run:
        return ""
    result = await failed_tasks.retry_task(
        db, task, max_batch=model.max_batch, whole_series=model.whole_series, actor=actor
    )
    return "" if result == "retried" else _PROBLEMS[result]
