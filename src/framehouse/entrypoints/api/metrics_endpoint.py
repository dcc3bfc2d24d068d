"""The figures that all processes share, from the database: every API process tells the same."""

import asyncio
import http.client
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily

from framehouse import __version__
from framehouse.adapters.postgres.pool import Database, DatabaseAway
from framehouse.adapters.postgres.queue_metrics import (
    CallbackCount,
    RouteQueue,
    count_callbacks,
    count_open_orders,
    count_tasks_in_flight,
    count_workers,
    measure_queue,
)
from framehouse.adapters.postgres.route_health import RouteHealth, list_route_health
from framehouse.adapters.storage import Storage, StorageAway
from framehouse.adapters.telemetry import metrics
from framehouse.engines.registry import Registry

_LOOK_LIMIT_S = 6.0
"""Prometheus gives up after ten seconds, and then has nothing at all of us."""
_WORKER_LIMIT_S = 2.0


@dataclass(frozen=True, slots=True)
class Shared:
    """Numbers from the database."""

    workers: int = 0
    queue: Sequence[RouteQueue] = ()
    tasks: Mapping[str, int] = field(default_factory=dict)
    open_orders: Mapping[tuple[str, str], int] = field(default_factory=dict)
    callbacks: Sequence[CallbackCount] = ()
    route_health: Sequence[RouteHealth] = ()


async def measure(db: Database, storage: Storage, registry: Registry, worker_metrics: str) -> str:
    """All that this process can tell: what all share, its own figures, and those of the worker behind the URL."""
    shared, stored, worker = await asyncio.gather(_look(db), _storage_answers(storage), ask_worker(worker_metrics))
    return metrics.whole_text("api", shared=families(shared, stored, registry), others=worker)


async def _look(db: Database) -> Shared | None:
    """None if the database is away."""
    try:
        async with asyncio.timeout(_LOOK_LIMIT_S):
            return Shared(
                queue=await measure_queue(db),
                tasks=await count_tasks_in_flight(db),
                open_orders=await count_open_orders(db),
                workers=await count_workers(db),
                callbacks=await count_callbacks(db),
                route_health=await list_route_health(db),
            )
    except (DatabaseAway, TimeoutError):
        return None


async def _storage_answers(storage: Storage) -> bool:
    try:
        async with asyncio.timeout(_LOOK_LIMIT_S):
            await storage.check()
    except (StorageAway, TimeoutError):
        return False
    return True


async def ask_worker(url: str) -> str:
    """The figures of the worker that `serve` started beside us; none while it starts or hangs."""
    if not url:
        return ""

    def read() -> str:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(url, timeout=_WORKER_LIMIT_S) as answer:
            return bytes(answer.read()).decode()

    with suppress(OSError, ValueError, http.client.HTTPException):
        async with asyncio.timeout(_WORKER_LIMIT_S):
            return await asyncio.to_thread(read)
    return ""


def families(known: Shared | None, stored: bool, registry: Registry) -> Iterator[Metric]:
    """As Prometheus has them. Configured models and routes have figures even while there is nothing of them: an
    autoscaler takes a missing figure for a broken one."""
    yield InfoMetricFamily("framehouse_build", "The version that runs.", {"version": __version__})
    for part, up in (("database", known is not None), ("storage", stored)):
        yield GaugeMetricFamily(f"framehouse_{part}_up", f"Whether the {part} answers: 1 or 0.", int(up))
    if known is None:
        return
    yield GaugeMetricFamily("framehouse_workers", "Workers that live.", known.workers)
    routes = [(model.name, route.name) for model in registry.models for route in registry.routes(model.name)]
    batches = {(*route, state): 0 for route in routes for state in ("waiting", "running")}
    oldest_s, workers = dict.fromkeys(routes, 0.0), dict.fromkeys(routes, 0)
    for row in known.queue:
        route = row.model, registry.route_name(row.model, row.route)
        for state, count in (("waiting", row.waiting), ("running", row.running)):
            batches[*route, state] = batches.get((*route, state), 0) + count
        oldest_s[route] = max(oldest_s.get(route, 0.0), row.oldest_s)
    for found in known.route_health:
        route = found.model, found.route
        workers[route] = max(workers.get(route, 0), found.healthy + found.unhealthy)
    yield _gauge(
        "framehouse_queue_batches",
        "Batches by the route that they wait for, or that they were taken up for, and by state.",
        ("model", "route", "state"),
        batches,
    )
    yield _gauge(
        "framehouse_queue_oldest_seconds",
        "How long the oldest batch that is due has waited for a route.",
        ("model", "route"),
        oldest_s,
    )
    yield _gauge("framehouse_route_workers", "Living workers that serve a route.", ("model", "route"), workers)
    yield _gauge(
        "framehouse_queue_pinned_batches",
        "Batches of these that have something under way at a route, which alone may go on with them.",
        ("model", "route"),
        known.open_orders,
    )
    yield _gauge(
        "framehouse_tasks_in_flight",
        "Tasks that were accepted and have not ended.",
        ("model",),
        {(name,): known.tasks.get(name, 0) for name in sorted({*known.tasks, *(m.name for m in registry.models)})},
    )
    for name, figure, meaning in (
        ("messages", "messages", "Callback messages of the last day, by state and class of the last HTTP answer."),
        ("tries", "tries", "Tries of these messages."),
        ("oldest_seconds", "oldest_s", "Age of the oldest of these messages."),
    ):
        by_state = {(row.state, row.answer): getattr(row, figure) for row in known.callbacks}
        yield _gauge(f"framehouse_callback_{name}", meaning, ("state", "answer"), by_state)
    checks: Counter[tuple[str, str, str]] = Counter()
    for found in known.route_health:
        for state, count in (("fit", found.healthy), ("unfit", found.unhealthy)):
            checks[found.model, found.route, state] += count
    yield _gauge(
        "framehouse_route_checks",
        "What workers find of that which a route depends on, by whether it can be used.",
        ("model", "route", "state"),
        checks,
    )


def _gauge(name: str, meaning: str, labels: Sequence[str], values: Mapping[Any, float]) -> Metric:
    family = GaugeMetricFamily(name, meaning, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family
