"""Accounts cannot see each other: Bob gets the same response for Alice's ids as for ids that do not exist."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx
import pytest

from framehouse.domain.element import MAX_ELEMENT_ID
from tests.support.api_answers import BODY
from tests.support.api_server import ELEMENTS, PATH, Api, element_body, serving
from tests.support.in_process_deployment import MakeDeployment

OLD_ELEMENTS = "/v1/general/custom-elements"
Send = Callable[[httpx.AsyncClient, str], Awaitable[httpx.Response]]


def get(path: str) -> Send:
    return lambda client, id: client.get(path.format(id=id))


def post(path: str, body: Callable[[str], dict[str, Any]] | None = None) -> Send:
    return lambda client, id: client.post(path.format(id=id), json=body(id) if body else None)


TASKS: dict[str, Send] = {
    "get": get(PATH + "/{id}"),
    "get, another prefix": get("/proxy" + PATH + "/{id}"),
    "get and wait": get(PATH + "/{id}?wait=1"),
    "get with all includes": get(PATH + "/{id}?include=request,pictures,previews"),
    "callbacks": get(PATH + "/{id}/callbacks"),
    "cancel": post(PATH + "/{id}/cancel"),
    "as an element": get(ELEMENTS + "/{id}"),
}
ELEMENT_TASKS: dict[str, Send] = {
    "get": get(ELEMENTS + "/{id}"),
    "get, the old path": get(OLD_ELEMENTS + "/{id}"),
    "as a task": get(PATH + "/{id}"),
    "cancel as a task": post(PATH + "/{id}/cancel"),
    "callbacks as a task": get(PATH + "/{id}/callbacks"),
}
ELEMENT_IDS: dict[str, Send] = ELEMENT_TASKS | {
    "delete": post("/v1/general/delete-elements", lambda id: {"element_id": int(id)}),
    "delete, the old path": post("/v1/general/delete-advanced-elements", lambda id: {"element_id": id}),
    "generate": post(PATH, lambda id: BODY | {"element_list": [{"element_id": id}]}),
}


@dataclass
class Ids:
    """Ids of each kind: the id of something that belongs to Alice, and an unused id of the same form."""

    task: tuple[str, str]
    external: tuple[str, str]
    element_task: tuple[str, str]
    element_external: tuple[str, str]
    element: tuple[str, str]


@pytest.fixture
async def alice_and_ids(make_deployment: MakeDeployment) -> AsyncIterator[tuple[Api, Ids]]:
    async with serving(await make_deployment()) as api:
        api.deployment.start_element_worker()
        task = await api.create(external_task_id="mine-1", callback_url="https://receiver.example/hook")
        created = await api.create_element(external_task_id="bag-1")
        done = await api.wait_for_element(created["task_id"])
        number = int(done["task_result"]["elements"][0]["element_id"])
        assert number + 7 <= MAX_ELEMENT_ID
        yield (
            api,
            Ids(
                (task["task_id"], str(uuid4())),
                ("mine-1", "mine-2"),
                (created["task_id"], str(uuid4())),
                ("bag-1", "bag-2"),
                (str(number), str(number + 7)),
            ),
        )


def without_ids(answer: httpx.Response, id: str) -> tuple[int, list[tuple[str, str]], bytes]:
    """Status, headers and body of a response, without the requested id, the request id and the time."""
    request_id = answer.headers["x-request-id"].encode()
    body = answer.content.replace(request_id, b"<request>").replace(id.encode(), b"<id>")
    headers = [(name, value) for name, value in answer.headers.multi_items() if name not in ("x-request-id", "date")]
    return answer.status_code, headers, body


async def test_ids_of_other_accounts_look_like_unused_ids(alice_and_ids: tuple[Api, Ids]) -> None:
    api, ids = alice_and_ids
    before = [(await api.alice.get(path)).json()["data"] for path in (PATH, ELEMENTS)]
    for requests, pair in (
        (TASKS, ids.task),
        (TASKS, ids.external),
        (ELEMENT_TASKS, ids.element_task),
        (ELEMENT_TASKS, ids.element_external),
        (ELEMENT_IDS, ids.element),
    ):
        for name, send in requests.items():
            used, unused = pair
            answer = without_ids(await send(api.bob, used), used)
            assert answer == without_ids(await send(api.bob, unused), unused), f"{name} {pair}"
            assert answer[0] == 400, name
            assert b"1201" in answer[2], name
            assert b"<id>" in answer[2] or name == "generate", name
    assert [(await api.alice.get(path)).json()["data"] for path in (PATH, ELEMENTS)] == before, (
        "Bob's requests changed nothing"
    )
    for path in (PATH, ELEMENTS, OLD_ELEMENTS):
        for query in ("", "?pageNum=1&pageSize=500"):
            assert (await api.bob.get(path + query)).json()["data"] == []
    assert (await api.alice.get(f"{PATH}/{ids.task[0]}/callbacks")).status_code == 200


async def test_names_that_another_account_uses_are_available(alice_and_ids: tuple[Api, Ids]) -> None:
    """Bob may use Alice's external ids and idempotency keys, and no response reveals that Alice uses them."""
    api, ids = alice_and_ids

    def without_names(answer: httpx.Response, name: str) -> tuple[int, str, list[str]]:
        """Status, body and names of the headers, without generated ids, times and `name`."""
        text = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}|[0-9a-f]{32}|\d{13}", "<generated>", answer.text).replace(
            name, "<name>"
        )
        return answer.status_code, text, [name for name, _ in answer.headers.multi_items()]

    for path, body, pair in (
        (PATH, BODY, ids.external),
        (ELEMENTS, element_body(), ids.element_external),
    ):
        answers = [await api.bob.post(path, json=body | {"external_task_id": n}) for n in pair]
        assert without_names(answers[0], pair[0]) == without_names(answers[1], pair[1])
        assert answers[0].status_code == 200
        first = await api.alice.post(path, json=body, headers={"Idempotency-Key": "key-1"})
        answers = [await api.bob.post(path, json=body, headers={"Idempotency-Key": n}) for n in ("key-1", "key-2")]
        assert without_names(answers[0], "key-1") == without_names(answers[1], "key-2")
        assert answers[0].json()["data"]["task_id"] != first.json()["data"]["task_id"]
    own_id = (await api.bob.get(f"{PATH}/mine-1")).json()["data"]["task_id"]
    assert own_id != ids.task[0]


async def test_only_the_key_selects_the_account(api: Api) -> None:
    """No parameter selects another account, and all invalid keys get the same response."""
    for path in ("/v1/account", "/v1/account?account=alice", "/v1/account?id=1"):
        assert (await api.bob.get(path)).json()["data"]["account"] == "bob"
    for path in ("/v1/account/alice", "/v1/account/1", "/v1/accounts", "/v1/account/keys"):
        assert (await api.bob.get(path)).json()["code"] == 1202
    key = api.alice.headers["authorization"]
    invalid_keys = [key[:-1] + ("a" if key[-1] != "a" else "b"), key + "a", key[:18], "Bearer fh_" + "a" * 43]
    answers = [await api.anonymous.get("/v1/account", headers={"Authorization": invalid}) for invalid in invalid_keys]
    assert len({str(without_ids(answer, "-")) for answer in answers}) == 1
    assert answers[0].json()["code"] == 1002
