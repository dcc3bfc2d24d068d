"""What the engines of routes depend on, as the workers find it: each worker reports, and readers see live workers."""

import json
from collections.abc import Sequence
from datetime import timedelta
from typing import NamedTuple

from framehouse.adapters.postgres.pool import Database, sql, storable_text

REPORT_S = 30.0
"""Seconds between two reports of one worker."""
_AGE = timedelta(seconds=4 * REPORT_S)
"""An older report is of a worker that is gone."""


class RouteCheck(NamedTuple):
    """One finding of one worker; `subject` is empty for a route whose engine depends on nothing."""

    model: str
    route: str
    subject: str
    ok: bool
    reason: str


class RouteHealth(NamedTuple):
    """The findings of all live workers about one thing that a route depends on: how many find it healthy and unhealthy,
    and the reason that the last unhealthy one gave."""

    model: str
    route: str
    subject: str
    healthy: int
    unhealthy: int
    reason: str


async def report_route_health(db: Database, worker: int, checks: Sequence[RouteCheck]) -> None:
    """Replace all that this worker reported before."""
    rows = [
        check._replace(subject=storable_text(check.subject), reason=storable_text(check.reason))._asdict()
        for check in checks
    ]
    await db.row(sql("report_route_health"), worker=worker, checks=json.dumps(rows))


async def list_route_health(db: Database) -> list[RouteHealth]:
    """What live workers found, by model, route and thing."""
    return [RouteHealth(*row) for row in await db.rows(sql("list_route_health"), age=_AGE)]
