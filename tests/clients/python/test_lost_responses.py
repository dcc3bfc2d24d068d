"""No task is created twice, and no task is lost: both clients against servers that lose responses."""

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from framehouse_client import ConnectionFailed, InvalidRequest, RateLimited, TaskMayExist
from tests.support.api_server import Api
from tests.support.kling_upstream import upstream
from tests.support.losing_proxy import losing_proxy
from tests.support.python_clients import ClientKind, key_of, open_client

FAULTS = ["cut", "half", "html", "nonsense", "no id", "500 5000", "503 5001", "504 5002"]


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("framehouse_client.creating._QUERY_AFTER_S", (0.05, 0.1, 1.5))
    monkeypatch.setattr("framehouse_client.exchange._FIRST_PAUSE_S", 0.02)


class FirstPost:
    """A fault of the first POST request. `posts` is the number of all POST requests."""

    def __init__(self, fault: str) -> None:
        self.fault = fault
        self.posts = 0

    def __call__(self, method: str, path: str) -> str:
        self.posts += method == "POST"
        return self.fault if method == "POST" and self.posts == 1 else ""


@pytest.mark.parametrize("fault", [*FAULTS, "late"])
async def test_a_task_whose_response_was_lost_is_found(kind: ClientKind, fault: str, tmp_path: Path) -> None:
    fault_of = FirstPost(fault)
    async with upstream(fault=fault_of, delay_s=0.5) as server, open_client(kind, server.url, "key") as client:
        task = await client.create("a fox", n=2)
        await task.wait()
        assert len(await task.save(tmp_path)) == 2
    assert fault_of.posts == 1, "the request was sent again"
    assert list(server.tasks) == [task.id]


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_request_is_not_sent_again_if_the_task_is_not_found(kind: ClientKind, fault: str) -> None:
    fault_of = FirstPost(f"before {fault}")
    async with upstream(fault=fault_of) as server, open_client(kind, server.url, "key") as client:
        with pytest.raises(TaskMayExist, match=r"may have been created and billed.*client\.get") as caught:
            await client.create("a fox")
        assert (fault_of.posts, server.tasks) == (1, {})
        assert caught.value.external_task_id.startswith("fh-")
        assert caught.value.external_task_id in str(caught.value)


async def test_a_server_without_queries_by_external_id_gets_one_request(kind: ClientKind) -> None:
    fault_of = FirstPost("cut")
    async with (
        upstream(fault=fault_of, finds_external=False) as server,
        open_client(kind, server.url, "key") as client,
    ):
        with pytest.raises(TaskMayExist):
            await client.create("a fox", external_task_id="mine")
    assert [body["external_task_id"] for body in server.posts] == ["mine"]


async def test_the_task_of_another_external_id_is_not_adopted(kind: ClientKind) -> None:
    def other(method: str, path: str, status: int, body: Any) -> tuple[int, Any]:
        if method == "GET":
            body["data"]["task_info"] = {"external_task_id": "of-somebody-else"}
        return status, body

    async with (
        upstream(fault=FirstPost("cut"), rewrite=other) as server,
        open_client(kind, server.url, "key") as client,
    ):
        with pytest.raises(TaskMayExist):
            await client.create("a fox")


async def test_a_taken_external_id_is_refused_whatever_the_status(kind: ClientKind) -> None:
    conflict = (409, {"message": "duplicate external_task_id"})
    async with (
        upstream(refuse=lambda _account: conflict) as server,
        open_client(kind, server.url, "key") as client,
    ):
        server.add_task("key", "mine")
        with pytest.raises(InvalidRequest, match="duplicate"):
            await client.create("a fox", external_task_id="mine")


async def test_a_stated_limit_is_retried_with_the_same_external_id(kind: ClientKind) -> None:
    refusals: Iterator[int] = iter(range(3))
    limited = (200, {"code": "1303", "message": "parallel task over resource pack limit"})
    async with (
        upstream(refuse=lambda _account: limited if next(refusals, None) is not None else None) as server,
        open_client(kind, server.url, "key") as client,
    ):
        await client.create("a fox")
        assert len(server.posts) == 4
        assert len({body["external_task_id"] for body in server.posts}) == len(server.tasks) == 1
    async with (
        upstream(refuse=lambda _account: limited) as server,
        open_client(kind, server.url, "key", retry_s=0.2) as client,
    ):
        with pytest.raises(RateLimited):
            await client.create("a fox")
        assert 1 < len(server.posts) < 30


async def test_other_servers_recognize_a_repeated_idempotency_key_through_the_external_id(kind: ClientKind) -> None:
    async with upstream() as server:
        ids = set()
        for _ in range(2):  # two runs of the same program
            async with open_client(kind, server.url, "key") as client:
                ids.add((await client.create("a fox", idempotency_key="order 17")).id)
        assert ids == set(server.tasks)
        assert len(server.posts) == 1
        async with open_client(kind, server.url, "key") as client:
            other = await client.create("a hare", idempotency_key="order 17")
        assert other.id not in ids


async def test_an_unreachable_server_is_reported_soon(kind: ClientKind, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("framehouse_client.exchange._FIRST_CONTACT_S", 0.2)
    async with open_client(kind, "http://127.0.0.1:1", "key") as client:
        for method in (client.create, client.get):
            with pytest.raises(ConnectionFailed, match=r"cannot reach http://127\.0\.0\.1:1/kling"):
                await method("x")


async def test_a_wait_survives_failures_of_queries(kind: ClientKind) -> None:
    faults = ["cut", "half", "html", "503 5001", "500 5000", "429 1302", "cut", "504 5002"]
    numbers = count()

    def fault(method: str, path: str) -> str:
        if method != "GET":
            return ""
        number = next(numbers)  # only every fourth request succeeds
        return "" if number % 4 == 3 else faults[number % len(faults)]

    async with upstream(fault=fault, seconds=1.0) as server, open_client(kind, server.url, "key") as client:
        task = await client.create("a fox")
        await task.wait()
        assert (await task.images[0].bytes()).startswith(b"\x89PNG")
    assert next(numbers) > 8


async def test_a_request_whose_responses_are_always_lost_may_have_created_a_task(api: Api, kind: ClientKind) -> None:
    async with (
        losing_proxy(api.url, lambda method, _path: method == "POST", forward=False) as proxy,
        open_client(kind, proxy.url, key_of(api), retry_s=0.5) as client,
    ):
        with pytest.raises(TaskMayExist, match="may have been created"):
            await client.create("a fox")
    assert sum(method == "POST" for method, _, _ in proxy.requests) > 1


@pytest.fixture
def lose_first_posts() -> Callable[[str, str], bool]:
    posts = iter(range(2))
    return lambda method, _path: method == "POST" and next(posts, None) is not None


async def test_a_request_is_sent_again_to_framehouse(
    api: Api, kind: ClientKind, lose_first_posts: Callable[[str, str], bool]
) -> None:
    async with (
        losing_proxy(api.url, lose_first_posts) as proxy,
        open_client(kind, proxy.url, key_of(api)) as client,
    ):
        task = await client.create("a fox")
        assert [found["task_id"] for found in (await api.alice.get("/v1/tasks")).json()["data"]] == [task.id]
    assert [method for method, _, _ in proxy.requests] == ["POST", "GET"], "the task was not found by its external id"


async def test_a_request_that_framehouse_did_not_receive_is_sent_again(api: Api, kind: ClientKind) -> None:
    """The first POST requests are lost before they reach the server. The server is then recognized by the query."""
    posts = iter(range(2))

    def rejects(method: str, _path: str) -> bool:
        return method == "POST" and next(posts, None) is not None

    async with (
        losing_proxy(api.url, rejects, forward=False) as proxy,
        open_client(kind, proxy.url, key_of(api)) as client,
    ):
        task = await client.create("a fox")
        assert [found["task_id"] for found in (await api.alice.get("/v1/tasks")).json()["data"]] == [task.id]
    assert [method for method, _, _ in proxy.requests] == ["POST", "GET", "POST", "GET", "POST"]
    keys = {headers["idempotency-key"] for method, _, headers in proxy.requests if method == "POST"}
    assert len(keys) == 1


async def test_a_repeated_request_with_another_body_is_refused_by_framehouse(api: Api, kind: ClientKind) -> None:
    async with open_client(kind, api.url, key_of(api)) as client:
        await client.create("a fox", idempotency_key="one")
        with pytest.raises(InvalidRequest):
            await client.create("a hare", idempotency_key="one")
