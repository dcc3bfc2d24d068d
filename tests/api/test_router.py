"""The table of routes: which request goes where."""

from collections import Counter

from starlette.requests import Request
from starlette.types import ASGIApp

from framehouse.entrypoints.api.context import ApiContext
from framehouse.entrypoints.api.endpoint_table import ENDPOINTS
from framehouse.entrypoints.api.router import Endpoint, Router


async def endpoint(_context: ApiContext, _request: Request) -> ASGIApp:
    raise NotImplementedError


TABLE = (
    Endpoint("POST", "/a", endpoint, "create"),
    Endpoint("GET", "/a", endpoint, "list"),
    Endpoint("GET", "/a/{id:path}/callbacks", endpoint, "callbacks"),
    Endpoint("GET", "/a/{id:path}", endpoint, "get"),
    Endpoint("GET", "/a/exact", endpoint, "exact"),
    Endpoint("POST", "/hasten/{batch}/{signature}", endpoint, "hasten", prefixed=False),
)
ROUTER = Router(TABLE, ["/kling", "", "/proxy/kling"])


def found(method: str, path: str) -> tuple[str, dict[str, str]] | None:
    match = ROUTER.find(method, path)
    return (match[0].operation, match[1]) if match else None


def test_a_route_is_found_by_method_and_path() -> None:
    for prefix in ("", "/kling", "/proxy/kling"):
        assert found("POST", f"{prefix}/a") == ("create", {})
        assert found("GET", f"{prefix}/a") == ("list", {})
        assert found("GET", f"{prefix}/a/1") == ("get", {"id": "1"})
        assert found("GET", f"{prefix}/a/") == ("get", {"id": ""})
        assert found("GET", f"{prefix}/a/1/callbacks") == ("callbacks", {"id": "1"})
        assert found("GET", f"{prefix}/a/1/2/callbacks") == ("callbacks", {"id": "1/2"})
        assert found("GET", f"{prefix}/a/callbacks") == ("get", {"id": "callbacks"})
        assert found("GET", f"{prefix}/a/exact") == ("exact", {})
    assert found("POST", "/hasten/1/x") == ("hasten", {"batch": "1", "signature": "x"})


def test_other_paths_have_no_route() -> None:
    for method, path in (
        ("DELETE", "/a"),
        ("HEAD", "/a"),
        ("get", "/a"),
        ("GET", "/b"),
        ("GET", "/ax"),
        ("GET", "/other/a"),
        ("GET", "/kling/kling/a"),
        ("GET", "/a/1\n"),
        ("GET", "/a/1\n2"),
        ("POST", "/hasten/1/x/y"),
        ("POST", "/kling/hasten/1/x"),
        ("GET", "a"),
        ("GET", ""),
    ):
        assert found(method, path) is None, (method, path)
    assert Router(TABLE, ["/kling"]).find("POST", "/a") is None


def test_the_routes_of_a_path_come_in_the_order_of_the_table() -> None:
    assert [route.operation for route in ROUTER.find_all("/a")] == ["create", "list"]
    assert [route.operation for route in ROUTER.find_all("/hasten/1/x")] == ["hasten"]
    assert ROUTER.find_all("/b") == []


def test_each_route_and_each_operation_id_is_in_the_table_once() -> None:
    ids = [route.documentation.operation_id or route.operation for route in ENDPOINTS if route.documentation]
    assert [id for id, count in Counter(ids).items() if count > 1] == []
    assert [at for at, count in Counter((route.method, route.path) for route in ENDPOINTS).items() if count > 1] == []
