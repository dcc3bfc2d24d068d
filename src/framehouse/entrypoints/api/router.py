"""Find the endpoint of a request by its method and path."""

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from starlette.requests import Request
from starlette.types import ASGIApp

from framehouse.entrypoints.api.context import ApiContext
from framehouse.entrypoints.api.documentation import Operation

_METHODS = ("GET", "HEAD", "POST")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One row of the table in endpoint_table.py.

    `path` may hold `{name}`, which matches up to the next slash, and `{name:path}`, which matches slashes too.
    `operation` names the request in metrics and traces. A `prefixed` endpoint is served under every path prefix and
    needs a key. An endpoint without `documentation` is not in the OpenAPI document.
    """

    method: str
    path: str
    handler: Callable[[ApiContext, Request], Awaitable[ASGIApp]]
    operation: str
    documentation: Operation | None = None
    prefixed: bool = True


Match = tuple[Endpoint, dict[str, str]]
"""An endpoint, and the parameters in the path of a request."""


class Router:
    """Finds endpoints by exact path, then by pattern, in the order of the table."""

    def __init__(self, endpoints: Sequence[Endpoint], prefixes: Sequence[str]) -> None:
        self._endpoints = endpoints
        self._exact: dict[tuple[str, str], Match] = {}
        self._patterns: dict[str, list[tuple[str, re.Pattern[str], Endpoint]]] = {method: [] for method in _METHODS}
        for endpoint in endpoints:
            starts = prefixes if endpoint.prefixed else [""]
            if "{" in endpoint.path:
                end = endpoint.path.rpartition("}")[2]
                self._patterns[endpoint.method].append((end, _pattern(starts, endpoint.path), endpoint))
            else:
                self._exact |= {(endpoint.method, start + endpoint.path): (endpoint, {}) for start in starts}

    def find(self, method: str, path: str) -> Match | None:
        """The endpoint of a request, with the parameters in its path."""
        if found := self._exact.get((method, path)):
            return found
        for end, pattern, endpoint in self._patterns.get(method, ()):
            if path.endswith(end) and (fitting := pattern.fullmatch(path)):
                return endpoint, fitting.groupdict()
        return None

    def find_all(self, path: str) -> list[Endpoint]:
        """The endpoints of this path by all methods, in the order of the table."""
        found = [match[0] for method in _METHODS if (match := self.find(method, path))]
        return sorted(found, key=self._endpoints.index)


def _pattern(starts: Sequence[str], path: str) -> re.Pattern[str]:
    start = "|".join(re.escape(start) for start in starts)
    whole = re.sub(r"{(\w+)}", r"(?P<\1>[^/]+)", re.sub(r"{(\w+):path}", r"(?P<\1>.*)", path))
    return re.compile(f"(?:{start}){whole}")
