"""The `framehouse audit` command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from framehouse.cli.options import data_options, json_option
from framehouse.cli.output import echo, print_json

if TYPE_CHECKING:
    from datetime import datetime

    from framehouse.adapters.postgres.audit_log import AuditEntry
    from framehouse.adapters.postgres.pool import Database


@click.command()
@click.option(
    "--action", help="Show only this action (such as account.set) or this group of actions (such as account)."
)
@click.option("--subject", help="Show only changes to this account, key, route (MODEL/ROUTE), task or callback.")
@click.option(
    "--from",
    "since",
    type=click.DateTime(("%Y-%m-%d", "%Y-%m-%dT%H:%M:%S")),
    help="Show only changes at or after this time (UTC).",
)
@click.option("--limit", type=click.IntRange(1, 100_000), default=50, show_default=True)
@data_options
@json_option
def audit(
    action: str | None,
    subject: str | None,
    since: datetime | None,
    limit: int,
    data_dir: Path | None,
    config: Path | None,
    as_json: bool,
) -> None:
    """Show who changed accounts, keys, routes and tasks, newest change first."""
    from datetime import UTC

    from framehouse.adapters.postgres.audit_log import list_changes
    from framehouse.cli.local_database import with_database
    from framehouse.pipeline.operator_json import change_json

    async def work(db: Database) -> list[AuditEntry]:
        at = since.replace(tzinfo=UTC) if since else None
        return await list_changes(db, limit=limit, since=at, action=action, subject=subject)

    changes = with_database(data_dir, config, work)
    if as_json:
        print_json([change_json(change) for change in changes])
        return
    if not changes:
        echo("No changes.")
    for change in changes:
        details = "  ".join(f"{name}={_text(change.action, value)}" for name, value in change.details.items())
        at = f"{change.changed_at:%Y-%m-%d %H:%M:%S}"
        echo(f"{at}  {change.actor}  {change.action}  {change.subject}  {details}".rstrip())


def _text(action: str, value: object) -> str:
    """Return the old value and the new value of a changed field as `old -> new`, and all other values as JSON."""
    if action.endswith(".set") and isinstance(value, list):
        return " -> ".join(json.dumps(item, ensure_ascii=False) for item in value)
    return json.dumps(value, ensure_ascii=False)
