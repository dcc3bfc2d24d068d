"""The FastAPI app: every path under every prefix, every error in the contract's envelope."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from importlib.resources import files
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse
from starlette.routing import Match, Mount
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

from framehouse import __version__
from framehouse.adapters.postgres.pool import Database, DatabaseAway
from framehouse.adapters.presets import PRESETS
from framehouse.adapters.storage import Storage, StorageAway
from framehouse.adapters.telemetry import logs, metrics, spans
from framehouse.adapters.telemetry.safe_traceback import trace
from framehouse.domain.errors import Refused
from framehouse.domain.links import Links
from framehouse.engines.registry import Registry
from framehouse.entrypoints.api.console_endpoints import console_routes
from framehouse.entrypoints.api.envelope import CODE, failure, request_id_in, request_id_of
from framehouse.entrypoints.api.health_endpoints import health_routes
from framehouse.entrypoints.api.image_endpoints import image_routes
from framehouse.entrypoints.api.kling.account_endpoints import account_routes
from framehouse.entrypoints.api.kling.element_endpoints import element_routes
from framehouse.entrypoints.api.kling.omni_image_endpoints import HOT_PATH, MADE, OPERATION, TaskRoutes, task_routes
from framehouse.entrypoints.api.kling.schemas import BODIES
from framehouse.entrypoints.api.long_poll import Waiting
from framehouse.entrypoints.api.rate_limit import RateLimit
from framehouse.entrypoints.api.request_body import Bodies
from framehouse.entrypoints.api.request_context import RequestContext
from framehouse.entrypoints.api.upstream_callback import hasten_routes

log = logging.getLogger(__name__)
CANONICAL_PREFIX = "/kling"
_DOCS = files("framehouse") / "assets" / "swagger-ui"


def build_api(
    *,
    db: Database,
    storage: Storage,
    registry: Registry,
    links: Links,
    path_prefixes: Sequence[str],
    requests_per_second: float,
    retention: timedelta,
    max_body_bytes: int,
    redirect_images: bool = False,
    worker_metrics: str = "",
) -> FastAPI:
    """The app; its lifespan keeps the long polls awake. The database is opened and closed by the caller.
    `worker_metrics`: the URL of a worker's figures that are told along with ours."""
    waiting = Waiting(db)
    metrics.begin_api()

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        listener = asyncio.create_task(waiting.run())
        yield
        listener.cancel()
        with suppress(asyncio.CancelledError):
            await listener

    app = _App(
        title="Framehouse",
        version=__version__,
        description="The omni-image task API. Send `Authorization: Bearer <key>`; pictures come by polling or waiting.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.waiting = waiting
    door = RequestContext(db, links, RateLimit(requests_per_second), Bodies(most_bytes=max_body_bytes))
    tasks = task_routes(door, storage=storage, registry=registry, waiting=waiting, retention=retention)
    elements = element_routes(door, storage=storage)
    account = account_routes(door)
    documented = CANONICAL_PREFIX if CANONICAL_PREFIX in path_prefixes else next(iter(path_prefixes), "")
    for prefix in path_prefixes:
        for routes in (tasks.router, elements, account):
            app.include_router(routes, prefix=prefix, include_in_schema=prefix == documented)
        app.hot[prefix + HOT_PATH] = tasks
    app.include_router(image_routes(storage=storage, links=links, redirect=redirect_images))
    app.include_router(hasten_routes(db=db, links=links))
    app.include_router(health_routes(db=db, storage=storage, registry=registry, worker_metrics=worker_metrics))
    app.include_router(console_routes(door, registry=registry, prefix=documented))
    app.mount("/presets", StaticFiles(directory=str(PRESETS)))
    _add_docs(app)
    _add_errors(app)
    return app


class _App(FastAPI):
    """The app, in which a task is accepted and told of past the framework: finding its route among all of them and its
    parameters takes longer than the rest of the request. What is answered is the same."""

    def __init__(self, **named: Any) -> None:
        super().__init__(**named)
        self.hot: dict[str, TaskRoutes] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await super().__call__(scope, receive, send)
            return
        began = time.perf_counter()
        request_id_in(scope)
        logs.about.set(scope)  # each request runs in a context of its own
        try:
            answer = self._hot(scope)
            if answer is None:
                await super().__call__(scope, receive, send)
                return
            scope["app"] = self
            request = Request(scope, receive, send)
            try:
                response = await answer(request)
            except Exception as error:  # noqa: BLE001 - told to the client, as the framework would
                response = _answer_to(request, error)
            await response(scope, receive, send)
        finally:
            operation, code = scope.get(OPERATION) or _operation(scope), scope.get(CODE, 0)
            took_s = time.perf_counter() - began
            metrics.count_request(operation, code, took_s)
            if spans.started():
                ids = {"request_id": scope["request_id"]}
                spans.request(dict(scope["headers"]), scope.get(MADE), took_s, operation=operation, code=code, **ids)

    def _hot(self, scope: Scope) -> Callable[[Request], Awaitable[Response]] | None:
        path: str = scope["path"]
        if scope["method"] == "POST":
            routes = self.hot.get(path)
            if not routes:
                return None
            scope[OPERATION] = "create_task"
            return routes.create
        if scope["method"] != "GET" or scope["query_string"]:
            return None
        start, _, id = path.rpartition("/")
        if not id or id == "callbacks" or "\n" in id or not (routes := self.hot.get(start)):
            return None
        if any(name == b"prefer" for name, _ in scope["headers"]):
            return None
        scope[OPERATION] = "get_task"
        return lambda request: routes.get(request, id)


def _operation(scope: Scope) -> str:
    """What was asked for, by a name of ours: that of its route."""
    route = scope.get("route")
    return str(getattr(route, "operation_id", None) or getattr(route, "name", None) or "other")


def _add_docs(app: FastAPI) -> None:
    """Swagger UI from the package, so that it works offline."""

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return FileResponse(str(_DOCS / "index.html"), headers={"Content-Security-Policy": _CSP})

    app.mount("/docs", StaticFiles(directory=str(_DOCS)))
    made = app.openapi

    def openapi() -> dict[str, Any]:
        if not app.openapi_schema:
            schema = made()
            parts = schema.setdefault("components", {})
            for model in BODIES:
                body = model.model_json_schema(ref_template="#/components/schemas/{model}")
                parts.setdefault("schemas", {}).update(body.pop("$defs", {}) | {model.__name__: body})
            parts["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer", "description": "API key or JWT"}}
            for path, methods in schema["paths"].items():
                for operation in methods.values():
                    if "/v1/" in path:
                        operation["security"] = [{"bearer": []}]
                    operation["responses"].pop("422", None)
            for unused in ("HTTPValidationError", "ValidationError"):
                parts["schemas"].pop(unused, None)
        assert app.openapi_schema is not None
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _allowed(app: FastAPI, request: Request) -> list[str]:
    """The methods that this path takes, of all its routes: the framework names those of the first alone, and none for
    the files of a mount, which also changes where the path begins."""
    root = request.scope.get("app_root_path", request.scope.get("root_path", ""))
    return [
        method
        for method in _METHODS
        if any(
            route.matches({**request.scope, "root_path": root, "method": method})[0] is Match.FULL
            for route in app.routes
            if method in ("GET", "HEAD") or not isinstance(route, Mount)
        )
    ]


_METHODS = ("GET", "HEAD", "POST")
_CSP = "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; frame-ancestors 'none'"


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        message = f"there is no {request.url.path[:200]}"
        if error.status_code == 405:
            message = f"{request.method} is not allowed on {request.url.path[:200]}"
        answer = failure(request, Refused(1202, message, status=error.status_code))
        answer.headers.update(error.headers or {})
        if error.status_code == 405:
            answer.headers["Allow"] = ", ".join(_allowed(app, request))
        return answer

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        return failure(request, Refused(1201, "; ".join(f"{e['loc'][-1]} {e['msg']}" for e in error.errors())))

    for kind in (Refused, DatabaseAway, StorageAway, Exception):
        app.add_exception_handler(kind, _on_error)


async def _on_error(request: Request, error: Exception) -> Response:
    return _answer_to(request, error)


def _answer_to(request: Request, error: Exception) -> Response:
    """What a client is told of what went wrong; what is our own fault, the log is told, too."""
    match error:
        case Refused():
            return failure(request, error)
        case DatabaseAway() | StorageAway():
            log.error("request %s: %s: %s", request_id_of(request), type(error).__name__, error)
            return failure(request, Refused(5001, "not available at the moment, try again", retry_after_s=2))
    log.error("request %s broke: %s", request_id_of(request), trace(error))
    metrics.INTERNAL_ERRORS.inc()
    return failure(request, Refused(5000, "internal error"))
