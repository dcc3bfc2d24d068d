"""The `framehouse account …` commands."""

from __future__ import annotations

import math
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from framehouse.cli.options import data_options, json_option
from framehouse.cli.output import Problem, echo, print_json

if TYPE_CHECKING:
    from framehouse.adapters.postgres.pool import Database
    from framehouse.domain.account import Account


def _number(value: float | None) -> float | None:
    """Refuse NaN, which `click.FloatRange` accepts."""
    if value is not None and math.isnan(value):
        raise click.BadParameter("nan is not a number")
    return value


_name = click.argument("name")
_weight = click.option(
    "--weight",
    type=click.FloatRange(0.01, 100),
    callback=lambda _context, _option, value: _number(value),
    help="Share of the workers, relative to other accounts. An account with weight 2 gets twice the share of an "
    "account with weight 1. A new account has weight 1 by default.",
)


@click.group()
def account() -> None:
    """Manage accounts and their limits."""


@account.command("create")
@_name
@click.option(
    "--concurrency", type=click.IntRange(0, 1_000_000), help="Maximum number of images in flight. [default: 100]"
)
@click.option(
    "--units", type=click.IntRange(0, 10**15), help="Units that the account may use in total. [default: no limit]"
)
@_weight
@data_options
@json_option
def create_account(
    name: str,
    concurrency: int | None,
    units: int | None,
    weight: float | None,
    data_dir: Path | None,
    config: Path | None,
    as_json: bool,
) -> None:
    """Create an account. To create a key for the account: framehouse key create NAME"""
    from framehouse.adapters.postgres import account_store
    from framehouse.cli.local_database import get_account, operator, with_database
    from framehouse.domain.account import DEFAULT_CONCURRENCY
    from framehouse.pipeline.operator_json import account_json

    async def work(db: Database) -> Account:
        images = DEFAULT_CONCURRENCY if concurrency is None else concurrency
        if not name.strip() or not name.isprintable() or len(name) > 100:
            raise Problem("The name of an account must have 1 to 100 printable characters and must not be blank.")
        if not await account_store.create_account(
            db,
            name,
            concurrency=images,
            units_limit=units,
            weight=1.0 if weight is None else weight,
            actor=operator(),
        ):
            raise Problem(
                f'The account "{name}" already exists. To change the account: framehouse account set {name} …'
            )
        return await get_account(db, name)

    account = with_database(data_dir, config, work)
    if as_json:
        print_json(account_json(account) | {"callback_secret": account.callback_secret})
    else:
        echo(f'Created the account "{name}". To create a key for the account: framehouse key create {name}')


@account.command("list")
@data_options
@json_option
def list_accounts(data_dir: Path | None, config: Path | None, as_json: bool) -> None:
    """List all accounts."""
    from rich.console import Console
    from rich.table import Table

    from framehouse.adapters.postgres import account_store
    from framehouse.cli.local_database import with_database
    from framehouse.pipeline.operator_json import account_json

    accounts = with_database(data_dir, config, account_store.list_accounts)
    if as_json:
        print_json([account_json(account) | {"keys": keys} for account, keys in accounts])
        return
    if not accounts:
        echo("No accounts yet. To create an account: framehouse account create NAME")
        return
    table = Table(box=None, pad_edge=False)
    for column in ("account", "in flight", "units used", "keys", ""):
        table.add_column(column, justify="left" if column in ("account", "") else "right")
    for account, keys in accounts:
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
    """Show an account: its limits, images in flight, units used, and the secret for signing callbacks."""
    from framehouse.cli.local_database import get_account, with_database
    from framehouse.pipeline.operator_json import account_json

    account = with_database(data_dir, config, lambda db: get_account(db, name))
    fields = account_json(account) | {"callback_secret": account.callback_secret}
    if as_json:
        print_json(fields)
        return
    for label, value in fields.items():
        echo(f"{label:17} {'no limit' if value is None else value}")


@account.command("set")
@_name
@click.option("--concurrency", type=click.IntRange(0, 1_000_000), help="Maximum number of images in flight.")
@click.option("--units", metavar="N|none", help='Units that the account may use in total. "none" removes the limit.')
@_weight
@click.option(
    "--disable/--enable", "disabled", default=None, help="Refuse all requests from the account, or accept them again."
)
@data_options
@json_option
def set_account(
    name: str,
    concurrency: int | None,
    units: str | None,
    weight: float | None,
    disabled: bool | None,
    data_dir: Path | None,
    config: Path | None,
    as_json: bool,
) -> None:
    """Change the limits of an account, or disable or enable the account.

    The change takes effect immediately, even while a server is running. Tasks that were already accepted continue.
    """
    from framehouse.adapters.postgres import account_store
    from framehouse.cli.local_database import get_account, operator, with_database
    from framehouse.pipeline.operator_json import account_json

    no_limit = units is not None and units.strip().lower() == "none"
    if units is not None and not no_limit and not (units.isascii() and units.isdecimal() and len(units) < 18):
        raise click.UsageError(f'--units must be a whole number or none, not "{units}"')
    limit = int(units) if units is not None and not no_limit else None
    if concurrency is None and units is None and weight is None and disabled is None:
        raise click.UsageError("nothing to change: use --concurrency, --units, --weight, --disable or --enable")

    async def work(db: Database) -> Account:
        await account_store.set_account(
            db,
            name,
            concurrency=concurrency,
            units_limit=limit,
            no_limit=no_limit,
            disabled=disabled,
            weight=weight,
            actor=operator(),
        )
        return await get_account(db, name)

    account = with_database(data_dir, config, work)
    if as_json:
        print_json(account_json(account))
    else:
        echo(f'Changed the account "{name}".')


@account.command("rotate-secret")
@_name
@click.option(
    "--overlap-hours",
    type=click.FloatRange(0, 24 * 30),
    default=24.0,
    show_default=True,
    help="For this number of hours, callback messages are also signed with the old secret.",
)
@data_options
@json_option
def rotate_secret(name: str, overlap_hours: float, data_dir: Path | None, config: Path | None, as_json: bool) -> None:
    """Create a new secret for the account's callbacks.

    During the next `--overlap-hours` hours, each message is signed with both the new secret and the old secret.
    """
    from framehouse.adapters.postgres import account_store
    from framehouse.cli.local_database import get_account, operator, with_database

    async def work(db: Database) -> str:
        await get_account(db, name)
        secret = await account_store.rotate_secret(db, name, timedelta(hours=overlap_hours), actor=operator())
        assert secret is not None
        return secret

    secret = with_database(data_dir, config, work)
    if as_json:
        print_json({"callback_secret": secret, "overlap_hours": overlap_hours})
    else:
        echo(
            f"The new secret: {secret}\n"
            f"For the next {overlap_hours:g} hours, messages are also signed with the old secret."
        )


@account.command("delete")
@_name
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@data_options
@json_option
def delete_account(name: str, yes: bool, data_dir: Path | None, config: Path | None, as_json: bool) -> None:
    """Delete an account and its keys, tasks, images, elements, uploads and charges.

    The keys become invalid immediately. Unfinished tasks end without a charge and without a callback. A running server
    or worker then deletes the data. To save the charges first, run: framehouse usage --account NAME
    --csv
    """
    from framehouse.adapters.postgres import account_store
    from framehouse.cli.local_database import get_account, operator, with_database
    from framehouse.pipeline.delete_account import delete_account as delete

    if not yes:
        if as_json or not sys.stdin.isatty():
            raise click.UsageError("to delete an account without confirmation, specify --yes")

        async def count(db: Database) -> int:
            return await account_store.count_tasks(db, (await get_account(db, name)).id)

        tasks = with_database(data_dir, config, count)
        click.confirm(f'Delete the account "{name}" and all of its data ({tasks:,} tasks)?', abort=True)

    async def work(db: Database) -> None:
        await get_account(db, name)
        await delete(db, name, actor=operator())

    with_database(data_dir, config, work)
    if as_json:
        print_json({"name": name, "deleted": True})
    else:
        echo(f'Deleted the account "{name}". A running server or worker now deletes the data of the account.')
