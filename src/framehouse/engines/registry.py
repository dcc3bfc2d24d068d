"""Create the engines of the configured routes, and find the routes of a model.

The `engine` of a route is the name of an entry point in the group `framehouse.engines`, or `module:attribute`. The
registry calls the named object with the other settings of the route as keyword arguments, except `name`, `needs`,
`requests_per_minute`, `first_frame`, `price`, `currency` and `daily_budget`. The object returns an Engine.
"""

import asyncio
import importlib
import inspect
import json
import logging
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from importlib.metadata import entry_points

from framehouse.domain.cost import Cost
from framehouse.domain.model import Catalog, Model
from framehouse.engines.interface import Engine, HealthCheck
from framehouse.engines.option_checks import BadOption

log = logging.getLogger(__name__)
GROUP = "framehouse.engines"
_CHECK_LIMIT_S = 90.0
_PREVIZ = "previz"

_CURRENCY = re.compile(r"[A-Za-z]{1,10}")
MAX_REQUESTS_PER_MINUTE = 100_000


class BadRoute(Exception):
    """Raised when a configured route cannot be used. The message names the route and states the reason."""


@dataclass(frozen=True, slots=True)
class Route:
    """An entry in a model's list of routes: an engine with its options.

    `name` appears in the metadata of images, in metrics and in the output of `framehouse doctor`. Each route of a model
    must have a different name, because a waiting batch identifies its route by this name. A worker serves the route
    only if the worker has all labels in `needs`. `served` is true if this process has these labels.
    `requests_per_minute` is the maximum number of calls of the engine within any minute, by all workers together. If
    `requests_per_minute` is 0, the number is not limited.

    `first_frame` is the name of another route of the model, or empty. If it is not empty, the engine of that route
    generates the first image of each series that has no references. The engine of this route generates the other
    images to match the first image.

    `price` is the price of one image, or None if it is not known. If `daily_budget` is not 0, the route is skipped for
    the rest of the day (UTC) when its images have cost at least this amount, in the currency of `price`.
    """

    name: str
    engine: Engine
    needs: Mapping[str, str] = field(default_factory=dict)
    served: bool = True
    requests_per_minute: int = 0
    first_frame: str = ""
    price: Cost | None = None
    daily_budget: Decimal = Decimal(0)

    @property
    def needed_labels(self) -> str:
        """The labels in `needs` as text, such as `gpu=h100, site=a`."""
        return ", ".join(f"{label}={value}" for label, value in self.needs.items())

    @property
    def label_options(self) -> str:
        """The command-line options that start a worker with the labels in `needs`."""
        return " ".join(f"--label {label}={value}" for label, value in self.needs.items())

    async def check(self) -> list[HealthCheck]:
        """Check the dependencies of the engine. Returns an empty list if the engine has no health check."""
        check = getattr(self.engine, "check", None)
        if check is None:
            return []
        try:
            async with asyncio.timeout(_CHECK_LIMIT_S):
                checks: list[HealthCheck] = await check()
                return checks
        except TimeoutError:
            reason = f"the health check did not finish within {_CHECK_LIMIT_S:.0f} s"
            return [HealthCheck(self.name, ok=False, reason=reason)]
        except Exception as error:  # an error in one engine must not stop the worker
            log.exception("route %s: the health check failed", self.name)
            reason = f"the health check failed: internal error ({type(error).__name__})"
            return [HealthCheck(self.name, ok=False, reason=reason)]

    async def prepare(self) -> None:
        """Start the preparations of the engine, if it has any."""
        if prepare := getattr(self.engine, "prepare", None):
            try:
                async with asyncio.timeout(_CHECK_LIMIT_S):
                    await prepare()
            except TimeoutError:
                log.warning("route %s: the preparation did not finish within %.0f s", self.name, _CHECK_LIMIT_S)
            except Exception:  # an error in one engine must not stop the worker
                log.exception("route %s: the preparation failed", self.name)


class Registry:
    """The configured models (`catalog`), and the routes of each model in order of preference."""

    def __init__(self, routes: Mapping[str, tuple[Route, ...]], catalog: Catalog) -> None:
        self._routes = routes
        self.catalog = catalog

    def model(self, name: str) -> Model | None:
        return self.catalog.find(name)

    @property
    def models(self) -> tuple[Model, ...]:
        return self.catalog.models

    def routes(self, model: str) -> tuple[Route, ...]:
        return self._routes[model]

    @property
    def concurrency(self) -> int:
        """The number of concurrent calls that the engines of all served routes can process efficiently in total."""
        return sum(route.engine.abilities().concurrency for route in self._served_engines())

    @property
    def served_routes(self) -> list[tuple[str, str]]:
        """The routes whose batches this process may claim, as pairs of a model name and a route name.

        An empty route name in a batch means the model's first route. If this process serves a model's first route, the
        list therefore also contains that model with an empty route name.
        """
        first = [(model, "") for model, routes in self._routes.items() if routes[0].served]
        return first + [(model, route.name) for model, route in self._all_routes() if route.served]

    def route(self, model: str, name: str) -> Route | None:
        """Return the model's route with this name, or the model's first route if `name` is empty.

        Returns None if there is no such route.
        """
        return next((route for route in self._routes.get(model, ()) if name in ("", route.name)), None)

    def route_name(self, model: str, name: str) -> str:
        """Return `name`, or the name of the model's first route if `name` is empty.

        If the model is not configured, `name` is returned unchanged, even if it is empty.
        """
        route = self.route(model, name)
        return route.name if route else name

    def waiting_names(self, model: str, route: str) -> list[str]:
        """Return the route names that are stored in the batches that wait for a route.

        These are the name of the route and, if it is the first route of the model, also an empty name.
        """
        return ["", route] if self.route_name(model, "") == route else [route]

    def unserved(self, served: Iterable[tuple[str, str]] | None = None) -> list[tuple[str, Route]]:
        """Return the routes that are not in `served`.

        `served` contains pairs of a model name and a route name. If `served` is None, the routes that this process does
        not serve are returned. Each entry of the result is a model name and a Route.
        """
        known = None if served is None else set(served)
        return [
            (model, route)
            for model, route in self._all_routes()
            if not (route.served if known is None else (model, route.name) in known)
        ]

    async def check(self) -> list[tuple[str, Route, list[HealthCheck]]]:
        """Check the engines of all served routes. An engine that several routes share is checked only once."""
        engines = {id(route.engine): route for route in self._served_engines()}
        checks = dict(zip(engines, await asyncio.gather(*(r.check() for r in engines.values())), strict=True))
        served = [(model, route) for model, route in self._all_routes() if route.served]
        return [(model, route, checks[id(route.engine)]) for model, route in served]

    async def prepare(self) -> None:
        """Prepare the engines of all served routes, for example load their models in the background."""
        await asyncio.gather(*(route.prepare() for route in self._served_engines()))

    def _served_engines(self) -> list[Route]:
        """Return one served route of each engine."""
        return list({id(route.engine): route for _, route in reversed(self._all_routes()) if route.served}.values())

    def _all_routes(self) -> list[tuple[str, Route]]:
        return [(model, route) for model, routes in self._routes.items() for route in routes]

    async def close(self) -> None:
        for engine in {id(route.engine): route.engine for _, route in self._all_routes()}.values():
            await engine.close()


def open_registry(
    models: Iterable[tuple[Model, list[dict[str, object]]]],
    labels: Mapping[str, str] | None = None,
    default_model: str = "",
    *,
    sandbox: bool = True,
) -> Registry:
    """Create the engines of all routes. `labels` are the labels of this process. For `default_model`, see `Catalog`.
    `sandbox` is false if previz must ignore the sandbox triggers of prompts.

    A route is served if `labels` contains all labels that the route needs. Raises BadRoute if a model has no
    routes, if a setting of a route is unknown, missing or invalid, or if two routes of a model have the same name.
    """
    opened: dict[str, tuple[Route, ...]] = {}
    engines: dict[str, Engine] = {}
    known = []
    for model, settings in models:
        if not settings:
            raise BadRoute(f'models."{model.name}": routes must contain at least one route')
        settings = _with_sandbox(settings, sandbox=sandbox)
        routes: list[Route] = []
        for index, options in enumerate(settings):
            route = _open_route(f'models."{model.name}".routes[{index}]', options, routes, engines)
            routes.append(replace(route, served=route.needs.items() <= (labels or {}).items()))
        for index, route in enumerate(routes):
            _check_first_frame(f'models."{model.name}".routes[{index}]', route, routes)
        opened[model.name] = tuple(routes)
        first = routes[0].engine.abilities()
        known.append(
            replace(
                model,
                max_batch=first.max_batch,
                whole_series=first.whole_series,
                refusal=first.refusal,
                expansions=any(route.engine.abilities().expansions for route in routes),
                masks=any(route.engine.abilities().masks for route in routes),
            )
        )
    return Registry(opened, Catalog(known, default_model))


def _with_sandbox(settings: list[dict[str, object]], *, sandbox: bool) -> list[dict[str, object]]:
    """Return the settings of a model's routes.

    The sandbox of previz is off if `sandbox` is false, or if the model also has a route with another engine.
    """
    if sandbox and all(route.get("engine") == _PREVIZ for route in settings):
        return settings
    return [route | {"sandbox": False} if route.get("engine") == _PREVIZ else route for route in settings]


def _open_route(where: str, settings: Mapping[str, object], before: list[Route], engines: dict[str, Engine]) -> Route:
    """Create a route. `where` names the route in error messages. `before` contains the model's earlier routes.

    Routes with the same engine and the same options share one engine object. A route without a name is named after its
    engine. If an earlier route already has that name, a number is appended.
    """
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
        raise BadRoute(f'{where}: needs must be a table of labels and text values, such as {{ gpu = "h100" }}')
    limit = options.pop("requests_per_minute", 0)
    if not isinstance(limit, int) or isinstance(limit, bool) or not 0 <= limit <= MAX_REQUESTS_PER_MINUTE:
        raise BadRoute(f"{where}: requests_per_minute must be a whole number from 0 to {MAX_REQUESTS_PER_MINUTE:,}")
    first_frame = options.pop("first_frame", "")
    if not isinstance(first_frame, str):
        raise BadRoute(f"{where}: first_frame must be the name of another route of this model")
    price, daily_budget = _open_price(where, options)
    key = json.dumps([engine, options], sort_keys=True, default=str)
    try:
        if key not in engines:
            factory = _engine_factory(engine)
            _check_names(engine, factory, options)
            engines[key] = factory(**options)
        return Route(
            name,
            engines[key],
            needs,
            requests_per_minute=limit,
            first_frame=first_frame,
            price=price,
            daily_budget=daily_budget,
        )
    except (BadOption, ImportError, AttributeError, LookupError) as error:
        raise BadRoute(f"{where}: {error}") from error


def _open_price(where: str, options: dict[str, object]) -> tuple[Cost | None, Decimal]:
    """Remove the settings `price`, `currency` and `daily_budget` from the options, and return their values."""
    price, currency = options.pop("price", None), options.pop("currency", None)
    budget = options.pop("daily_budget", None)
    for name, value in (("price", price), ("daily_budget", budget)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e6):
            raise BadRoute(f"{where}: {name} must be a number greater than 0 and less than 1,000,000")
    if currency is not None and not (isinstance(currency, str) and _CURRENCY.fullmatch(currency)):
        raise BadRoute(f'{where}: currency must be 1 to 10 letters, such as "USD"')
    if price is None:
        if currency is not None or budget is not None:
            raise BadRoute(f"{where}: currency and daily_budget need a price")
        return None, Decimal(0)
    return Cost(Decimal(str(price)), str(currency or "USD")), Decimal(str(budget or 0))


def _check_first_frame(where: str, route: Route, routes: list[Route]) -> None:
    """Check the setting `first_frame` of a route. Raises BadRoute."""
    if not route.first_frame:
        return
    others = {other.name: other.engine for other in routes if other.name != route.name}
    if route.first_frame not in others:
        known = ", ".join(others) or "there is none"
        raise BadRoute(f"{where}: first_frame must be the name of another route of this model ({known})")
    if not route.engine.abilities().whole_series:
        raise BadRoute(
            f"{where}: first_frame has no effect, because the engine does not use the first image of a series"
        )
    first = others[route.first_frame].abilities()
    if first.needs_reference or first.paid:
        reason = "may charge for images" if first.paid else "generates only from references"
        raise BadRoute(f"{where}: first_frame must not be {route.first_frame}, because its engine {reason}")


def _check_names(engine: str, factory: Callable[..., Engine], options: Mapping[str, object]) -> None:
    """Raise BadOption if `factory` has no parameter for an option, or needs an option that is missing."""
    parameters = inspect.signature(factory).parameters
    names = [name for name, parameter in parameters.items() if parameter.kind is not parameter.VAR_KEYWORD]
    if unknown := [name for name in options if name not in names]:
        if len(names) < len(parameters):  # the engine accepts any name, and checks the options itself
            return
        allowed = f"its options are {', '.join(sorted(names))}" if names else "it has no options"
        raise BadOption(f'{engine} has no option "{unknown[0]}"; {allowed}')
    missing = [name for name in names if parameters[name].default is inspect.Parameter.empty and name not in options]
    if missing:
        raise BadOption(f"{engine} needs the option {missing[0]}")


def _engine_factory(name: str) -> Callable[..., Engine]:
    """Return the object that creates engines with this name.

    Raises LookupError, ImportError or AttributeError if there is no such object.
    """
    installed = {point.name: point for point in entry_points(group=GROUP)}
    if name in installed:
        factory: Callable[..., Engine] = installed[name].load()
        return factory
    if ":" in name:
        module, _, attribute = name.partition(":")
        factory = getattr(importlib.import_module(module), attribute)
        return factory  # noqa: RET504 - the annotation above specifies the type of `factory`
    raise LookupError(f'there is no engine "{name}"; the installed engines are {", ".join(sorted(installed))}')
