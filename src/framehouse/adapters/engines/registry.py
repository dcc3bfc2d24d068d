"""Which engine paints a model: routes from the configuration, engines by name.

A name is one of the entry points in the group `framehouse.engines`, or `module:attribute`. What it names is called
with the route's other settings as keyword arguments and returns an Engine.
"""

import importlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import entry_points

from framehouse.adapters.engines.base import Engine
from framehouse.domain.model import Model

GROUP = "framehouse.engines"


class BadRoute(Exception):
    """A route of the configuration cannot be used; the message says which and why."""


@dataclass(frozen=True, slots=True)
class Route:
    """One engine that may paint a model, under the name that a picture's facts give it."""

    name: str
    engine: Engine


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

    async def close(self) -> None:
        for routes in self._routes.values():
            for route in routes:
                await route.engine.close()


def open_registry(models: Iterable[tuple[Model, list[dict[str, object]]]]) -> Registry:
    """Build the engines of all routes. Raises BadRoute for a name or an option that does not exist."""
    opened: dict[str, tuple[Route, ...]] = {}
    known = []
    for model, settings in models:
        if not settings:
            raise BadRoute(f'models."{model.name}": routes is empty; name at least one engine')
        routes = tuple(_open_route(model.name, index, dict(options)) for index, options in enumerate(settings))
        opened[model.name] = routes
        first = routes[0].engine.abilities()
        known.append(replace(model, max_batch=first.max_batch, refusal=first.refusal))
    return Registry(opened, known)


def _open_route(model: str, index: int, options: dict[str, object]) -> Route:
    where = f'models."{model}".routes[{index}]'
    name = options.pop("engine", None)
    if not isinstance(name, str):
        raise BadRoute(f"{where}: engine is missing")
    try:
        return Route(name, _engine(name)(**options))
    except TypeError as error:
        raise BadRoute(f"{where}: {name} does not take these options: {error}") from error
    except (ImportError, AttributeError, LookupError) as error:
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
