"""Determine which batches of which routes the worker may claim, and count requests to routes with a request limit."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from framehouse.adapters.postgres.pool import Database
from framehouse.adapters.postgres.route_controls import count_free_requests, list_route_controls, take_request
from framehouse.adapters.postgres.route_costs import spent_today
from framehouse.domain.errors import Unavailable
from framehouse.domain.routing import BatchFilter, RouteControl, claimable_routes
from framehouse.engines.registry import Registry, Route

_VALID_S = 10.0
"""The time in seconds after which the states of the routes are read again. A notification normally announces each
change, so this time matters only if a notification is lost."""


@dataclass(frozen=True, slots=True)
class RouteClaims:
    """The routes for which the worker may claim batches, as pairs of a model and a route name.

    An empty route name means the first route of the model. `max_batches` contains the maximum number of batches for
    routes with a request limit.
    """

    filters: dict[tuple[str, str], BatchFilter] = field(default_factory=dict)
    max_batches: dict[tuple[str, str], int] = field(default_factory=dict)


class RouteGate:
    """The states of the paused and draining routes, and the request limits of the routes."""

    def __init__(self, db: Database, registry: Registry) -> None:
        self._db = db
        self._registry = registry
        self._limits = {
            (model.name, route.name): route.requests_per_minute
            for model in registry.models
            for route in registry.routes(model.name)
            if route.served and route.requests_per_minute
        }
        self._controls: dict[tuple[str, str], RouteControl] = {}
        self._valid_until = 0.0

    def expire(self) -> None:
        """Make the next claim read the states of the routes."""
        self._valid_until = 0.0

    def controls(self, model: str) -> Mapping[str, RouteControl]:
        """Return the states of the model's paused and draining routes, by route name."""
        return {route: control for (of, route), control in self._controls.items() if of == model}

    async def claims(self) -> RouteClaims:
        """Return the routes for which the worker may claim batches now."""
        await self._refresh()
        free = await count_free_requests(self._db, self._limits)
        claims = RouteClaims()
        for model in self._registry.models:
            routes = self._registry.routes(model.name)
            names, served = [route.name for route in routes], [route.name for route in routes if route.served]
            filters = claimable_routes(names, served, self.controls(model.name))
            for name, batch_filter in filters.items():
                for waiting_as in self._registry.waiting_names(model.name, name):
                    key = model.name, waiting_as
                    max_batches = free.get((model.name, name))
                    claims.filters[key] = "with_order" if max_batches == 0 else batch_filter
                    if max_batches:
                        claims.max_batches[key] = max_batches
        return claims

    async def take_request(self, model: str, route: Route) -> float:
        """Count a request to the route. If the route has reached its limit, the request is not counted.

        Returns 0 if the route may be called, or the number of seconds until it may be called. Raises Unavailable if the
        daily budget of the route is spent.
        """
        if route.price and route.daily_budget:
            spent = await spent_today(self._db, model, route.name, route.price.currency)
            if spent.amount >= route.daily_budget:
                budget = f"{route.daily_budget} {route.price.currency}"
                raise Unavailable(f"the daily budget of the route {route.name} ({budget}) is spent")
        if not route.requests_per_minute:
            return 0.0
        return await take_request(self._db, model, route.name, route.requests_per_minute)

    async def _refresh(self) -> None:
        """Read the states of the routes, unless they were read within the last ten seconds."""
        now = time.monotonic()
        if now >= self._valid_until:
            self._valid_until = now + _VALID_S
            try:
                self._controls = await list_route_controls(self._db)
            except BaseException:
                self.expire()
                raise
