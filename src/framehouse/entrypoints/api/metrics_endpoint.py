"""The metrics that `/metrics` exposes.

The shared metrics describe the entire deployment. Their values are read from the database, so all API processes expose
the same values.
"""

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
from framehouse.adapters.postgres.pool import Database, DatabaseUnavailable
from framehouse.adapters.postgres.queue_metrics import (
    CallbackCount,
    RouteQueue,
    count_callbacks,
    count_open_orders,
    count_tasks_in_flight,
    count_workers,
    measure_queue,
)
from framehouse.adapters.postgres.route_controls import list_route_controls
from framehouse.adapters.postgres.route_health import RouteHealth, list_route_health
from framehouse.adapters.storage import Storage
from framehouse.adapters.telemetry import metrics
from framehouse.domain.routing import RouteControl
from framehouse.engines.registry import Registry
from framehouse.entrypoints.api.dependency_checks import database_responds, storage_responds

_QUERIES_TIMEOUT_S = 6.0
"""The time limit for the queries of the shared metrics, in seconds. This limit must be shorter than Prometheus's scrape
timeout of ten seconds, because a scrape that times out returns no metrics."""
_WORKER_TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True)
class SharedMetrics:
    """The values of the shared metrics, as read from the database."""

    workers: int = 0
    queue: Sequence[RouteQueue] = ()
    tasks: Mapping[str, int] = field(default_factory=dict)
    open_orders: Mapping[tuple[str, str], int] = field(default_factory=dict)
    callbacks: Sequence[CallbackCount] = ()
    route_health: Sequence[RouteHealth] = ()
    route_controls: Mapping[tuple[str, str], RouteControl] = field(default_factory=dict)


async def render_metrics(db: Database, storage: Storage, registry: Registry, worker_metrics: str) -> str:
    """Return the shared metrics, the metrics of this process, and the metrics of the worker at `worker_metrics`.

    `worker_metrics` is a URL, or empty if there is no such worker.
    """
    shared, storage_up, worker = await asyncio.gather(
        _read_shared(db), storage_responds(storage), fetch_worker_metrics(worker_metrics)
    )
    return metrics.metrics_text("api", shared=shared_families(shared, storage_up, registry), other_process=worker)


async def _read_shared(db: Database) -> SharedMetrics | None:
    """Read the shared metrics. Returns None if the database does not respond."""
    if not await database_responds(db):
        return None
    try:
        async with asyncio.timeout(_QUERIES_TIMEOUT_S):
            return SharedMetrics(
                queue=await measure_queue(db),
                tasks=await count_tasks_in_flight(db),
                open_orders=await count_open_orders(db),
                workers=await count_workers(db),
                callbacks=await count_callbacks(db),
                route_health=await list_route_health(db),
                route_controls=await list_route_controls(db),
            )
    except (DatabaseUnavailable, TimeoutError):
        return None


async def fetch_worker_metrics(url: str) -> str:
    """Return the metrics of the worker that `serve` started together with this process.

    Returns an empty string if `url` is empty, or if the worker does not respond because it is starting or hung.
    """
    if not url:
        return ""

    def read() -> str:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(url, timeout=_WORKER_TIMEOUT_S) as response:
            return bytes(response.read()).decode()

    with suppress(OSError, ValueError, http.client.HTTPException):
        async with asyncio.timeout(_WORKER_TIMEOUT_S):
            return await asyncio.to_thread(read)
    return ""


def shared_families(shared: SharedMetrics | None, storage_up: bool, registry: Registry) -> Iterator[Metric]:
    """Yield the shared metrics as Prometheus metric families.

    If `shared` is None, only the metrics of the version, the database state and the storage state are yielded. The
    metrics of the queue, workers and tasks have a value for every configured model and route. Values of 0 are also
    exposed, because an autoscaler treats a missing value as an error.
    """
    yield InfoMetricFamily("framehouse_build", "The running version.", {"version": __version__})
    for part, up in (("database", shared is not None), ("storage", storage_up)):
        yield GaugeMetricFamily(f"framehouse_{part}_up", f"1 if the {part} responds, otherwise 0.", int(up))
    if shared is None:
        return
    yield GaugeMetricFamily("framehouse_workers", "Live workers.", shared.workers)
    routes = [(model.name, route.name) for model in registry.models for route in registry.routes(model.name)]
    batches = {(*route, state): 0 for route in routes for state in ("waiting", "running")}
    oldest_s, workers = dict.fromkeys(routes, 0.0), dict.fromkeys(routes, 0)
    for row in shared.queue:
        route = row.model, registry.route_name(row.model, row.route)
        for state, count in (("waiting", row.waiting), ("running", row.running)):
            batches[*route, state] = batches.get((*route, state), 0) + count
        oldest_s[route] = max(oldest_s.get(route, 0.0), row.oldest_s)
    for health in shared.route_health:
        route = health.model, health.route
        workers[route] = max(workers.get(route, 0), health.healthy + health.unhealthy)
    yield _gauge(
        "framehouse_queue_batches",
        "Batches, by their state and by the route that they wait for or were claimed for.",
        ("model", "route", "state"),
        batches,
    )
    yield _gauge(
        "framehouse_queue_oldest_seconds",
        "Waiting time of the oldest due batch of the route, in seconds.",
        ("model", "route"),
        oldest_s,
    )
    yield _gauge("framehouse_route_workers", "Live workers that serve the route.", ("model", "route"), workers)
    yield _gauge(
        "framehouse_route_controlled",
        "1 for each route that an operator has paused or drains.",
        ("model", "route", "state"),
        {(*route, state): 1 for route, state in shared.route_controls.items()},
    )
    yield _gauge(
        "framehouse_queue_pinned_batches",
        "Batches with an open order at the route. Only this route may continue such a batch.",
        ("model", "route"),
        shared.open_orders,
    )
    yield _gauge(
        "framehouse_tasks_in_flight",
        "Tasks that were accepted and have not ended.",
        ("model",),
        {(name,): shared.tasks.get(name, 0) for name in sorted({*shared.tasks, *(m.name for m in registry.models)})},
    )
    for name, attribute, description in (
        ("messages", "messages", "Callback messages of the last day, by state and by class of the last HTTP response."),
        ("attempts", "attempts", "Delivery attempts of the callback messages of the last day."),
        ("oldest_seconds", "oldest_s", "Age of the oldest callback message of the last day, in seconds."),
    ):
        by_state = {(row.state, row.answer): getattr(row, attribute) for row in shared.callbacks}
        yield _gauge(f"framehouse_callback_{name}", description, ("state", "answer"), by_state)
    checks: Counter[tuple[str, str, str]] = Counter()
    for health in shared.route_health:
        for state, count in (("healthy", health.healthy), ("unhealthy", health.unhealthy)):
            checks[health.model, health.route, state] += count
    yield _gauge(
        "framehouse_route_checks",
        "Health checks of the route's dependencies, by result: healthy or unhealthy.",
        ("model", "route", "state"),
        checks,
    )


def _gauge(name: str, description: str, labels: Sequence[str], values: Mapping[Any, float]) -> Metric:
    family = GaugeMetricFamily(name, description, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family
