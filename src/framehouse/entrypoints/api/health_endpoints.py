"""The endpoints for liveness, readiness and metrics."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from framehouse.adapters.postgres.pool import Database, DatabaseUnavailable
from framehouse.adapters.postgres.route_controls import list_route_controls
from framehouse.adapters.postgres.route_health import RouteHealth, list_route_health
from framehouse.adapters.storage import Storage
from framehouse.adapters.telemetry.metrics import CONTENT_TYPE
from framehouse.engines.registry import Registry
from framehouse.entrypoints.api.context import ApiContext, Readiness
from framehouse.entrypoints.api.dependency_checks import database_responds, storage_responds
from framehouse.entrypoints.api.envelope import request_id_of


async def check_readiness(db: Database, storage: Storage, registry: Registry) -> Readiness:
    database_up, storage_up = await asyncio.gather(database_responds(db), storage_responds(storage))
    checks = {"database": "ok" if database_up else "away", "storage": "ok" if storage_up else "away"}
    engines: dict[str, dict[str, str]] = {}
    if not database_up:
        return checks, engines
    with suppress(DatabaseUnavailable):
        subjects: dict[tuple[str, str], list[RouteHealth]] = {}
        for health in await list_route_health(db):
            subjects.setdefault((health.model, health.route), []).append(health)
        for (model, name), results in subjects.items():
            engines.setdefault(model, {})[name] = _state(results)
        served = [(model, route) for model, routes in engines.items() for route in routes]
        for model, route in registry.unserved(served):
            engines.setdefault(model, {})[route.name] = "no worker"
        for (model, name), control in (await list_route_controls(db)).items():
            if registry.route(model, name):
                states = engines.setdefault(model, {})
                states[name] = control if states.get(name, "ok") == "ok" else f"{control}, {states[name]}"
    return checks, engines


def _state(results: Sequence[RouteHealth]) -> str:
    """Return the state of a route, given the results of its health checks."""
    if not any(result.unhealthy for result in results):
        return "ok"
    return "partly away" if any(result.healthy for result in results) else "away"


async def healthz(_context: ApiContext, request: Request) -> Response:
    return JSONResponse({"status": "ok"}, headers={"X-Request-Id": request_id_of(request)})


async def readyz(context: ApiContext, request: Request) -> Response:
    checks, engines = await context.readiness()
    ready = set(checks.values()) == {"ok"}
    return JSONResponse(
        {"status": "ok" if ready else "not ready", "checks": checks, "engines": engines},
        status_code=200 if ready else 503,
        headers={"X-Request-Id": request_id_of(request)},
    )


async def metrics(context: ApiContext, request: Request) -> Response:
    text = await context.metrics()
    return PlainTextResponse(text, media_type=CONTENT_TYPE, headers={"X-Request-Id": request_id_of(request)})
