"""The `framehouse admin-key …` commands."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from framehouse.cli.options import data_options, json_option
from framehouse.cli.output import Problem, echo, print_json

if TYPE_CHECKING:
    from framehouse.adapters.postgres.pool import Database

_MIN_PREFIX_CHARACTERS = 6


@click.group("admin-key")
def admin_key() -> None:
    """Manage the keys of the admin API."""


@admin_key.command("create")
@click.argument("name")
@data_options
@json_option
def create_key(name: str, data_dir: Path | None, config: Path | None, as_json: bool) -> None:
    """Create a key of the admin API. NAME states who uses the key, or its purpose. The key is shown only once."""
    from framehouse.adapters.postgres.admin_keys import create_admin_key
    from framehouse.cli.local_database import operator, with_database

    if not name.strip() or not name.isprintable() or len(name) > 100:
        raise click.UsageError("NAME must have 1 to 100 printable characters and must not be blank")

    async def work(db: Database) -> str:
        return await create_admin_key(db, name, actor=operator())

    key = with_database(data_dir, config, work)
    if as_json:
        print_json({"key": key})
        return
    echo(f"key: {key}")
    echo("Store the key in a safe place. It is not shown again. Anyone who has it can change all accounts.", err=True)


@admin_key.command("list")
@data_options
@json_option
def list_keys(data_dir: Path | None, config: Path | None, as_json: bool) -> None:
    """List the keys of the admin API. Only the first characters of each key are shown."""
    from framehouse.adapters.postgres.admin_keys import list_admin_keys
    from framehouse.cli.local_database import with_database
    from framehouse.pipeline.operator_json import key_json

    keys = with_database(data_dir, config, list_admin_keys)
    if as_json:
        print_json([key_json(key) for key in keys])
        return
    if not keys:
        echo("No keys yet. To create a key: framehouse admin-key create NAME")
    for key in keys:
        state = f"revoked {key.revoked_at:%Y-%m-%d}" if key.revoked_at else "active"
        echo(f"{key.prefix}…  {key.created_at:%Y-%m-%d}  {state}  {key.name}")


@admin_key.command("revoke")
@click.argument("prefix")
@data_options
@json_option
def revoke_key(prefix: str, data_dir: Path | None, config: Path | None, as_json: bool) -> None:
    """Revoke the key of the admin API that starts with PREFIX. The key becomes invalid immediately."""
    from framehouse.adapters.postgres.admin_keys import revoke_admin_key
    from framehouse.cli.local_database import operator, with_database

    start = prefix.rstrip("…")
    if len(start) < _MIN_PREFIX_CHARACTERS:
        raise click.UsageError(f"PREFIX must have at least {_MIN_PREFIX_CHARACTERS} characters")

    async def work(db: Database) -> str | None:
        return await revoke_admin_key(db, start, actor=operator())

    revoked = with_database(data_dir, config, work)
    if revoked is None:
        raise Problem(
            f'No active key, or more than one active key, starts with "{prefix}". See: framehouse admin-key list'
        )
    if as_json:
        print_json({"revoked": revoked})
    else:
        echo(f"Revoked {revoked}….")
