"""framehouse key …"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from framehouse.cli.options import data_options, json_option
from framehouse.cli.output import Problem, print_json

if TYPE_CHECKING:
    from framehouse.adapters.postgres.pool import Database
    from framehouse.domain.account import Key

_LEAST_PREFIX = 6
_account = click.argument("account")


@click.group()
def key() -> None:
    """Keys that open an account."""


@key.command("create")
@_account
@click.option("--jwt", is_flag=True, help="An access key and secret key, for clients that sign their own tokens.")
@click.option("--model", "models", multiple=True, help="Allow only this model. Repeatable. [default: all]")
@data_options
@json_option
def create_key(
    account: str, jwt: bool, models: tuple[str, ...], data_dir: Path | None, config: Path | None, as_json: bool
) -> None:
    """Make a key for ACCOUNT. It is shown now and never again."""
    from framehouse.adapters.postgres import account_store
    from framehouse.cli.local_database import get_account, with_database
    from framehouse.settings import load_settings

    known = [model.name for model, _ in load_settings(config, data_dir=data_dir).served_models()]
    for model in models:
        if model not in known:
            raise click.UsageError(f'--model "{model}" is not configured; there are: {", ".join(known)}')

    async def work(db: Database) -> dict[str, str]:
        account_id = (await get_account(db, account)).id
        if jwt:
            access_key, secret_key = await account_store.create_jwt_key(db, account_id, models=list(models) or None)
            return {"access_key": access_key, "secret_key": secret_key}
        return {"key": await account_store.create_key(db, account_id, models=list(models) or None)}

    made = with_database(data_dir, config, work)
    if as_json:
        print_json(made)
        return
    for label, value in made.items():
        click.echo(f"{label.replace('_', ' ')}: {value}")
    click.echo("Keep it safe: it is not shown again.", err=True)


@key.command("list")
@_account
@data_options
@json_option
def list_keys(account: str, data_dir: Path | None, config: Path | None, as_json: bool) -> None:
    """The keys of ACCOUNT, by their first characters."""
    from framehouse.adapters.postgres import account_store
    from framehouse.cli.local_database import get_account, with_database

    async def work(db: Database) -> list[Key]:
        return await account_store.list_keys(db, (await get_account(db, account)).id)

    found = with_database(data_dir, config, work)
    if as_json:
        times = ("created_at", "revoked_at")
        print_json([k._asdict() | {n: at.isoformat() if (at := getattr(k, n)) else None for n in times} for k in found])
        return
    if not found:
        click.echo(f"No keys yet. Make one: framehouse key create {account}")
    for k in found:
        state = f"revoked {k.revoked_at:%Y-%m-%d}" if k.revoked_at else "live"
        kind = "jwt" if k.jwt else "bearer"
        models = ", ".join(k.models or ["all models"])
        click.echo(f"{k.prefix}…  {kind:6}  {k.created_at:%Y-%m-%d}  {state}  {models}")


@key.command("revoke")
@_account
@click.argument("prefix")
@data_options
@json_option
def revoke_key(account: str, prefix: str, data_dir: Path | None, config: Path | None, as_json: bool) -> None:
    """End the key of ACCOUNT that starts with PREFIX (or is it). Works at once."""
    from framehouse.adapters.postgres import account_store
    from framehouse.cli.local_database import get_account, with_database

    if len(prefix) < _LEAST_PREFIX:
        raise click.UsageError(f"give at least {_LEAST_PREFIX} characters of the key")

    async def work(db: Database) -> list[str]:
        account_id = (await get_account(db, account)).id
        matching = await account_store.find_keys(db, account_id, prefix.rstrip("…"))
        if len(matching) > 1:
            shown = ", ".join(prefix for _, prefix in matching)
            raise Problem(f'"{prefix}" fits several keys: {shown}. Give more of it.')
        if not matching or not (revoked := await account_store.revoke_key(db, matching[0][0])):
            raise Problem(
                f'"{account}" has no living key that starts with "{prefix}". See: framehouse key list {account}'
            )
        return [revoked]

    revoked = with_database(data_dir, config, work)
    if as_json:
        print_json({"revoked": revoked})
    else:
        click.echo(f"Revoked {revoked[0]}….")
