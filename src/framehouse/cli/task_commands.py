"""The `framehouse task …` commands."""

from __future__ import annotations

import functools
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from framehouse.cli.options import Command, account_option, data_options, json_option
from framehouse.cli.output import Problem, echo, print_json

_MAX_CALLBACKS = 100

if TYPE_CHECKING:
    from framehouse.adapters.postgres.failed_tasks import FailedTaskFilter
    from framehouse.adapters.postgres.pool import Database
    from framehouse.domain.callback import Delivery
    from framehouse.domain.task import Task
    from framehouse.engines.registry import Registry
    from framehouse.pipeline.retry_tasks import RetryReport


@click.group()
def task() -> None:
    """List, show, cancel and retry tasks."""


@task.command("list")
@account_option
@click.option("--limit", type=click.IntRange(1, 500), default=20, show_default=True)
@data_options
@json_option
def list_tasks(account: str, limit: int, data_dir: Path | None, config: Path | None, as_json: bool) -> None:
    """List the newest tasks."""
    from framehouse.adapters.postgres import task_store
    from framehouse.cli.local_database import get_account, with_database

    async def work(db: Database) -> list[Task]:
        return await task_store.list_tasks(db, (await get_account(db, account)).id, limit=limit, offset=0)

    tasks = with_database(data_dir, config, work)
    if as_json:
        print_json([_public_fields(task) for task in tasks])
        return
    if not tasks:
        echo("No tasks yet.")
    for task in tasks:
        prompt = " ".join(task.prompt.split())
        images = f"{len(task.images)}/{task.image_count}"
        created = f"{task.created_at:%Y-%m-%d %H:%M:%S}"
        echo(f"{task.id}  {created}  {task.status:10}  {task.kind:17}  {images}  {prompt[:60]}".rstrip())


@task.command("show")
@click.argument("id")
@account_option
@data_options
@json_option
def show_task(id: str, account: str, data_dir: Path | None, config: Path | None, as_json: bool) -> None:
    """Show a task and its callback messages. ID is the task id or the external id of the task."""
    from framehouse.adapters.postgres import callback_queue
    from framehouse.cli.delivery_lines import delivery_json, delivery_lines
    from framehouse.cli.local_database import with_database

    async def work(db: Database) -> tuple[Task, list[Delivery]]:
        account_id, task = await _get_task(db, account, id)
        return task, await callback_queue.list_callbacks(
            db, account_id, either_id=str(task.id), failed=False, limit=_MAX_CALLBACKS
        )

    task, callbacks = with_database(data_dir, config, work)
    fields = _public_fields(task)
    if as_json:
        print_json(fields | {"callbacks": [delivery_json(row) for row in callbacks]})
        return
    fields["callbacks"] = [
        line for row in callbacks for line in (f"{row.status} to {row.callback_url}", *delivery_lines(row))
    ]
    for label, value in fields.items():
        for line in (value or ["–"]) if isinstance(value, list) else [value]:
            echo(f"{label:17} {'–' if line in (None, '') else line}")


@task.command("cancel")
@click.argument("id")
@account_option
@data_options
@json_option
def cancel_task(id: str, account: str, data_dir: Path | None, config: Path | None, as_json: bool) -> None:
    """Cancel a task that has not ended. The quota and the units of the task are released."""
    from framehouse.cli.local_database import operator, with_database
    from framehouse.pipeline.cancel import cancel
    from framehouse.settings import load_settings

    retention = timedelta(days=load_settings(config, data_dir=data_dir).retention_days)

    async def work(db: Database) -> Task:
        account_id, task = await _get_task(db, account, id)
        if not await cancel(db, account_id, task.id, retention, actor=operator()):
            raise Problem(f"The task {id} has already ended: {task.status}.")
        return (await _get_task(db, account, str(task.id)))[1]

    task = with_database(data_dir, config, work)
    if as_json:
        print_json(_public_fields(task))
    else:
        echo(f"Canceled task {task.id}.")


def _filters(command: Command) -> Command:
    """Add the options that select failed tasks. The command receives a `FailedTaskFilter` as `tasks`."""

    @functools.wraps(command)
    def with_filter(
        account: str | None, model: str | None, reason: str | None, hours: float, **arguments: object
    ) -> None:
        from framehouse.adapters.postgres.failed_tasks import FailedTaskFilter

        since = datetime.now(UTC) - timedelta(hours=min(hours, 24 * 365 * 10))
        command(tasks=FailedTaskFilter(account, model, reason, since), **arguments)

    for option in reversed(
        (
            click.option("--account", help="Only tasks of this account. [default: all accounts]"),
            click.option("--model", help="Only tasks with this model."),
            click.option("--reason", metavar="TEXT", help="Only tasks whose error message contains TEXT."),
            click.option(
                "--hours",
                type=click.FloatRange(0, min_open=True),
                default=24.0,
                show_default=True,
                help="Only tasks that failed at most this number of hours ago.",
            ),
            click.option("--limit", type=click.IntRange(1, 100_000), default=10_000, show_default=True),
        )
    ):
        with_filter = option(with_filter)
    return cast(Command, with_filter)


@task.command("failed")
@_filters
@data_options
@json_option
def list_failed(tasks: FailedTaskFilter, limit: int, data_dir: Path | None, config: Path | None, as_json: bool) -> None:
    """List failed tasks of all accounts with their error messages, newest first.

    Cancelled tasks are not listed.
    """
    from framehouse.adapters.postgres.failed_tasks import list_failed_tasks
    from framehouse.cli.local_database import with_database
    from framehouse.pipeline.operator_json import failed_task_json

    failed = with_database(data_dir, config, lambda db: list_failed_tasks(db, tasks, limit=limit))
    if as_json:
        print_json([failed_task_json(task) for task in failed])
        return
    if not failed:
        echo("No failed tasks.")
    for task in failed:
        echo(f"{task.id}  {task.ended_at:%Y-%m-%d %H:%M:%S}  {task.account}  {task.model}  {task.status_message}")


@task.command("retry")
@click.argument("ids", nargs=-1, metavar="[ID]…")
@click.option("--all", "select_all", is_flag=True, help="Retry all failed tasks that the other options select.")
@click.option(
    "--dry-run",
    is_flag=True,
    help="Do not retry any task. Print the number of tasks that would be retried, or their ids with --json.",
)
@_filters
@data_options
@json_option
def retry(
    ids: tuple[str, ...],
    select_all: bool,
    dry_run: bool,
    tasks: FailedTaskFilter,
    limit: int,
    data_dir: Path | None,
    config: Path | None,
    as_json: bool,
) -> None:
    """Return failed tasks to the queue, for example after an outage. ID is a task id.

    A retried task keeps its id and its finished images. Its account is charged once if the task now succeeds. A task
    cannot be retried if it was cancelled, if its images have expired, if a reference image has been deleted, or if its
    account has too few units.
    """
    from rich.console import Console
    from rich.progress import Progress

    from framehouse.cli.local_database import operator, with_registry
    from framehouse.domain.task import read_task_id
    from framehouse.pipeline.operator_json import retry_json
    from framehouse.pipeline.retry_tasks import retry_tasks

    if bool(ids) == select_all:
        raise click.UsageError("specify either task ids or --all")
    by_id = {task_id: id for id in ids if (task_id := read_task_id(id))}
    if ids:
        tasks = replace(tasks, since=None, task_ids=tuple(by_id))
    console = Console(stderr=True)
    hidden = as_json or dry_run or not console.is_terminal

    async def work(db: Database, registry: Registry) -> RetryReport:
        with Progress(console=console, transient=True, disable=hidden) as progress:
            bar = progress.add_task("Retrying", total=None)

            def show(done: int, total: int) -> None:
                progress.update(bar, completed=done, total=total)

            return await retry_tasks(
                db, registry, tasks, limit=limit, actor=operator(), dry_run=dry_run, on_progress=show
            )

    report = with_registry(data_dir, config, work)
    not_retried = {id: "it is not a task id" for id in ids if id not in by_id.values()}
    not_retried |= {by_id.get(id, str(id)): problem for id, problem in report.not_retried.items()}
    if as_json:
        print_json(retry_json(report, dry_run=dry_run) | {"not_retried": not_retried})
        return
    action = "Would retry" if dry_run else "Retried"
    echo(f"{action} {len(report.retried):,} {'task' if len(report.retried) == 1 else 'tasks'}.")
    for id, problem in not_retried.items():
        echo(f"Not retried: {id}, because {problem}.", err=True)
    if ids and not report.retried:
        raise Problem("No task was retried.")


def _public_fields(task: Task) -> dict[str, Any]:
    return {
        "task_id": str(task.id),
        "kind": task.kind,
        "external_task_id": task.external_task_id or None,
        "status": task.status,
        "status_message": task.status_message,
        "progress": 1.0 if task.status == "succeed" else round(task.progress, 3),
        "model": task.model,
        "prompt": task.prompt,
        "result_type": task.result_type,
        "images": task.image_count,
        "images_done": len(task.images),
        "resolution": task.resolution,
        "aspect_ratio": task.ratio,
        "units_charged": task.units_charged,
        "created_at": task.created_at.isoformat(),
        "updated_at": task.updated_at.isoformat(),
        "files": [key for image in task.images for key in (image.key, image.watermark_key) if key],
    }


async def _get_task(db: Database, account: str, id: str) -> tuple[int, Task]:
    """Find a task by its task id or external id. Returns the account's id and the task.

    Raises Problem if the account or the task does not exist.
    """
    from framehouse.adapters.postgres import task_store
    from framehouse.cli.local_database import get_account

    account_id = (await get_account(db, account)).id
    task = await task_store.find_task(db, account_id, id) if "\0" not in id else None
    if task is None:
        raise Problem(f'The account "{account}" has no task {id}. See: framehouse task list --account {account}')
    return account_id, task
