"""framehouse account …, framehouse key …"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.table import Table

from framehouse.adapters.postgres import account_store
from framehouse.adapters.postgres.pool import Database
from framehouse.cli.commands import Problem, print_json
from framehouse.domain.account import DEFAULT_CONCURRENCY, Account, Key
from framehouse.settings import load_settings
from framehouse.wiring import open_database

Result = TypeVar("Result")
_LEAST_PREFIX = 6


def with_database(data_dir: Path | None, config: Path | None, work: Callable[[Database], Awaitable[Result]]) -> Result:
    """Do something with the database of this configuration, beside a running server or without one."""

    async def run() -> Result:
        async with open_database(load_settings(config, data_dir=data_dir)) as db:
            return await work(db)

    return asyncio.run(run())


async def account_named(db: Database, name: str) -> Account:
    found = await account_store.find_account(db, name)
    if found is None:
        raise Problem(f'There is no account "{name}". See: framehouse account list')
    return found


def _public(account: Account) -> dict[str, Any]:
    names = ("name", "disabled", "concurrency", "images_in_flight", "units_limit", "units_reserved", "units_used")
    return {name: getattr(account, name) for name in names} | {"created_at": account.created_at.isoformat()}


def create(
    name: str, concurrency: int | None, units: int | None, data_dir: Path | None, config: Path | None, as_json: bool
) -> None:
    async def work(db: Database) -> Account:
        allowed = DEFAULT_CONCURRENCY if concurrency is None else concurrency
        if not name.strip() or "\0" in name or len(name) > 100:
            raise Problem("An account's name has 1 to 100 characters.")
        if not await account_store.create_account(db, name, concurrency=allowed, units_limit=units):
            raise Problem(f'The account "{name}" exists already. To change it: framehouse account set {name} …')
        return await account_named(db, name)

    made = with_database(data_dir, config, work)
    if as_json:
        print_json(_public(made) | {"callback_secret": made.callback_secret})
    else:
        click.echo(f'Made the account "{name}". Give it a key: framehouse key create {name}')


def list_all(data_dir: Path | None, config: Path | None, as_json: bool) -> None:
    found = with_database(data_dir, config, account_store.list_accounts)
    if as_json:
        print_json([_public(account) | {"keys": keys} for account, keys in found])
        return
    if not found:
        click.echo("No accounts yet. Make one: framehouse account create NAME")
        return
    table = Table(box=None, pad_edge=False)
    for column in ("account", "in flight", "units used", "keys", ""):
        table.add_column(column, justify="left" if column in ("account", "") else "right")
    for account, keys in found:
        limit = "" if account.units_limit is None else f" of {account.units_limit}"
        in_flight = f"{account.images_in_flight} of {account.concurrency}"
        state = "disabled" if account.disabled else ""
        table.add_row(account.name, in_flight, f"{account.units_used}{limit}", str(keys), state)
    Console().print(table)


def show(name: str, data_dir: Path | None, config: Path | None, as_json: bool) -> None:
    account = with_database(data_dir, config, lambda db: account_named(db, name))
    shown = _public(account) | {"callback_secret": account.callback_secret}
    if as_json:
        print_json(shown)
        return
    for label, value in shown.items():
        click.echo(f"{label:17} {'no limit' if value is None else value}")


def change(
    name: str,
    concurrency: int | None,
    units: str | None,
    disabled: bool | None,
    data_dir: Path | None,
    config: Path | None,
    as_json: bool,
) -> None:
    no_limit = units is not None and units.strip().lower() == "none"
    if units is not None and not no_limit and not (units.isascii() and units.isdecimal() and len(units) < 18):
        raise click.UsageError(f'--units takes a whole number or none, not "{units}"')
    limit = int(units) if units is not None and not no_limit else None
    if concurrency is None and units is None and disabled is None:
        raise click.UsageError("nothing to change: give --concurrency, --units, --disable or --enable")

    async def work(db: Database) -> Account:
        await account_store.set_account(
            db, name, concurrency=concurrency, units_limit=limit, no_limit=no_limit, disabled=disabled
        )
        return await account_named(db, name)

    account = with_database(data_dir, config, work)
    if as_json:
        print_json(_public(account))
    else:
        click.echo(f'Changed the account "{name}".')


def rotate(name: str, overlap_hours: float, data_dir: Path | None, config: Path | None, as_json: bool) -> None:
    async def work(db: Database) -> str:
        await account_named(db, name)
        secret = await account_store.rotate_secret(db, name, timedelta(hours=overlap_hours))
        assert secret is not None
        return secret

    secret = with_database(data_dir, config, work)
    if as_json:
        print_json({"callback_secret": secret, "overlap_hours": overlap_hours})
    else:
        click.echo(f"The new secret: {secret}\nThe old one signs too for {overlap_hours:g} hours.")


def create_key(
    account: str, jwt: bool, models: tuple[str, ...], data_dir: Path | None, config: Path | None, as_json: bool
) -> None:
    known = [model.name for model, _ in load_settings(config, data_dir=data_dir).served_models()]
    for model in models:
        if model not in known:
            raise click.UsageError(f'--model "{model}" is not configured; there are: {", ".join(known)}')

    async def work(db: Database) -> dict[str, str]:
        account_id = (await account_named(db, account)).id
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


def list_keys(account: str, data_dir: Path | None, config: Path | None, as_json: bool) -> None:
    async def work(db: Database) -> list[Key]:
        return await account_store.list_keys(db, (await account_named(db, account)).id)

    found = with_database(data_dir, config, work)
    if as_json:
        print_json(
            [
                key._asdict()
                | {n: at.isoformat() if (at := getattr(key, n)) else None for n in ("created_at", "revoked_at")}
                for key in found
            ]
        )
        return
    if not found:
        click.echo(f"No keys yet. Make one: framehouse key create {account}")
    for key in found:
        state = f"revoked {key.revoked_at:%Y-%m-%d}" if key.revoked_at else "live"
        kind = "jwt" if key.jwt else "bearer"
        models = ", ".join(key.models or ["all models"])
        click.echo(f"{key.prefix}…  {kind:6}  {key.created_at:%Y-%m-%d}  {state}  {models}")


def revoke_key(account: str, prefix: str, data_dir: Path | None, config: Path | None, as_json: bool) -> None:
    if len(prefix) < _LEAST_PREFIX:
        raise click.UsageError(f"give at least {_LEAST_PREFIX} characters of the key")

    async def work(db: Database) -> list[str]:
        account_id = (await account_named(db, account)).id
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
