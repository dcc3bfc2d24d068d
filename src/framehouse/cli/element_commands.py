"""The `framehouse element …` commands."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from framehouse.cli.options import account_option, data_options, json_option
from framehouse.cli.output import Problem, echo, print_json

if TYPE_CHECKING:
    from framehouse.adapters.postgres.pool import Database
    from framehouse.domain.element import Element, ElementTask


@click.group()
def element() -> None:
    """Manage saved elements, which a prompt cites as <<<element_1>>>."""


@element.command("create")
@click.argument("name")
@click.option("--frontal", required=True, metavar="PATH|URL", help="Image of the front of the element.")
@click.option(
    "--refer",
    multiple=True,
    required=True,
    metavar="PATH|URL",
    help="Image of another side of the element. This option can be used up to 3 times.",
)
@click.option("--description", help="Description of the element, at most 100 characters. [default: NAME]")
@click.option(
    "--tag", "tags", multiple=True, metavar="TAG", help="A tag from o_101 to o_108; see docs/elements.md. Repeatable."
)
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
    """Create an element with the name NAME, using two to four images.

    Example: framehouse element create "Red bag" --frontal bag.png --refer bag-side.png --tag o_104
    """
    import asyncio

    from framehouse.cli.create_element import create_element_locally
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
        created = asyncio.run(create_element_locally(load_settings(config, data_dir=data_dir), account, body))
    except Refused as error:
        raise Problem(error.message, code=error.code) from error
    if as_json:
        print_json(_public_fields(created))
    else:
        usage = f'framehouse generate "<<<element_1>>> …" --element {created.id}'
        echo(f"Created element {created.id} ({created.name}). To use the element: {usage}")


@element.command("list")
@click.option(
    "--presets", "show_presets", is_flag=True, help="List the preset elements instead of the account's elements."
)
@account_option
@click.option("--limit", type=click.IntRange(1, 500), default=50, show_default=True)
@data_options
@json_option
def list_elements(
    show_presets: bool, account: str, limit: int, data_dir: Path | None, config: Path | None, as_json: bool
) -> None:
    """List the account's elements, newest first."""
    from framehouse.adapters.postgres import element_store
    from framehouse.adapters.presets import presets
    from framehouse.cli.local_database import get_account, with_database

    async def work(db: Database) -> list[ElementTask]:
        return await element_store.list_elements(db, (await get_account(db, account)).id, limit=limit, offset=0)

    if show_presets:
        rows = [_public_fields(element) for element in presets().values()]
    else:
        tasks = with_database(data_dir, config, work)
        rows = [
            _public_fields(task.element) | {"status": task.status, "status_message": task.status_message}
            for task in tasks
        ]
    if as_json:
        print_json(rows)
        return
    if not rows:
        echo("No elements yet. To list the preset elements: framehouse element list --presets")
    for row in rows:
        status = row.get("status", "succeed")
        text = row["description"] if status == "succeed" else f"{status} {row['status_message']}"
        echo(f"{row['element_id']:<16}  {row['name']:20}  {text}")


@element.command("delete")
@click.argument("id")
@account_option
@data_options
@json_option
def delete_element(id: str, account: str, data_dir: Path | None, config: Path | None, as_json: bool) -> None:
    """Delete the element with the id ID. Tasks that were already accepted are not affected."""
    from framehouse.cli.local_database import get_account, with_database
    from framehouse.domain.errors import Refused
    from framehouse.domain.field_reader import read_int
    from framehouse.pipeline import saved_elements

    number = read_int(id)
    if number is None:
        raise click.UsageError(f'the id of an element is a number, not "{id}"; see: framehouse element list')

    async def work(db: Database) -> None:
        await saved_elements.delete_element(db, (await get_account(db, account)).id, number)

    try:
        with_database(data_dir, config, work)
    except Refused as error:
        raise Problem(f"{error.message}. See: framehouse element list --account {account}", code=error.code) from error
    if as_json:
        print_json({"element_id": number, "deleted": True})
    else:
        echo(f"Deleted element {number}. Tasks that were already accepted are not affected.")


def _public_fields(element: Element) -> dict[str, Any]:
    return {
        "element_id": element.id,
        "name": element.name,
        "description": element.description,
        "tags": list(element.tags),
        "pictures": len(element.images),
    }
