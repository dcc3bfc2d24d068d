"""Which engine paints a model: routes from the configuration, engines by name.

A name is one of the entry points in the group `framehouse.engines`, or `module:attribute`. What it names is called
with the route's other settings as keyword arguments and returns an Engine.
"""

import asyncio
import importlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import entry_points

from framehouse.adapters.engines.base import Check, Engine
from framehouse.domain.model import Model

GROUP = "framehouse.engines"
_CHECK_LIMIT_S = 90.0


class BadRoute(Exception):
    """A route of the configuration cannot be used; the message says which and why."""


class BadOption(ValueError):
    """An engine's word for an option of its route that cannot be; the message names it and what is allowed."""


@dataclass(frozen=True, slots=True)
class Route:
    """One engine that may paint a model. `name` is told by pictures' facts, metrics and `doctor`, and by it a batch
    finds the route where it has something under way: no two routes of a model have the same."""

    name: str
    engine: Engine

    async def check(self) -> list[Check]:
        """What the engine depends on and how that is; empty where it depends on nothing."""
        look = getattr(self.engine, "check", None)
        if look is None:
            return []
        try:
            async with asyncio.timeout(_CHECK_LIMIT_S):
                checks: list[Check] = await look()
                return checks
        except TimeoutError:
            return [Check(self.name, fit=False, told=f"gave no account of itself within {_CHECK_LIMIT_S:.0f} s")]


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
    def at_once(self) -> int:
        """How many calls keep all engines busy."""
        return sum(engine.abilities().at_once for engine in self._engines())

    async def check(self) -> list[tuple[str, Route, list[Check]]]:
        """For each model and route what its engine depends on; each engine is asked once."""
        routes = [(model, route) for model, routes in self._routes.items() for route in routes]
        engines = {id(route.engine): route for _, route in routes}
        found = dict(zip(engines, await asyncio.gather(*(r.check() for r in engines.values())), strict=True))
        return [(model, route, found[id(route.engine)]) for model, route in routes]

    def _engines(self) -> list[Engine]:
        """Each once, however many routes have it."""
        return list({id(route.engine): route.engine for routes in self._routes.values() for route in routes}.values())

    async def close(self) -> None:
        for engine in self._engines():
            await engine.close()


def open_registry(models: Iterable[tuple[Model, list[dict[str, object]]]]) -> Registry:
    """Build the engines of all routes. Raises BadRoute for a name or an option that does not exist."""
    opened: dict[str, tuple[Route, ...]] = {}
    engines: dict[str, Engine] = {}
    known = []
    for model, settings in models:
        if not settings:
            raise BadRoute(f'models."{model.name}": routes is empty; name at least one engine')
        routes: list[Route] = []
        for index, options in enumerate(settings):
            routes.append(_open_route(f'models."{model.name}".routes[{index}]', options, routes, engines))
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
    key = json.dumps([engine, options], sort_keys=True, default=str)
    try:
        if key not in engines:
            engines[key] = _engine(engine)(**options)
        return Route(name, engines[key])
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
