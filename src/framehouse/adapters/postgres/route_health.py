"""How the workers find what their engines depend on: written by each, read by whoever asks for health."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from framehouse.adapters.postgres.pool import Database, sql, told


class RouteCheck(NamedTuple):
    """One finding of one worker; `what` is empty for a route whose engine depends on nothing."""

    model: str
    route: str
    what: str
    fit: bool
    told: str


async def report_checks(db: Database, worker: int, checks: Sequence[RouteCheck]) -> None:
    """Write down all that a worker found, in place of what it found before."""
    rows = [check._replace(what=told(check.what), told=told(check.told))._asdict() for check in checks]
    await db.row(sql("report_checks"), worker, json.dumps(rows))


async def list_checks(db: Database) -> list[Mapping[str, Any]]:
    """The findings of the workers that live: model, route, what, how many workers find it fit and unfit, and the last
    unfit one's words."""
    return [dict(row) for row in await db.rows(sql("list_checks"))]
