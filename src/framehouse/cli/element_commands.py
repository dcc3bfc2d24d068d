"""framehouse element …"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from framehouse.cli.options import account_option, data_options, json_option
from framehouse.cli.output import Problem, print_json

if TYPE_CHECKING:
    from framehouse.adapters.postgres.pool import Database
    from framehouse.domain.element import Element, ElementTask


@click.group()
def element() -> None:
    """Saved elements: what a prompt cites as <<<element_1>>>."""


@element.command("create")
@click.argument("name")
@click.option("--frontal", required=True, metavar="PATH|URL", help="What it looks like from the front.")
@click.option(
    "--refer", multiple=True, required=True, metavar="PATH|URL", help="Another side of it. Repeatable, up to 3 times."
)
@click.option("--description", help="At most 100 characters. [default: its name]")
@click.option("--tag", "tags", multiple=True, metavar="TAG", help="o_101 to o_108; see docs/elements.md. Repeatable.")
@account_option
@data_options
@json_option
def create_element(
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
    """Save an element under NAME, of two to four pictures.

    framehouse element create "Red bag" --frontal bag.png --refer bag-side.png --tag o_104
    """
    import asyncio

    from framehouse.cli.create_element import create_element_here
    from framehouse.cli.image_argument import image_to_send
    from framehouse.domain.errors import Refused
    from framehouse.settings import load_settings

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
        made = asyncio.run(create_element_here(load_settings(config, data_dir=data_dir), account, body))
    except Refused as error:
        raise Problem(error.message, code=error.code) from error
    if as_json:
        print_json(_shown(made))
    else:
        click.echo(
            f'Saved {made.name} as {made.id}. Use it: framehouse generate "<<<element_1>>> …" --element {made.id}'
        )


@element.command("list")
@click.option("--presets", "show_presets", is_flag=True, help="Those that ship with Framehouse.")
@account_option
@click.option("--limit", type=click.IntRange(1, 500), default=50, show_default=True)
@data_options
@json_option
def list_elements(
    show_presets: bool, account: str, limit: int, data_dir: Path | None, config: Path | None, as_json: bool
) -> None:
    """The account's elements, newest first."""
    from framehouse.adapters.postgres import element_store
    from framehouse.adapters.presets import presets
    from framehouse.cli.local_database import get_account, with_database

    async def work(db: Database) -> list[ElementTask]:
        return await element_store.list_elements(db, (await get_account(db, account)).id, limit=limit, offset=0)

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


@element.command("delete")
@click.argument("id")
@account_option
@data_options
@json_option
def delete_element(id: str, account: str, data_dir: Path | None, config: Path | None, as_json: bool) -> None:
    """Delete the element ID. Tasks accepted before are not touched."""
    from framehouse.cli.local_database import get_account, with_database
    from framehouse.domain.errors import Refused
    from framehouse.domain.request import read_int
    from framehouse.pipeline import saved_elements

    number = read_int(id)
    if number is None:
        raise click.UsageError(f'an element\'s id is a number, not "{id}"; see: framehouse element list')

    async def work(db: Database) -> None:
        await saved_elements.delete_element(db, (await get_account(db, account)).id, number)

    try:
        with_database(data_dir, config, work)
    except Refused as error:
        raise Problem(f"{error.message}. See: framehouse element list --account {account}", code=error.code) from error
    if as_json:
        print_json({"element_id": number, "deleted": True})
    else:
        click.echo(f"Deleted {number}. Tasks accepted before keep what they took along of it.")


def _shown(element: Element) -> dict[str, Any]:
    return {
        "element_id": element.id,
        "name": element.name,
        "description": element.description,
        "tags": list(element.tags),
        "pictures": len(element.images),
    }
