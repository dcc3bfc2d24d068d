"""Whether the process lives, and whether it can do its work."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Generic, TypeVar

from fastapi import APIRouter, Request, Response
from starlette.responses import JSONResponse, PlainTextResponse

from framehouse.adapters.postgres.pool import Database, DatabaseAway
from framehouse.adapters.postgres.route_health import list_route_health
from framehouse.adapters.storage import Storage, StorageAway
from framehouse.adapters.telemetry.metrics import CONTENT_TYPE
from framehouse.engines.registry import Registry
from framehouse.entrypoints.api.envelope import request_id_of
from framehouse.entrypoints.api.metrics_endpoint import measure

Seen = TypeVar("Seen")


class OneLook(Generic[Seen]):
    """One look at a time, whose answer all get who ask meanwhile. These paths ask for no key: so many callers cost the
    database no more than one."""

    def __init__(self, look: Callable[[], Coroutine[Any, Any, Seen]]) -> None:
        self._look = look
        self._looking: asyncio.Task[Seen] | None = None

    async def __call__(self) -> Seen:
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())
            self._looking.add_done_callback(lambda done: done.cancelled() or done.exception())
        return await asyncio.shield(self._looking)


def health_routes(*, db: Database, storage: Storage, registry: Registry, worker_metrics: str) -> APIRouter:
    router = APIRouter(tags=["health"])

    async def look_whether_ready() -> tuple[dict[str, str], dict[str, dict[str, str]]]:
        checks = {"database": "ok", "storage": "ok"}
        try:
            await db.value("select 1")
        except DatabaseAway:
            checks["database"] = "away"
        try:
            await storage.check()
        except StorageAway:
            checks["storage"] = "away"
        engines: dict[str, dict[str, str]] = {}
        with suppress(DatabaseAway):
            for found in await list_route_health(db):
                routes = engines.setdefault(found.model, {})
                worse = found.unhealthy and ("away" if not found.healthy else "partly away")
                routes[found.route] = worse or routes.get(found.route, "ok")
            served = [(model, route) for model, routes in engines.items() for route in routes]
            for model, route in registry.unserved(served):
                engines.setdefault(model, {})[route.name] = "no worker"
        return checks, engines

    readiness, figures = (
        OneLook(look_whether_ready),
        OneLook(lambda: measure(db, storage, registry, worker_metrics)),
    )

    @router.get("/healthz", summary="The process lives")
    async def healthz(request: Request) -> Response:
        return JSONResponse({"status": "ok"}, headers={"X-Request-Id": request_id_of(request)})

    @router.get(
        "/readyz",
        summary="Database and storage answer; how the engines are",
        responses={503: {"description": "One does not"}},
    )
    async def readyz(request: Request) -> Response:
        checks, engines = await readiness()
        ready = set(checks.values()) == {"ok"}
        return JSONResponse(
            {"status": "ok" if ready else "not ready", "checks": checks, "engines": engines},
            status_code=200 if ready else 503,
            headers={"X-Request-Id": request_id_of(request)},
        )

    @router.get("/metrics", summary="Figures for Prometheus", response_class=PlainTextResponse)
    async def metrics(request: Request) -> Response:
        return PlainTextResponse(
            await figures(),
            media_type=CONTENT_TYPE,
            headers={"X-Request-Id": request_id_of(request)},
        )

    return router
