"""The ASGI app of the API. The app passes each request to an endpoint, and counts and traces the request."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from functools import cache, partial

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Router as Lifespan
from starlette.types import ASGIApp, Receive, Scope, Send

from framehouse.adapters.postgres.coalesce import Coalesced
from framehouse.adapters.postgres.pool import Database
from framehouse.adapters.postgres.task_store import find_tasks
from framehouse.adapters.storage import Storage
from framehouse.adapters.telemetry import logs, metrics, spans
from framehouse.domain.signed_urls import Links
from framehouse.engines.registry import Registry
from framehouse.entrypoints.api.callback_tester import CallbackTester
from framehouse.entrypoints.api.context import CREATED_TASK, OPERATION, ApiContext
from framehouse.entrypoints.api.endpoint_table import ENDPOINTS
from framehouse.entrypoints.api.envelope import CODE, request_id_in
from framehouse.entrypoints.api.error_responses import error_response, no_such_path, not_allowed, refusal_response
from framehouse.entrypoints.api.health_endpoints import check_readiness
from framehouse.entrypoints.api.image_verifier import ImageVerifier
from framehouse.entrypoints.api.long_poll import LongPolls
from framehouse.entrypoints.api.metrics_endpoint import render_metrics
from framehouse.entrypoints.api.openapi import make_document
from framehouse.entrypoints.api.rate_limit import RateLimit
from framehouse.entrypoints.api.request_body import BodyReader
from framehouse.entrypoints.api.router import Router
from framehouse.entrypoints.api.shared_call import SharedCall
from framehouse.pipeline.accept import AcceptQueue

CANONICAL_PREFIX = "/kling"


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
    allow_private: bool = False,
    image_base_url: str = "",
    worker_metrics: str = "",
    max_long_polls: int = 5000,
) -> "Api":
    """Build the ASGI app. The calling code opens and closes the database.

    `allow_private` permits private addresses in the URLs of images to verify, and in the URLs for test callbacks.
    `image_base_url` is the base URL of the images in callbacks.
    `max_long_polls` is the maximum number of long polls that wait at the same time. `worker_metrics` is the URL of a
    worker's metrics, or empty. The endpoint `/metrics` also exposes the metrics of this worker.
    """
    prefix = CANONICAL_PREFIX if CANONICAL_PREFIX in path_prefixes else next(iter(path_prefixes), "")
    context = ApiContext(
        db=db,
        storage=storage,
        registry=registry,
        links=links,
        rate=RateLimit(requests_per_second),
        bodies=BodyReader(max_bytes=max_body_bytes),
        accept_queue=AcceptQueue(db),
        find_task=Coalesced(partial(find_tasks, db)),
        long_polls=LongPolls(db, max_long_polls),
        readiness=SharedCall(partial(check_readiness, db, storage, registry)),
        metrics=SharedCall(partial(render_metrics, db, storage, registry, worker_metrics)),
        openapi=cache(lambda: bytes(JSONResponse(make_document(ENDPOINTS, prefix)).body)),
        prefix=prefix,
        retention=retention,
        redirect_images=redirect_images,
        verifier=ImageVerifier(db, allow_private=allow_private),
        callback_tester=CallbackTester(db, links.with_base(image_base_url), allow_private=allow_private),
    )
    metrics.create_api_series()
    return Api(context, Router(ENDPOINTS, path_prefixes))


class Api:
    """The ASGI app.

    The app does not use Starlette's routing. For a request that needs no database query, Starlette's routing would take
    longer than all other work (docs/adr/0018).
    """

    def __init__(self, context: ApiContext, router: Router) -> None:
        self._context = context
        self._router = router
        self._lifespan = Lifespan(lifespan=self._listening)

    @asynccontextmanager
    async def _listening(self, _app: object) -> AsyncIterator[None]:
        listener = asyncio.create_task(self._context.long_polls.run())
        yield
        listener.cancel()
        with suppress(asyncio.CancelledError):
            await listener
        await self._context.verifier.close()

    def end_long_polls(self) -> None:
        """Respond to all long polls immediately, because the server is stopping."""
        self._context.long_polls.wake_all()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._lifespan(scope, receive, send)
            return
        started = time.perf_counter()
        request_id_in(scope)
        # The context variable is not reset, because each request runs in a separate context.
        logs.log_context.set(scope)
        request = Request(scope, receive)
        try:
            response = await self._respond(request)
            await response(scope, receive, send)
        except Exception as error:
            # The error occurred while the response was being sent, so uvicorn closes the connection. This call to
            # error_response only logs and counts the error.
            error_response(request, error)
            raise
        finally:
            took_s = time.perf_counter() - started
            operation, code = scope.get(OPERATION, "other"), scope.get(CODE, 0)
            metrics.count_request(operation, code, took_s)
            if spans.is_tracing():
                ids = {"request_id": scope["request_id"]}
                headers = dict(scope["headers"])
                spans.request(headers, scope.get(CREATED_TASK), took_s, operation=operation, code=code, **ids)

    async def _respond(self, request: Request) -> ASGIApp:
        scope = request.scope
        try:
            if match := self._router.find(scope["method"], scope["path"]):
                endpoint, scope["path_params"] = match
                scope[OPERATION] = endpoint.operation
                return await endpoint.handler(self._context, request)
            return self._refuse(request)
        except Exception as error:  # noqa: BLE001 - every error becomes a response
            return error_response(request, error)

    def _refuse(self, request: Request) -> Response:
        """Return the response to a request whose method is not allowed for its path.

        Raises Refused (1202) if there is no such path. Metrics count the request under the operation of the first
        endpoint with this path.
        """
        endpoints = self._router.find_all(request.scope["path"])
        if not endpoints:
            raise no_such_path(request, self._router.closest_path(request.scope["path"]))
        request.scope[OPERATION] = endpoints[0].operation
        allowed = ", ".join(sorted(endpoint.method for endpoint in endpoints))
        return refusal_response(request, not_allowed(request), {"Allow": allowed})
