"""Check the routes that this worker serves, and report their health for `/readyz`, `/metrics` and `doctor`."""

import asyncio
import logging
from collections.abc import Sequence
from typing import NoReturn

from framehouse.adapters.postgres.pool import DATABASE_ERRORS, Database
from framehouse.adapters.postgres.route_health import REPORT_S, RouteCheck, report_route_health
from framehouse.engines.interface import HealthCheck
from framehouse.engines.registry import Registry

log = logging.getLogger(__name__)


async def check_routes_until_cancelled(db: Database, registry: Registry, *, worker: int) -> NoReturn:
    """Prepare and check the routes, and report their health, every 30 seconds until cancelled."""
    healthy: dict[tuple[str, str, str], bool] = {}
    while True:
        await registry.prepare()
        checks = await check_routes(registry)
        log_changes(checks, healthy)
        try:
            await report_route_health(db, worker, checks)
        except DATABASE_ERRORS as error:
            log.warning("cannot report the health of the routes: %s", error)
        await asyncio.sleep(REPORT_S)


async def check_routes(registry: Registry) -> list[RouteCheck]:
    """Return the results of all health checks. A route without dependencies has one healthy result."""
    no_dependencies = [HealthCheck("", ok=True, reason="has no dependencies")]
    return [
        RouteCheck(model, route.name, check.subject, check.ok, check.reason)
        for model, route, checks in await registry.check()
        for check in checks or no_dependencies
    ]


def log_changes(checks: Sequence[RouteCheck], healthy: dict[tuple[str, str, str], bool]) -> None:
    """Log each health check whose result has changed since the last call, and update `healthy`."""
    for check in checks:
        before = healthy.get(check[:3], True)
        healthy[check[:3]] = check.ok
        if before and not check.ok:
            log.warning(
                "model %s, route %s: %s is unhealthy: %s", check.model, check.route, check.subject, check.reason
            )
        elif check.ok and not before:
            log.info(
                "model %s, route %s: %s is healthy again: %s", check.model, check.route, check.subject, check.reason
            )
