"""The `framehouse key …` commands."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from framehouse.cli.options import data_options, json_option
from framehouse.cli.output import Problem, echo, print_json

if TYPE_CHECKING:
    from framehouse.adapters.postgres.pool import Database
    from framehouse.domain.account import Key

_MIN_PREFIX_CHARACTERS = 6
_account = click.argument("account")


@click.group()
def key() -> None:
    """Manage the API keys of accounts."""


@key.command("create")
@_account
@click.option(
    "--jwt", is_flag=True, help="Create an access key and a secret key, for clients that sign their own JWTs."
)
@click.option("--model", "models", multiple=True, help="Allow only this model. Repeatable. [default: all models]")
@data_options
@json_option
def create_key(
    account: str, jwt: bool, models: tuple[str, ...], data_dir: Path | None, config: Path | None, as_json: bool
) -> None:
    """Create a key for ACCOUNT. The key is shown only once."""
    from framehouse.adapters.postgres import account_store
    from framehouse.cli.local_database import get_account, operator, with_database
    from framehouse.settings import load_settings

    configured = [model.name for model, _ in load_settings(config, data_dir=data_dir).served_models()]
    for model in models:
        if model not in configured:
            raise click.UsageError(f'the model "{model}" is not configured; configured models: {", ".join(configured)}')

    async def work(db: Database) -> dict[str, str]:
        account_id = (await get_account(db, account)).id
        if jwt:
            access_key, secret_key = await account_store.create_jwt_key(
                db, account_id, models=list(models) or None, actor=operator()
            )
            return {"access_key": access_key, "secret_key": secret_key}
        return {"key": await account_store.create_key(db, account_id, models=list(models) or None, actor=operator())}

    created = with_database(data_dir, config, work)
    if as_json:
        print_json(created)
        return
    for label, value in created.items():
        echo(f"{label.replace('_', ' ')}: {value}")
    echo("Store the key in a safe place. The key is not shown again.", err=True)


@key.command("list")
@_account
@data_options
@json_option
def list_keys(account: str, data_dir: Path | None, config: Path | None, as_json: bool) -> None:
    """List the keys of ACCOUNT. Only the first characters of each key are shown."""
    from framehouse.adapters.postgres import account_store
    from framehouse.cli.local_database import get_account, with_database
    from framehouse.pipeline.operator_json import key_json

    async def work(db: Database) -> list[Key]:
        return await account_store.list_keys(db, (await get_account(db, account)).id)

    keys = with_database(data_dir, config, work)
    if as_json:
        print_json([key_json(key) for key in keys])
        return
    if not keys:
        echo(f"No keys yet. To create a key: framehouse key create {account}")
    for k in keys:
        state = f"revoked {k.revoked_at:%Y-%m-%d}" if k.revoked_at else "active"
        kind = "jwt" if k.jwt else "bearer"
        models = ", ".join(k.models or ["all models"])
        echo(f"{k.prefix}…  {kind:6}  {k.created_at:%Y-%m-%d}  {state}  {models}")


@key.command("revoke")
@_account
@click.argument("prefix")
@data_options
@json_option
def revoke_key(account: str, prefix: str, data_dir: Path | None, config: Path | None, as_json: bool) -> None:
    """Revoke the key of ACCOUNT that starts with PREFIX. The key becomes invalid immediately.

    PREFIX is the entire API key or access key, or at least the first 6 characters of the prefix that `framehouse key
    list` shows.
    """
    from framehouse.adapters.postgres import account_store
    from framehouse.cli.local_database import get_account, operator, with_database

    if len(prefix) < _MIN_PREFIX_CHARACTERS:
        raise click.UsageError(f"PREFIX must have at least {_MIN_PREFIX_CHARACTERS} characters")

    async def work(db: Database) -> list[str]:
        account_id = (await get_account(db, account)).id
        matching = await account_store.find_keys(db, account_id, prefix.rstrip("…"))
        if len(matching) > 1:
            prefixes = ", ".join(prefix for _, prefix in matching)
            raise Problem(f'"{prefix}" matches several keys: {prefixes}. Use a longer prefix.')
        if not matching or not (revoked := await account_store.revoke_key(db, matching[0][0], actor=operator())):
            raise Problem(
                f'"{account}" has no active key that starts with "{prefix}". See: framehouse key list {account}'
            )
        return [revoked]

    revoked = with_database(data_dir, config, work)
    if as_json:
        print_json({"revoked": revoked})
    else:
        echo(f"Revoked {revoked[0]}….")
