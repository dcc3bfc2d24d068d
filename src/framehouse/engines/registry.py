"""Which engine paints a model: routes from the configuration, engines by name.

A name is one of the entry points in the group `framehouse.engines`, or `module:attribute`. What it names is called
with the route's other settings as keyword arguments and returns an Engine.
"""

import asyncio
import importlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import entry_points

from framehouse.domain.model import Model
from framehouse.engines.interface import Engine, HealthCheck
from framehouse.engines.option_checks import BadOption

GROUP = "framehouse.engines"
_CHECK_LIMIT_S = 90.0


class BadRoute(Exception):
    """A route of the configuration cannot be used; the message says which and why."""


@dataclass(frozen=True, slots=True)
class Route:
    """One engine that may paint a model. `name` is told by pictures' facts, metrics and `doctor`, and by it a batch
    finds the route that it waits for: no two routes of a model have the same. `needs` are labels that a worker must
    have to paint by it; `served` tells whether this process has them."""

    name: str
    engine: Engine
    needs: Mapping[str, str] = field(default_factory=dict)
    served: bool = True

    @property
    def needed(self) -> str:
        """What it needs, in words."""
        return ", ".join(f"{label}={value}" for label, value in self.needs.items())

    @property
    def label_options(self) -> str:
        """What the command of a worker that serves it must have."""
        return " ".join(f"--label {label}={value}" for label, value in self.needs.items())

    async def check(self) -> list[HealthCheck]:
        """What the engine depends on and how that is; empty where it depends on nothing."""
        look = getattr(self.engine, "check", None)
        if look is None:
            return []
        try:
            async with asyncio.timeout(_CHECK_LIMIT_S):
                checks: list[HealthCheck] = await look()
                return checks
        except TimeoutError:
            return [HealthCheck(self.name, ok=False, reason=f"gave no account of itself within {_CHECK_LIMIT_S:.0f} s")]


class Registry:
    """The configured models and their routes, in order of preference."""

    def __init__(self, routes: Mapping[str, tuple[Route, ...]], models: Iterable[Model]) -> None:
        self._routes = routes
        self._models = {model.name: model for model in models}

    def model(self, name: str) -> Model | None:
        return self._models.get(name)

    @property
    def models(self) -> tuple[Model, ...]:
        return tuple(self._models.values())

    def routes(self, model: str) -> tuple[Route, ...]:
        return self._routes[model]

    @property
    def concurrency(self) -> int:
        """How many calls keep all engines busy that are served here."""
        engines = {id(route.engine): route.engine for _, route in self._all() if route.served}
        return sum(engine.abilities().concurrency for engine in engines.values())

    @property
    def waited_for(self) -> list[tuple[str, str]]:
        """What batches wait for that may be painted here: each model with the names of its routes that are served, and
        with an empty one where that is the first."""
        first = [(model, "") for model, routes in self._routes.items() if routes[0].served]
        return first + [(model, route.name) for model, route in self._all() if route.served]

    def route(self, model: str, name: str) -> Route | None:
        """A route by its name, or with an empty one the model's first."""
        return next((route for route in self._routes.get(model, ()) if name in ("", route.name)), None)

    def route_name(self, model: str, name: str) -> str:
        """The name of what a batch waits for: that, or where it is empty the first route's, if the model is known."""
        route = self.route(model, name)
        return route.name if route else name

    def unserved(self, served: Iterable[tuple[str, str]] | None = None) -> list[tuple[str, Route]]:
        """Each model with those of its routes that are not among what is `served`; None: that are not served here."""
        known = None if served is None else set(served)
        return [
            (model, route)
            for model, route in self._all()
            if not (route.served if known is None else (model, route.name) in known)
        ]

    async def check(self) -> list[tuple[str, Route, list[HealthCheck]]]:
        """For each model and route that is served here what its engine depends on; each engine is asked once."""
        routes = [(model, route) for model, route in self._all() if route.served]
        engines = {id(route.engine): route for _, route in routes}
        found = dict(zip(engines, await asyncio.gather(*(r.check() for r in engines.values())), strict=True))
        return [(model, route, found[id(route.engine)]) for model, route in routes]

    def _all(self) -> list[tuple[str, Route]]:
        return [(model, route) for model, routes in self._routes.items() for route in routes]

    async def close(self) -> None:
        for engine in {id(route.engine): route.engine for _, route in self._all()}.values():
            await engine.close()


def open_registry(
    models: Iterable[tuple[Model, list[dict[str, object]]]], labels: Mapping[str, str] | None = None
) -> Registry:
    """Build the engines of all routes; those are served that need none but these `labels`. Raises BadRoute for a name
    or an option that does not exist."""
    opened: dict[str, tuple[Route, ...]] = {}
    engines: dict[str, Engine] = {}
    known = []
    for model, settings in models:
        if not settings:
            raise BadRoute(f'models."{model.name}": routes is empty; name at least one engine')
        routes: list[Route] = []
        for index, options in enumerate(settings):
            route = _open_route(f'models."{model.name}".routes[{index}]', options, routes, engines)
            routes.append(replace(route, served=route.needs.items() <= (labels or {}).items()))
        opened[model.name] = tuple(routes)
        first = routes[0].engine.abilities()
        known.append(replace(model, max_batch=first.max_batch, whole_series=first.whole_series, refusal=first.refusal))
    return Registry(opened, known)


def _open_route(where: str, settings: Mapping[str, object], before: list[Route], engines: dict[str, Engine]) -> Route:
    """The route after those `before` it, with the engine that another one of the same settings has already, or a new
    one. Without a name it has its engine's, and a number where that is taken."""
    options = dict(settings)
    engine = options.pop("engine", None)
    if not isinstance(engine, str):
        raise BadRoute(f"{where}: engine is missing")
    taken = {route.name for route in before}
    free = next(f for n in range(1, len(before) + 2) if (f := f"{engine}-{n}" if n > 1 else engine) not in taken)
    name = options.pop("name", free)
    if not isinstance(name, str) or not 1 <= len(name) <= 100:
        raise BadRoute(f"{where}: name must be 1 to 100 characters")
    if name in taken:
        raise BadRoute(f'{where}: another route of this model is named "{name}"')
    needs = options.pop("needs", {})
    if not isinstance(needs, Mapping) or not all(isinstance(v, str) and k and v for k, v in needs.items()):
        raise BadRoute(f'{where}: needs must be labels and their values in quotes, like needs = {{ gpu = "h100" }}')
    key = json.dumps([engine, options], sort_keys=True, default=str)
    try:
        if key not in engines:
            engines[key] = _engine(engine)(**options)
        return Route(name, engines[key], needs)
    except TypeError as error:
        raise BadRoute(f"{where}: {engine} does not take these options: {error}") from error
    except (BadOption, ImportError, AttributeError, LookupError) as error:
        raise BadRoute(f"{where}: {error}") from error


def _engine(name: str) -> Callable[..., Engine]:
    found = {point.name: point for point in entry_points(group=GROUP)}
    if name in found:
        made: Callable[..., Engine] = found[name].load()
        return made
    if ":" in name:
        module, _, attribute = name.partition(":")
        made = getattr(importlib.import_module(module), attribute)
        return made  # noqa: RET504 - the annotation above names its type
    raise LookupError(f'there is no engine "{name}"; installed are: {", ".join(sorted(found))}')
