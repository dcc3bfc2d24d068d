"""Finds the endpoint of a request by its method and path."""

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from starlette.requests import Request
from starlette.types import ASGIApp

from framehouse.entrypoints.api.context import ApiContext
from framehouse.entrypoints.api.documentation import Operation

_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
_MAX_COMPARED_CHARACTERS = 100


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One row of the table in endpoint_table.py.

    `path` may contain `{name}`, which matches any text without a slash, and `{name:path}`, which matches any text.
    `operation` is the name of the endpoint in metrics and traces. If `prefixed` is true, the endpoint is served under
    every path prefix and requires a key. If `at_root` is also true, the endpoint is also served without a prefix. If
    `needs_key` is true, an endpoint without a prefix also requires a key. If `documentation` is None, the OpenAPI
    document omits the endpoint.
    """

    method: str
    path: str
    handler: Callable[[ApiContext, Request], Awaitable[ASGIApp]]
    operation: str
    documentation: Operation | None = None
    prefixed: bool = True
    at_root: bool = False
    needs_key: bool = False


Match = tuple[Endpoint, dict[str, str]]
"""An endpoint, and the path parameters of a request."""


class Router:
    """A mapping from the method and the path of a request to an endpoint.

    Endpoints whose paths have no parameters take precedence. All other endpoints are tried in the order of `endpoints`.
    """

    def __init__(self, endpoints: Sequence[Endpoint], prefixes: Sequence[str]) -> None:
        self._endpoints = endpoints
        self._prefixed_paths = {
            prefixes[0] + endpoint.path: None
            for endpoint in endpoints
            if endpoint.prefixed and endpoint.documentation and "{" not in endpoint.path
        }
        self._exact: dict[tuple[str, str], Match] = {}
        self._patterns: dict[str, list[tuple[str, re.Pattern[str], Endpoint]]] = {method: [] for method in _METHODS}
        for endpoint in endpoints:
            served_under = [*prefixes, ""] if endpoint.at_root else prefixes if endpoint.prefixed else [""]
            if "{" in endpoint.path:
                suffix = endpoint.path.rpartition("}")[2]
                self._patterns[endpoint.method].append((suffix, _pattern(served_under, endpoint.path), endpoint))
            else:
                self._exact |= {(endpoint.method, prefix + endpoint.path): (endpoint, {}) for prefix in served_under}

    def find(self, method: str, path: str) -> Match | None:
        """Return the endpoint and the path parameters of a request. Returns None if no endpoint matches.

        If the endpoint is served under path prefixes, `path` may end with an additional slash.
        """
        if path.endswith("/") and (match := self._find(method, path[:-1])) and match[0].prefixed:
            return match
        return self._find(method, path)

    def closest_path(self, path: str) -> str:
        """Return the existing path that is most similar to an unknown path.

        Only the documented paths that have a prefix and no parameters are considered.
        """
        path = path[:_MAX_COMPARED_CHARACTERS]
        matcher = SequenceMatcher(b=path)

        def similarity(existing: str) -> float:
            matcher.set_seq1(existing)
            return matcher.ratio()

        return max(self._prefixed_paths, key=similarity)

    def _find(self, method: str, path: str) -> Match | None:
        if exact := self._exact.get((method, path)):
            return exact
        for suffix, pattern, endpoint in self._patterns.get(method, ()):
            if path.endswith(suffix) and (match := pattern.fullmatch(path)):
                return endpoint, match.groupdict()
        return None

    def find_all(self, path: str) -> list[Endpoint]:
        """Return the endpoints of a path for all methods, in the order of the router's `endpoints`."""
        endpoints = [match[0] for method in _METHODS if (match := self.find(method, path))]
        return sorted(endpoints, key=self._endpoints.index)


def _pattern(prefixes: Sequence[str], path: str) -> re.Pattern[str]:
    prefix = "|".join(re.escape(prefix) for prefix in prefixes)
    rest = re.sub(r"{(\w+)}", r"(?P<\1>[^/]+)", re.sub(r"{(\w+):path}", r"(?P<\1>.*)", path))
    return re.compile(f"(?:{prefix}){rest}")
