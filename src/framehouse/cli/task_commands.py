"""The `framehouse task …` commands."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from framehouse.cli.options import account_option, data_options, json_option
from framehouse.cli.output import Problem, echo, print_json

if TYPE_CHECKING:
    from framehouse.adapters.postgres.pool import Database
    from framehouse.domain.task import Task


@click.group()
def task() -> None:
    """List, show and cancel the tasks of an account."""


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
    """Show a task. ID is the task id or the external id of the task."""
    from framehouse.cli.local_database import with_database

    async def work(db: Database) -> Task:
        return (await _get_task(db, account, id))[1]

    fields = _public_fields(with_database(data_dir, config, work))
    if as_json:
        print_json(fields)
        return
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
    from framehouse.cli.local_database import with_database
    from framehouse.pipeline.cancel import cancel
    from framehouse.settings import load_settings

    retention = timedelta(days=load_settings(config, data_dir=data_dir).retention_days)

    async def work(db: Database) -> Task:
        account_id, task = await _get_task(db, account, id)
        if not await cancel(db, account_id, task.id, retention):
            raise Problem(f"The task {id} has already ended: {task.status}.")
        return (await _get_task(db, account, str(task.id)))[1]

    task = with_database(data_dir, config, work)
    if as_json:
        print_json(_public_fields(task))
    else:
        echo(f"Canceled the task {task.id}.")


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
