"""The router finds the endpoint of a request by its method and path."""

from collections import Counter

import pytest
from starlette.requests import Request
from starlette.types import ASGIApp

from framehouse.entrypoints.api.context import ApiContext
from framehouse.entrypoints.api.endpoint_table import ENDPOINTS
from framehouse.entrypoints.api.router import Endpoint, Router


async def handle(_context: ApiContext, _request: Request) -> ASGIApp:
    raise NotImplementedError


TABLE = (
    Endpoint("POST", "/a", handle, "create"),
    Endpoint("GET", "/a", handle, "list"),
    Endpoint("GET", "/a/{id:path}/callbacks", handle, "callbacks"),
    Endpoint("GET", "/a/{id:path}", handle, "get"),
    Endpoint("GET", "/a/exact", handle, "exact"),
    Endpoint("POST", "/wake/{batch}/{signature}", handle, "wake", prefixed=False),
)
ROUTER = Router(TABLE, ["/kling", "", "/proxy/kling"])


def find(method: str, path: str) -> tuple[str, dict[str, str]] | None:
    match = ROUTER.find(method, path)
    return (match[0].operation, match[1]) if match else None


def test_an_endpoint_is_found_by_method_and_path() -> None:
    for prefix in ("", "/kling", "/proxy/kling"):
        assert find("POST", f"{prefix}/a") == ("create", {})
        assert find("GET", f"{prefix}/a") == ("list", {})
        assert find("GET", f"{prefix}/a/1") == ("get", {"id": "1"})
        assert find("GET", f"{prefix}/a/") == ("list", {})
        assert find("GET", f"{prefix}/a/1/") == ("get", {"id": "1"})
        assert find("GET", f"{prefix}/a/1/callbacks/") == ("callbacks", {"id": "1"})
        assert find("GET", f"{prefix}/a/1/callbacks") == ("callbacks", {"id": "1"})
        assert find("GET", f"{prefix}/a/1/2/callbacks") == ("callbacks", {"id": "1/2"})
        assert find("GET", f"{prefix}/a/callbacks") == ("get", {"id": "callbacks"})
        assert find("GET", f"{prefix}/a/exact") == ("exact", {})
    assert find("POST", "/wake/1/x") == ("wake", {"batch": "1", "signature": "x"})


def test_other_requests_have_no_endpoint() -> None:
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
        ("POST", "/wake/1/x/y"),
        ("POST", "/kling/wake/1/x"),
        ("GET", "a"),
        ("GET", ""),
    ):
        assert find(method, path) is None, (method, path)
    assert Router(TABLE, ["/kling"]).find("POST", "/a") is None


def test_an_endpoint_without_prefixes_has_no_additional_slash() -> None:
    assert find("POST", "/wake/1/x/") is None


@pytest.mark.parametrize(
    ("path", "closest"),
    [
        ("/kling/v1/images/omni-images", "/kling/v1/images/omni-image"),
        ("/v1/image/omni-image", "/kling/v1/images/omni-image"),
        ("/api/v1/general/custom-element", "/kling/v1/general/advanced-custom-elements"),
        ("/kling/accounts", "/kling/v1/account"),
        ("/kling/v1/images/generation", "/kling/v1/images/generations"),
    ],
)
def test_the_most_similar_path_of_an_unknown_path_is_found(path: str, closest: str) -> None:
    assert Router(ENDPOINTS, ["/kling", ""]).closest_path(path) == closest


def test_the_endpoints_of_a_path_are_in_the_order_of_the_table() -> None:
    assert [endpoint.operation for endpoint in ROUTER.find_all("/a")] == ["create", "list"]
    assert [endpoint.operation for endpoint in ROUTER.find_all("/wake/1/x")] == ["wake"]
    assert ROUTER.find_all("/b") == []


def test_paths_and_operation_ids_are_unique() -> None:
    documented = [(endpoint, endpoint.documentation) for endpoint in ENDPOINTS if endpoint.documentation]
    ids = [documentation.operation_id or endpoint.operation for endpoint, documentation in documented]
    assert [id for id, count in Counter(ids).items() if count > 1] == []
    paths = [(endpoint.method, endpoint.path) for endpoint in ENDPOINTS]
    assert [path for path, count in Counter(paths).items() if count > 1] == []
