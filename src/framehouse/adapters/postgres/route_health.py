"""Store the health of routes. Each worker saves the results of its health checks.

`list_route_health` combines the results of all live workers.
"""

import json
from collections.abc import Sequence
from datetime import timedelta
from typing import NamedTuple

from framehouse.adapters.postgres.advisory_locks import WORKER_LOCKS
from framehouse.adapters.postgres.pool import Database, sql, storable_text

REPORT_S = 30.0
"""The interval between two reports of a worker, in seconds."""
_AGE = timedelta(seconds=4 * REPORT_S)
"""The maximum age of a report. If the last report of a worker is older, the worker is ignored, because its
health checks presumably hang."""


class RouteCheck(NamedTuple):
    """The result of one health check that a worker has run.

    `subject` names the dependency that was checked. `subject` is empty if the route's engine has no dependencies.
    """

    model: str
    route: str
    subject: str
    ok: bool
    reason: str


class RouteHealth(NamedTuple):
    """The results of all live workers for one dependency of a route. `subject` names the dependency.

    `healthy` is the number of workers whose result is healthy. `unhealthy` is the number of workers whose result is
    unhealthy. `reason` is taken from the latest unhealthy result. If all results are healthy, `reason` is taken from
    the latest result.
    """

    model: str
    route: str
    subject: str
    healthy: int
    unhealthy: int
    reason: str


async def report_route_health(db: Database, worker: int, checks: Sequence[RouteCheck]) -> None:
    """Save the results of a worker's health checks. All earlier results of the worker are replaced."""
    rows = [
        check._replace(subject=storable_text(check.subject), reason=storable_text(check.reason))._asdict()
        for check in checks
    ]
    await db.row(sql("report_route_health"), worker=worker, checks=json.dumps(rows))


async def list_route_health(db: Database) -> list[RouteHealth]:
    """Return the health of all routes, sorted by model, route and subject."""
    return [RouteHealth(*row) for row in await db.rows(sql("list_route_health"), age=_AGE, lock_class=WORKER_LOCKS)]
