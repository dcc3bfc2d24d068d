"""Determine for which routes the worker may claim batches, and count requests to routes that have a request limit."""

import time
from collections.abc import Mapping

from framehouse.adapters.postgres.pool import Database
from framehouse.adapters.postgres.route_controls import list_route_controls, take_request
from framehouse.domain.routing import RouteControl, closed_routes
from framehouse.engines.registry import Registry, Route

_VALID_S = 10.0
"""The time in seconds after which the states of the routes are read again. A notification normally announces each
change, so this time matters only if a notification is lost."""


class RouteGate:
    """The states of the paused and draining routes, and the routes that have reached their request limits."""

    def __init__(self, db: Database, registry: Registry) -> None:
        self._db = db
        self._registry = registry
        self._controls: dict[tuple[str, str], RouteControl] = {}
        self._valid_until = 0.0
        self._full_until: dict[tuple[str, str], float] = {}

    def expire(self) -> None:
        """Make the next call of `refresh` read the states of the routes."""
        self._valid_until = 0.0

    async def refresh(self) -> None:
        """Read the states of the routes, unless they were read within the last ten seconds."""
        now = time.monotonic()
        if now >= self._valid_until:
            self._valid_until = now + _VALID_S
            try:
                self._controls = await list_route_controls(self._db)
            except BaseException:
                self.expire()
                raise

    def controls(self, model: str) -> Mapping[str, RouteControl]:
        """Return the states of the model's paused and draining routes, by route name."""
        return {route: control for (of, route), control in self._controls.items() if of == model}

    def closed(self) -> set[tuple[str, str]]:
        """Return the routes from which the worker must not claim batches now, as pairs of a model and a route name.

        Batches with an open order are an exception: the worker may still claim them. An empty route name means the
        first route of the model.
        """
        now = time.monotonic()
        closed = {key for key, until in self._full_until.items() if now < until}
        for model in {model for model, _ in self._controls}:
            if self._registry.model(model):
                names = [route.name for route in self._registry.routes(model)]
                closed |= {(model, name) for name in closed_routes(names, self.controls(model))}
        first = {(model.name, "") for model in self._registry.models
                 if (model.name, self._registry.route_name(model.name, "")) in closed}  # fmt: skip
        return closed | first

    async def take_request(self, model: str, route: Route) -> bool:
        """Count a request to the route. Returns False if the route has reached its limit and must not be called now."""
        if not route.requests_per_minute:
            return True
        wait_s = await take_request(self._db, model, route.name, route.requests_per_minute)
        if wait_s:
            self._full_until[model, route.name] = time.monotonic() + wait_s
        return not wait_s
