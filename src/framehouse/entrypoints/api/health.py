"""Whether the process lives, and whether it can do its work."""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import Any, Generic, TypeVar

from fastapi import APIRouter, Request, Response
from starlette.responses import JSONResponse, PlainTextResponse

from framehouse.adapters.engines.registry import Registry
from framehouse.adapters.postgres.callbacks import callback_figures
from framehouse.adapters.postgres.claims import queue_figures
from framehouse.adapters.postgres.pool import Database, DatabaseAway
from framehouse.adapters.postgres.route_checks import list_checks
from framehouse.adapters.storage import Storage, StorageAway
from framehouse.entrypoints.api.answers import request_id_of

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


def health_routes(*, db: Database, storage: Storage, registry: Registry) -> APIRouter:
    router = APIRouter(tags=["health"])

    async def look_whether_ready() -> tuple[dict[str, str], dict[str, dict[str, str]]]:
        checks = {"database": "ok", "storage": "ok"}
        try:
            await db.value("select 1")
        except DatabaseAway:
            checks["database"] = "away"
        try:
            await storage.size("images/ready")
        except StorageAway:
            checks["storage"] = "away"
        engines: dict[str, dict[str, str]] = {}
        with suppress(DatabaseAway):
            for row in await list_checks(db):
                routes = engines.setdefault(row["model"], {})
                worse = row["unfit"] and ("away" if not row["fit"] else "partly away")
                routes[row["route"]] = worse or routes.get(row["route"], "ok")
            served = [(model, route) for model, routes in engines.items() for route in routes]
            for model, route in registry.unserved(served):
                engines.setdefault(model, {})[route.name] = "no worker"
        return checks, engines

    async def measure() -> str:
        queue, callbacks, routes = await queue_figures(db), await callback_figures(db), await list_checks(db)
        return "".join((metrics_text(queue, callbacks, routes), route_figures(registry, queue, routes)))

    readiness, figures = OneLook(look_whether_ready), OneLook(measure)

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
            media_type="text/plain; version=0.0.4",
            headers={"X-Request-Id": request_id_of(request)},
        )

    return router


def metrics_text(
    queue: Sequence[Mapping[str, Any]], callbacks: Sequence[Mapping[str, Any]], routes: Sequence[Mapping[str, Any]]
) -> str:
    """The figures in the text format of Prometheus. They come from the database: every API process tells the same."""
    lines = [
        "# HELP framehouse_batches Batches by state.",
        "# TYPE framehouse_batches gauge",
        f'framehouse_batches{{state="waiting"}} {sum(row["waiting"] for row in queue)}',
        f'framehouse_batches{{state="running"}} {sum(row["running"] for row in queue)}',
        "# HELP framehouse_batches_oldest_seconds Age of the oldest batch that is due.",
        "# TYPE framehouse_batches_oldest_seconds gauge",
        f"framehouse_batches_oldest_seconds {max((row['oldest_s'] for row in queue), default=0):.3f}",
    ]
    for name, figure, meaning in (
        ("messages", "messages", "Callback messages of the last day, by state and last HTTP answer (0: none)."),
        ("tries", "tries", "Tries of these messages."),
        ("oldest_seconds", "oldest_s", "Age of the oldest of these messages."),
    ):
        lines += [f"# HELP framehouse_callback_{name} {meaning}", f"# TYPE framehouse_callback_{name} gauge"]
        lines += [
            f'framehouse_callback_{name}{{state="{row["state"]}",code="{row["code"]}"}} {row[figure]}'
            for row in callbacks
        ]
    lines += [
        "# HELP framehouse_route_checks What workers find of that which a route depends on, by whether it can be used.",
        "# TYPE framehouse_route_checks gauge",
    ]
    counts: Counter[tuple[str, str, str]] = Counter()
    for row in routes:
        for state in ("fit", "unfit"):
            counts[_label(row["model"]), _label(row["route"]), state] += row[state]
    lines += [
        f'framehouse_route_checks{{model="{model}",route="{route}",state="{state}"}} {count}'
        for (model, route, state), count in counts.items()
    ]
    return "\n".join(lines) + "\n"


def route_figures(registry: Registry, queue: Sequence[Mapping[str, Any]], checks: Sequence[Mapping[str, Any]]) -> str:
    """What waits for each route and who serves it: what workers are scaled by. Routes with nothing are told as 0,
    for an autoscaler takes a missing figure for a broken one."""
    known = registry.unserved(())
    states: dict[tuple[str, str], Counter[str]] = {(model, route.name): Counter() for model, route in known}
    oldest_s, workers = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    for row in queue:
        key = row["model"], registry.route_name(row["model"], row["route"])
        states.setdefault(key, Counter()).update(waiting=row["waiting"], running=row["running"])
        oldest_s[key] = max(oldest_s[key], row["oldest_s"])
    for row in checks:
        key = row["model"], row["route"]
        states.setdefault(key, Counter())
        workers[key] = max(workers[key], row["fit"] + row["unfit"])
    labels = {key: f'model="{_label(key[0])}",route="{_label(key[1])}"' for key in states}
    lines = [
        "# HELP framehouse_queue_batches Batches by the route that they wait for, or that they were taken up for.",
        "# TYPE framehouse_queue_batches gauge",
        *(
            f'framehouse_queue_batches{{{labels[key]},state="{state}"}} {counts[state]}'
            for key, counts in states.items()
            for state in ("waiting", "running")
        ),
        "# HELP framehouse_queue_oldest_seconds Age of the oldest due batch that waits for a route.",
        "# TYPE framehouse_queue_oldest_seconds gauge",
        *(f"framehouse_queue_oldest_seconds{{{labels[key]}}} {oldest_s[key]:.3f}" for key in states),
        "# HELP framehouse_route_workers Living workers that serve a route.",
        "# TYPE framehouse_route_workers gauge",
        *(f"framehouse_route_workers{{{labels[key]}}} {workers[key]}" for key in states),
    ]
    return "\n".join(lines) + "\n"


def _label(text: str) -> str:
    """A name from the configuration as the value of a label."""
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
