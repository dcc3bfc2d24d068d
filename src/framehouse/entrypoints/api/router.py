"""Find the route of a request by its method and path."""

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from starlette.requests import Request
from starlette.types import ASGIApp

from framehouse.entrypoints.api.context import ApiContext
from framehouse.entrypoints.api.documentation import Operation

_METHODS = ("GET", "HEAD", "POST")


@dataclass(frozen=True, slots=True)
class Route:
    """One row of the table in routes.py.

    `path` may hold `{name}`, which matches up to the next slash, and `{name:path}`, which matches slashes too.
    `operation` names the request in metrics and traces. A `prefixed` route is served under every path prefix and needs
    a key. A route without `documentation` is not in the OpenAPI document.
    """

    method: str
    path: str
    endpoint: Callable[[ApiContext, Request], Awaitable[ASGIApp]]
    operation: str
    documentation: Operation | None = None
    prefixed: bool = True


Match = tuple[Route, dict[str, str]]
"""A route, and the parameters in the path of a request."""


class Router:
    """Routes by exact path, then by pattern, in the order of the table."""

    def __init__(self, routes: Sequence[Route], prefixes: Sequence[str]) -> None:
        self._routes = routes
        self._exact: dict[tuple[str, str], Match] = {}
        self._patterns: dict[str, list[tuple[str, re.Pattern[str], Route]]] = {method: [] for method in _METHODS}
        for route in routes:
            starts = prefixes if route.prefixed else [""]
            if "{" in route.path:
                end = route.path.rpartition("}")[2]
                self._patterns[route.method].append((end, _pattern(starts, route.path), route))
            else:
                self._exact |= {(route.method, start + route.path): (route, {}) for start in starts}

    def find(self, method: str, path: str) -> Match | None:
        """The route of a request, with the parameters in its path."""
        if found := self._exact.get((method, path)):
            return found
        for end, pattern, route in self._patterns.get(method, ()):
            if path.endswith(end) and (fitting := pattern.fullmatch(path)):
                return route, fitting.groupdict()
        return None

    def find_all(self, path: str) -> list[Route]:
        """The routes of this path by all methods, in the order of the table."""
        found = [match[0] for method in _METHODS if (match := self.find(method, path))]
        return sorted(found, key=self._routes.index)


def _pattern(starts: Sequence[str], path: str) -> re.Pattern[str]:
    start = "|".join(re.escape(start) for start in starts)
    whole = re.sub(r"{(\w+)}", r"(?P<\1>[^/]+)", re.sub(r"{(\w+):path}", r"(?P<\1>.*)", path))
    return re.compile(f"(?:{start}){whole}")
