"""framehouse task …"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from framehouse.cli.options import account_option, data_options, json_option
from framehouse.cli.output import Problem, print_json

if TYPE_CHECKING:
    from framehouse.adapters.postgres.pool import Database
    from framehouse.domain.task import Task


@click.group()
def task() -> None:
    """Tasks of an account."""


@task.command("list")
@account_option
@click.option("--limit", type=click.IntRange(1, 500), default=20, show_default=True)
@data_options
@json_option
def list_tasks(account: str, limit: int, data_dir: Path | None, config: Path | None, as_json: bool) -> None:
    """The newest tasks."""
    from framehouse.adapters.postgres import task_store
    from framehouse.cli.local_database import get_account, with_database

    async def work(db: Database) -> list[Task]:
        return await task_store.list_tasks(db, (await get_account(db, account)).id, limit=limit, offset=0)

    found = with_database(data_dir, config, work)
    if as_json:
        print_json([_shown(task) for task in found])
        return
    if not found:
        click.echo("No tasks yet.")
    for task in found:
        words = " ".join(task.prompt.split())
        made = f"{len(task.images)}/{task.image_count}"
        click.echo(f"{task.id}  {task.created_at:%Y-%m-%d %H:%M:%S}  {task.status:10}  {made}  {words[:60]}")


@task.command("show")
@click.argument("id")
@account_option
@data_options
@json_option
def show_task(id: str, account: str, data_dir: Path | None, config: Path | None, as_json: bool) -> None:
    """One task, by its id or external id."""
    from framehouse.cli.local_database import with_database

    async def work(db: Database) -> Task:
        return (await _get_task(db, account, id))[1]

    shown = _shown(with_database(data_dir, config, work))
    if as_json:
        print_json(shown)
        return
    for label, value in shown.items():
        for line in (value or ["–"]) if isinstance(value, list) else [value]:
            click.echo(f"{label:17} {'–' if line in (None, '') else line}")


@task.command("cancel")
@click.argument("id")
@account_option
@data_options
@json_option
def cancel_task(id: str, account: str, data_dir: Path | None, config: Path | None, as_json: bool) -> None:
    """End a task that has not ended; its quota and units come back."""
    from framehouse.cli.local_database import with_database
    from framehouse.pipeline.cancel import cancel
    from framehouse.settings import load_settings

    retention = timedelta(days=load_settings(config, data_dir=data_dir).retention_days)

    async def work(db: Database) -> Task:
        account_id, task = await _get_task(db, account, id)
        if not await cancel(db, account_id, task.id, retention):
            raise Problem(f"Task {id} has ended already: {task.status}.")
        return (await _get_task(db, account, str(task.id)))[1]

    task = with_database(data_dir, config, work)
    if as_json:
        print_json(_shown(task))
    else:
        click.echo(f"Canceled {task.id}.")


def _shown(task: Task) -> dict[str, Any]:
    return {
        "task_id": str(task.id),
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
    from framehouse.adapters.postgres import task_store
    from framehouse.cli.local_database import get_account

    account_id = (await get_account(db, account)).id
    found = await task_store.find_task(db, account_id, id) if "\0" not in id else None
    if found is None:
        raise Problem(f'The account "{account}" has no task {id}. See: framehouse task list --account {account}')
    return account_id, found
