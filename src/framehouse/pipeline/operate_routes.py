"""List, pause, drain and resume the configured routes."""

from collections import Counter
from dataclasses import dataclass

from framehouse.adapters.postgres.pool import Database
from framehouse.adapters.postgres.queue_metrics import count_open_orders, measure_queue
from framehouse.adapters.postgres.route_controls import RouteAction, control_route, list_route_controls
from framehouse.adapters.postgres.route_health import list_route_health
from framehouse.domain.routing import RouteControl
from framehouse.engines.registry import Registry


@dataclass(frozen=True, slots=True)
class RouteOverview:
    """The state of a configured route.

    `control` is None if the route is neither paused nor draining. `requests_per_minute` is 0 if the number of requests
    is not limited. `waiting` is the number of batches that wait for the route. `running` is the number of batches that
    workers have claimed for the route. `open_orders` is the number of batches with an open order at the route.
    `workers` is the number of live workers that serve the route. `healthy` is false if at least one of these workers
    reports a problem.
    """

    model: str
    route: str
    control: RouteControl | None
    requests_per_minute: int
    waiting: int
    running: int
    open_orders: int
    workers: int
    healthy: bool


class UnknownRoute(Exception):
    """Raised when a model or a route is not configured. The message names the configured models or routes."""


async def list_routes(db: Database, registry: Registry) -> list[RouteOverview]:
    """Return all configured routes, in the order of the configuration."""
    controls, orders = await list_route_controls(db), await count_open_orders(db)
    waiting, running = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    for row in await measure_queue(db):
        key = row.model, registry.route_name(row.model, row.route)
        waiting[key] += row.waiting
        running[key] += row.running
    workers, unhealthy = dict[tuple[str, str], int](), set[tuple[str, str]]()
    for health in await list_route_health(db):
        key = health.model, health.route
        workers[key] = max(workers.get(key, 0), health.healthy + health.unhealthy)
        if health.unhealthy:
            unhealthy.add(key)
    return [
        RouteOverview(
            *key,
            controls.get(key),
            route.requests_per_minute,
            waiting[key],
            running[key],
            orders.get(key, 0),
            workers.get(key, 0),
            key not in unhealthy,
        )
        for model in registry.models
        for route in registry.routes(model.name)
        if (key := (model.name, route.name))
    ]


async def control_routes(
    db: Database, registry: Registry, model: str, route: str | None, action: RouteAction, *, actor: str
) -> dict[str, bool]:
    """Pause, drain or resume a route, or all routes of a model if `route` is None.

    Returns whether the state of each of these routes has changed, by route name. Raises UnknownRoute.
    """
    if action == "resume" and route is not None and (model, route) in await list_route_controls(db):
        # the route may no longer be configured
        names = [route]
    elif registry.model(model) is None:
        models = ", ".join(configured.name for configured in registry.models)
        raise UnknownRoute(f'there is no model "{model}"; configured models: {models}')
    else:
        names = [configured.name for configured in registry.routes(model)]
        if route is not None and route not in names:
            raise UnknownRoute(f'the model {model} has no route "{route}"; configured routes: {", ".join(names)}')
    return {
        name: await control_route(db, model, name, action, waiting_as=registry.waiting_names(model, name), actor=actor)
        for name in names
        if route in (None, name)
    }
