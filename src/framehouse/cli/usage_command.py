"""The `framehouse usage` command."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from framehouse.cli.options import data_options, json_option
from framehouse.cli.output import Problem, echo, print_json

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date, datetime

    from framehouse.adapters.postgres.pool import Database
    from framehouse.adapters.postgres.route_costs import RouteCost
    from framehouse.domain.billing import Charge

_COLUMNS = ("charged_at", "account", "key", "task_id", "kind", "model", "resolution", "amount", "units_after")
_PAGE = 1000
_DATE = click.DateTime(("%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"))


@click.command()
@click.option("--account", help="Show only the charges of this account. [default: all accounts]")
@click.option("--key", help="Show only the charges of this API key, or of the key with this prefix (see `key list`).")
@click.option("--from", "since", type=_DATE, help="Show only charges at or after this time (UTC).")
@click.option("--to", "until", type=_DATE, help="Show only charges before this time (UTC).")
@click.option("--csv", "as_csv", is_flag=True, help="Print the charges as CSV.")
@data_options
@json_option
def usage(
    account: str | None,
    key: str | None,
    since: datetime | None,
    until: datetime | None,
    as_csv: bool,
    data_dir: Path | None,
    config: Path | None,
    as_json: bool,
) -> None:
    """Show the charges of accounts, newest first, and their sum in units.

    Also shows what the images have cost the operator, by whole days. Only images of routes with a price, and images for
    which the upstream reports a cost, have a known cost.
    """
    from datetime import UTC

    from framehouse.adapters.postgres.account_store import key_prefix
    from framehouse.adapters.postgres.ledger import list_charges
    from framehouse.adapters.postgres.route_costs import list_costs
    from framehouse.cli.local_database import get_account, with_database
    from framehouse.domain.billing import FIRST_ID

    for name, value in (("--account", account), ("--key", key)):
        # an empty value, for example from an empty shell variable, must not select the charges of all accounts
        if value is not None and not value.strip():
            raise click.UsageError(f"the value of {name} is empty")
    if as_csv and as_json:
        raise click.UsageError("--csv and --json cannot be combined")
    if since and until and since > until:
        raise Problem("--from must not be later than --to.", exit_code=2)

    async def work(db: Database) -> tuple[list[Charge], Sequence[RouteCost]]:
        account_id = (await get_account(db, account)).id if account else None
        costs: Sequence[RouteCost] = []
        if key is None:  # the costs are not recorded by key
            days = {"since": since.date() if since else None, "until": _last_day(until) if until else None}
            costs = await list_costs(db, account_id, **days)
        charges: list[Charge] = []
        while True:
            page = await list_charges(
                db,
                account_id,
                limit=_PAGE,
                before=charges[-1].id if charges else FIRST_ID,
                since=since.replace(tzinfo=UTC) if since else None,
                until=until.replace(tzinfo=UTC) if until else None,
                keys=[key_prefix(key)] if key else None,
            )
            charges += page
            if len(page) < _PAGE:
                return charges, costs

    charges, costs = with_database(data_dir, config, work)
    total = sum(charge.amount for charge in charges)
    rows = [{name: asdict(charge)[name] for name in _COLUMNS} for charge in charges]
    if as_json:
        print_json({"units": total, "charges": rows, "costs": [asdict(cost) for cost in costs]})
    elif as_csv:
        _print_csv(rows)
    else:
        if not charges:
            echo("No charges.")
        for charge in charges:
            task = str(charge.task_id or "from before the ledger existed")
            echo(
                f"{charge.charged_at:%Y-%m-%d %H:%M:%S}  {charge.account:12}  {charge.key:11}  {task:36}  "
                f"{charge.kind:17}  {charge.model:20}  {charge.amount:6}"
            )
        units = f"{total} unit{'' if total == 1 else 's'}"
        echo(f"{units} in {len(charges)} charge{'' if len(charges) == 1 else 's'}")
        for cost in costs:
            images = f"{cost.images} image{'' if cost.images == 1 else 's'}"
            echo(f"cost: {cost.amount.normalize():f} {cost.currency} for {images} of {cost.model}, route {cost.route}")


def _last_day(until: datetime) -> date:
    """Return the last day that begins before a time."""
    from datetime import timedelta

    return (until - timedelta(microseconds=1)).date()


def _print_csv(rows: list[dict[str, object]]) -> None:
    import csv
    import sys

    writer = csv.DictWriter(sys.stdout, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
