"""The implementation of `framehouse task retry`."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.progress import track

from framehouse.adapters.postgres import failed_tasks
from framehouse.adapters.postgres.channels import BATCHES_CHANNEL, notify
from framehouse.adapters.postgres.failed_tasks import RetryResult
from framehouse.adapters.postgres.pool import DATABASE_ERRORS
from framehouse.domain.task import read_task_id
from framehouse.engines.registry import open_registry
from framehouse.settings import load_settings
from framehouse.wiring import open_database

_PROBLEMS: dict[RetryResult, str] = {
    "not_failed": "it has not failed, or has already been retried",
    "canceled": "its client has cancelled it",
    "expired": "its images have expired",
    "reference_gone": "one of its reference images has been deleted",
    "over_units": "its account has too few units",
}
_UNKNOWN = "there is no failed task with this id"


@dataclass(frozen=True, slots=True)
class RetryReport:
    """The ids of the retried tasks, and the reason why each of the remaining tasks was not retried, by task id.

    In a dry run, `retried` contains the ids of the tasks that would be retried.
    """

    retried: list[str] = field(default_factory=list)
    not_retried: dict[str, str] = field(default_factory=dict)


def retry_failed(
    data_dir: Path | None,
    config: Path | None,
    *,
    ids: Sequence[str],
    since: datetime | None,
    dry_run: bool,
    quiet: bool,
    account: str | None,
    model: str | None,
    reason: str | None,
    limit: int,
) -> RetryReport:
    """Return failed tasks to the queue. If `ids` is empty, the other arguments select the tasks.

    If the process is stopped, the tasks that were already retried stay in the queue, and a repeated call retries the
    remaining tasks. If `quiet` is true, no progress is displayed.
    """
    settings = load_settings(config, data_dir=data_dir)
    report, console = RetryReport(), Console(stderr=True)
    by_id = {task_id: id for id in ids if (task_id := read_task_id(id))}
    report.not_retried.update({id: "it is not a task id" for id in ids if id not in by_id.values()})

    async def run() -> None:
        registry = open_registry(settings.served_models(), settings.worker_labels, sandbox=settings.sandbox)
        try:
            async with open_database(settings) as db:
                tasks = await failed_tasks.list_failed_tasks(
                    db,
                    limit=limit,
                    account=account,
                    model=model,
                    reason=reason,
                    since=since,
                    task_ids=list(by_id) if ids else None,
                )
                missing = by_id.keys() - {task.id for task in tasks}
                report.not_retried.update({by_id[id]: _UNKNOWN for id in missing})
                hidden = quiet or dry_run or not console.is_terminal
                for task in track(tasks[::-1], "Retrying", console=console, transient=True, disable=hidden):
                    model_of_task = registry.model(task.model)
                    if model_of_task is None:
                        report.not_retried[str(task.id)] = f"the model {task.model} is not configured"
                        continue
                    result: RetryResult = "retried"
                    if not dry_run:
                        result = await failed_tasks.retry_task(
                            db, task, max_batch=model_of_task.max_batch, whole_series=model_of_task.whole_series
                        )
                    if result == "retried":
                        report.retried.append(str(task.id))
                    else:
                        report.not_retried[str(task.id)] = _PROBLEMS[result]
                if report.retried and not dry_run:
                    with suppress(*DATABASE_ERRORS):  # a lost notification is harmless, because workers also poll
                        await notify(db, BATCHES_CHANNEL, "")
        finally:
            await registry.close()

    asyncio.run(run())
    return report
