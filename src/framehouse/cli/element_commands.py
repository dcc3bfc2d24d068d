"""framehouse element …"""

import asyncio
from pathlib import Path
from typing import Any

import click

from framehouse.adapters.postgres import account_store
from framehouse.adapters.postgres import element_store as library
from framehouse.adapters.postgres.pool import Database
from framehouse.adapters.presets import presets
from framehouse.cli.account_commands import account_named, with_database
from framehouse.cli.commands import Problem, print_json
from framehouse.cli.generate_sources import image_to_send
from framehouse.domain.account import DEFAULT_ACCOUNT
from framehouse.domain.element import Element, ElementTask, read_element
from framehouse.domain.errors import Refused, refused_fields
from framehouse.domain.request import read_int
from framehouse.pipeline.saved_elements import create_element, delete_element
from framehouse.settings import Settings, load_settings
from framehouse.wiring import make_element_worker, open_house

_LOOK_S = 0.1


def _shown(element: Element) -> dict[str, Any]:
    return {
        "element_id": element.id,
        "name": element.name,
        "description": element.description,
        "tags": list(element.tags),
        "pictures": len(element.images),
    }


def create(
    name: str,
    frontal: str,
    refer: tuple[str, ...],
    description: str | None,
    tags: tuple[str, ...],
    account: str,
    data_dir: Path | None,
    config: Path | None,
    as_json: bool,
) -> None:
    body = {
        "element_name": name,
        "element_description": description or name,
        "element_image_list": {
            "frontal_image": image_to_send(frontal),
            "refer_images": [{"image_url": image_to_send(image)} for image in refer],
        },
        "tag_list": [{"tag_id": tag} for tag in tags],
    }
    try:
        made = asyncio.run(_create(load_settings(config, data_dir=data_dir), account, body))
    except Refused as error:
        raise Problem(error.message, code=error.code) from error
    if as_json:
        print_json(_shown(made))
    else:
        click.echo(
            f'Saved {made.name} as {made.id}. Use it: framehouse generate "<<<element_1>>> …" --element {made.id}'
        )


async def _create(settings: Settings, account: str, body: dict[str, Any]) -> Element:
    """Accept it as the API does, and make it here, beside a running server or without one."""
    request, problems = read_element(body)
    if problems:
        raise refused_fields(problems)
    async with open_house(settings, size=4) as house:
        if account == DEFAULT_ACCOUNT:
            await account_store.create_account(house.db, account)
        account_id = (await account_named(house.db, account)).id
        ticket = await create_element(request, account_id=account_id, db=house.db, storage=house.storage)
        making = asyncio.create_task(make_element_worker(house, only=ticket.task_id).run())
        try:
            task = await _ended(house.db, account_id, str(ticket.task_id), making)
        finally:
            making.cancel()
            await asyncio.gather(making, return_exceptions=True)
    if task.status != "succeed":
        raise Problem(f"The element was not made: {task.status_message}")
    return task.element


async def _ended(db: Database, account_id: int, task_id: str, making: "asyncio.Task[None]") -> ElementTask:
    while True:
        task = await library.find_element(db, account_id, task_id, 0)
        assert task is not None
        if task.ended:
            return task
        if making.done():
            making.result()
        await asyncio.sleep(_LOOK_S)


def list_all(
    show_presets: bool, account: str, limit: int, data_dir: Path | None, config: Path | None, as_json: bool
) -> None:
    async def work(db: Database) -> list[ElementTask]:
        return await library.list_elements(db, (await account_named(db, account)).id, limit=limit, offset=0)

    if show_presets:
        found = [_shown(element) for element in presets().values()]
    else:
        tasks = with_database(data_dir, config, work)
        found = [
            _shown(task.element) | {"status": task.status, "status_message": task.status_message} for task in tasks
        ]
    if as_json:
        print_json(found)
        return
    if not found:
        click.echo("No elements yet. Those that ship with Framehouse: framehouse element list --presets")
    for one in found:
        state = one.get("status", "succeed")
        told = one["description"] if state == "succeed" else f"{state} {one['status_message']}"
        click.echo(f"{one['element_id']:<16}  {one['name']:20}  {told}")


def delete(id: str, account: str, data_dir: Path | None, config: Path | None, as_json: bool) -> None:
    number = read_int(id)
    if number is None:
        raise click.UsageError(f'an element\'s id is a number, not "{id}"; see: framehouse element list')

    async def work(db: Database) -> None:
        await delete_element(db, (await account_named(db, account)).id, number)

    try:
        with_database(data_dir, config, work)
    except Refused as error:
        raise Problem(f"{error.message}. See: framehouse element list --account {account}", code=error.code) from error
    if as_json:
        print_json({"element_id": number, "deleted": True})
    else:
        click.echo(f"Deleted {number}. Tasks accepted before keep what they took along of it.")
