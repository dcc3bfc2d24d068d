"""framehouse account …"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from framehouse.cli.options import data_options, json_option
from framehouse.cli.output import Problem, print_json

if TYPE_CHECKING:
    from framehouse.adapters.postgres.pool import Database
    from framehouse.domain.account import Account

_name = click.argument("name")


@click.group()
def account() -> None:
    """Accounts: who may have how much in flight."""


@account.command("create")
@_name
@click.option("--concurrency", type=click.IntRange(0, 1_000_000), help="Images in flight at once. [default: 100]")
@click.option("--units", type=click.IntRange(0, 10**15), help="Units it may use. [default: no limit]")
@data_options
@json_option
def create_account(
    name: str, concurrency: int | None, units: int | None, data_dir: Path | None, config: Path | None, as_json: bool
) -> None:
    """Make an account. It needs a key next: framehouse key create NAME"""
    from framehouse.adapters.postgres import account_store
    from framehouse.cli.local_database import get_account, with_database
    from framehouse.domain.account import DEFAULT_CONCURRENCY

    async def work(db: Database) -> Account:
        allowed = DEFAULT_CONCURRENCY if concurrency is None else concurrency
        if not name.strip() or "\0" in name or len(name) > 100:
            raise Problem("An account's name has 1 to 100 characters.")
        if not await account_store.create_account(db, name, concurrency=allowed, units_limit=units):
            raise Problem(f'The account "{name}" exists already. To change it: framehouse account set {name} …')
        return await get_account(db, name)

    made = with_database(data_dir, config, work)
    if as_json:
        print_json(_public(made) | {"callback_secret": made.callback_secret})
    else:
        click.echo(f'Made the account "{name}". Give it a key: framehouse key create {name}')


@account.command("list")
@data_options
@json_option
def list_accounts(data_dir: Path | None, config: Path | None, as_json: bool) -> None:
    """All accounts."""
    from rich.console import Console
    from rich.table import Table

    from framehouse.adapters.postgres import account_store
    from framehouse.cli.local_database import with_database

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


@account.command("show")
@_name
@data_options
@json_option
def show_account(name: str, data_dir: Path | None, config: Path | None, as_json: bool) -> None:
    """One account: limits, what is in flight, units used, the secret that signs its callbacks."""
    from framehouse.cli.local_database import get_account, with_database

    account = with_database(data_dir, config, lambda db: get_account(db, name))
    shown = _public(account) | {"callback_secret": account.callback_secret}
    if as_json:
        print_json(shown)
        return
    for label, value in shown.items():
        click.echo(f"{label:17} {'no limit' if value is None else value}")


@account.command("set")
@_name
@click.option("--concurrency", type=click.IntRange(0, 1_000_000), help="Images in flight at once.")
@click.option("--units", metavar="N|none", help="Units it may use in all; none: no limit.")
@click.option("--disable/--enable", "disabled", default=None, help="Whether its requests are refused.")
@data_options
@json_option
def set_account(
    name: str,
    concurrency: int | None,
    units: str | None,
    disabled: bool | None,
    data_dir: Path | None,
    config: Path | None,
    as_json: bool,
) -> None:
    """Change an account's limits. Works at once, also beside a running server; work under way goes on."""
    from framehouse.adapters.postgres import account_store
    from framehouse.cli.local_database import get_account, with_database

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
        return await get_account(db, name)

    account = with_database(data_dir, config, work)
    if as_json:
        print_json(_public(account))
    else:
        click.echo(f'Changed the account "{name}".')


@account.command("rotate-secret")
@_name
@click.option(
    "--overlap-hours",
    type=click.FloatRange(0, 24 * 30),
    default=24.0,
    show_default=True,
    help="How long the old secret signs too.",
)
@data_options
@json_option
def rotate_secret(name: str, overlap_hours: float, data_dir: Path | None, config: Path | None, as_json: bool) -> None:
    """Make a new secret for the account's callbacks. During the overlap each message carries both signatures."""
    from framehouse.adapters.postgres import account_store
    from framehouse.cli.local_database import get_account, with_database

    async def work(db: Database) -> str:
        await get_account(db, name)
        secret = await account_store.rotate_secret(db, name, timedelta(hours=overlap_hours))
        assert secret is not None
        return secret

    secret = with_database(data_dir, config, work)
    if as_json:
        print_json({"callback_secret": secret, "overlap_hours": overlap_hours})
    else:
        click.echo(f"The new secret: {secret}\nThe old one signs too for {overlap_hours:g} hours.")


def _public(account: Account) -> dict[str, Any]:
    names = ("name", "disabled", "concurrency", "images_in_flight", "units_limit", "units_reserved", "units_used")
    return {name: getattr(account, name) for name in names} | {"created_at": account.created_at.isoformat()}
