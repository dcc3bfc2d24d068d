"""The endpoint `/mcp`: keys, origins, limits, and messages that are not valid."""

import asyncio
import json
from typing import Any

import httpx
import pytest
from mcp.shared.exceptions import MCPError

from framehouse.adapters.postgres import account_store
from framehouse.domain.signed_urls import Links
from framehouse.entrypoints.api.mcp_mount import MAX_MCP_BODY_BYTES
from tests.support.api_server import Api, serving
from tests.support.in_process_deployment import MakeDeployment
from tests.support.mcp_clients import answer_of, connected_to, http_client

ACCEPT = {"Accept": "application/json, text/event-stream"}
PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
MODERN_HEADERS = {"MCP-Protocol-Version": "2026-07-28"}


def call(tool: str = "get_task", **arguments: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}


async def post(client: httpx.AsyncClient, message: object, **headers: str) -> httpx.Response:
    return await client.post("/mcp", json=message, headers=ACCEPT | headers)


async def test_a_missing_or_wrong_key_is_refused_with_the_scheme(api: Api) -> None:
    for headers, code in (({}, 1001), ({"Authorization": "Bearer fh_wrong"}, 1002), ({"Authorization": "x"}, 1002)):
        response = await post(api.anonymous, PING, **headers)
        assert (response.status_code, response.json()["error"]["code"]) == (401, code)
        assert response.headers["www-authenticate"].startswith("Bearer")
    with pytest.raises(BaseExceptionGroup) as problem:
        async with http_client(api.url, "fh_wrong"):
            pass
    assert problem.group_contains(MCPError, match="the API key is unknown or revoked")


async def test_a_revoked_key_is_refused(api: Api) -> None:
    assert (await post(api.alice, PING)).status_code == 200
    account = await account_store.find_account(api.deployment.db, "alice")
    assert account
    for key in await account_store.list_keys(api.deployment.db, account.id):
        await account_store.revoke_key(api.deployment.db, key.id)
    assert (await post(api.alice, PING)).status_code == 401


async def test_the_header_x_api_key_is_accepted(api: Api) -> None:
    key = api.alice.headers["Authorization"].removeprefix("Bearer ")
    response = await post(api.anonymous, call("list_tasks"), **{"X-API-KEY": key})
    assert answer_of(response)["result"]["structuredContent"] == {"tasks": []}


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://localhost:6274", 200),
        ("http://127.0.0.1:8000", 200),
        ("https://images.example.com", 200),
        ("https://images.example.com.evil.test", 403),
        ("http://images.example.com", 403),
        ("http://evil.test", 403),
        ("http://localhost.evil.test", 403),
        ("null", 403),
        ("http://[", 403),
        ("file://", 403),
    ],
)
async def test_only_pages_of_this_machine_and_of_the_public_url_may_send_messages(
    make_deployment: MakeDeployment, origin: str, status: int
) -> None:
    async with serving(await make_deployment(), links=Links("secret", "https://images.example.com")) as api:
        response = await post(api.alice, PING, Origin=origin)
    assert response.status_code == status
    if status == 403:
        assert "Origin" in response.json()["error"]["message"]


async def test_links_start_with_the_address_that_the_client_used(api: Api) -> None:
    api.deployment.start_worker()
    response = await post(api.alice, call("create_images", prompt="A red fox"), Host="images.example.com:8080")
    result = answer_of(response)["result"]
    (image,) = result["structuredContent"]["images"]
    assert image["url"].startswith("http://images.example.com:8080/images/")
    assert [block["type"] for block in result["content"]] == ["text", "image", "resource_link"]


@pytest.mark.parametrize("headers", [{}, MODERN_HEADERS])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"7",
        b'"x"',
        b"{}",
        json.dumps([PING, PING]).encode(),
        b'{"jsonrpc": "1.0", "id": 1, "method": "ping"}',
        b'{"jsonrpc": "2.0", "id": 1, "method": 5}',
        b'{"jsonrpc": "2.0", "id": 1, "method": "ping", "params": 5}',
        b"[" * 5000,
        b'{"jsonrpc": "2.0", "id": ' + b"9" * 5000 + b', "method": "ping"}',
        b"\xff\xfe",
    ],
)
async def test_a_malformed_message_is_refused(api: Api, body: bytes, headers: dict[str, str]) -> None:
    response = await api.alice.post(
        "/mcp", content=body, headers=ACCEPT | headers | {"Content-Type": "application/json"}
    )
    assert response.status_code == 400, response.text
    assert response.json()["error"]["message"]


@pytest.mark.parametrize(
    "message",
    [
        PING | {"method": "no/such/method"},
        call("no_such_tool"),
        call(task_id=["x"]),
        call(task_id="x\0y"),
        call(task_id="\ud83d" * 3),
        call(task_id="x" * 10_000),
        PING | {"method": "tools/call", "params": {"name": "get_task", "arguments": []}},
        PING | {"method": "tools/call", "params": {}},
        PING | {"method": "resources/read", "params": {"uri": "framehouse://elements/" + "9" * 10_000}},
        PING | {"method": "tasks/get", "params": {"taskId": "x\0y"}},
        PING | {"method": "tasks/list", "params": {"cursor": "²"}},
        PING | {"method": "initialize", "params": {"protocolVersion": "9999-99-99"}},
    ],
)
async def test_a_wrong_request_is_answered_with_an_error(api: Api, message: dict[str, Any]) -> None:
    body = json.dumps(message)
    response = await api.alice.post("/mcp", content=body, headers=ACCEPT | {"Content-Type": "application/json"})
    assert response.status_code in (200, 400)
    answer = answer_of(response)
    failed = answer.get("error") or (answer["result"]["isError"] and answer["result"]["content"][0])
    assert failed.get("message") or failed["text"]
    assert failed.get("code") not in (0, -32603)
    metrics = (await api.anonymous.get("/metrics")).text
    assert 'operation="mcp"' in metrics


async def test_other_methods_and_content_types_are_refused(api: Api) -> None:
    for method in ("GET", "DELETE", "PUT"):
        response = await api.alice.request(method, "/mcp", headers=ACCEPT)
        assert (response.status_code, response.headers["allow"]) == (405, "POST")
    response = await api.alice.post("/mcp", content=b"x", headers=ACCEPT | {"Content-Type": "text/plain"})
    assert response.status_code == 415
    response = await api.alice.post("/mcp", json=PING, headers={"Accept": "text/html"})
    assert response.status_code == 406
    response = await post(api.alice, PING, **{"MCP-Protocol-Version": "1999-01-01"})
    assert response.status_code == 400


async def test_the_limits_on_bodies_apply(make_deployment: MakeDeployment) -> None:
    async with serving(await make_deployment()) as api:
        large = call("expand_image", image="A" * MAX_MCP_BODY_BYTES)
        response = await post(api.alice, large)
        assert (response.status_code, response.json()["error"]["code"]) == (413, 1200)
        unauthorized = await post(api.anonymous, large)
        assert unauthorized.status_code == 401
        many = call("get_task", task_id=[[] for _ in range(200_000)])
        refused = await post(api.alice, many)
        assert (refused.status_code, "too many values" in refused.text) == (413, True)
    async with serving(await make_deployment(), max_body_bytes=2000) as api:
        response = await post(api.alice, call("get_task", task_id="x" * 3000))
        assert response.status_code == 413


async def test_large_messages_of_one_account_do_not_delay_another_account(api: Api) -> None:
    """One account occupies at most four slots for large messages. Each slot is occupied until the call ends."""
    slow = call("create_images", prompt="A red fox", images=["A" * 100_000], wait_s=0)
    waiting = call("wait_for_task", task_id="", padding="A" * 100_000)
    task = await api.create()
    waiting = call("wait_for_task", task_id=task["task_id"], wait_s=600)
    waiting["params"]["_meta"] = {"padding": "A" * 100_000}
    calls = [asyncio.create_task(post(api.alice, waiting)) for _ in range(6)]
    try:
        response = await asyncio.wait_for(post(api.bob, slow), 60)
        assert answer_of(response)["result"]["isError"]
        assert (await post(api.alice, PING)).status_code == 200  # a small message needs no slot
    finally:
        for waiter in calls:
            waiter.cancel()
        await asyncio.gather(*calls, return_exceptions=True)


async def test_an_unexpected_error_is_hidden_and_counted(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: object) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr("framehouse.entrypoints.mcp.task_tools.task_json", fail)
    await api.create()
    response = await post(api.alice, call("list_tasks"))
    assert answer_of(response)["error"] == {"code": -32603, "message": "internal error"}


async def test_a_server_without_the_package_says_how_to_install_it(make_deployment: MakeDeployment) -> None:
    def open_mcp() -> None:
        raise ModuleNotFoundError("No module named 'mcp'", name="mcp")

    async with serving(await make_deployment(), open_mcp=open_mcp) as api:
        response = await post(api.alice, PING)
        assert response.status_code == 404
        assert "framehouse[mcp]" in response.json()["error"]["message"]


async def test_the_rate_limit_of_the_account_applies_to_calls(make_deployment: MakeDeployment) -> None:
    async with serving(await make_deployment(), requests_per_second=0.01) as api, connected_to(api) as client:
        results = [await client.call_tool("list_tasks", {}) for _ in range(2)]
    assert [bool(result.is_error) for result in results] == [False, True]
