"""What is another account's is not there: Bob hears of Alice's things what he would hear of things that never were."""

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

OLD = "/v1/general/custom-elements"
Ask = Callable[[httpx.AsyncClient, str], Awaitable[httpx.Response]]


def get(path: str) -> Ask:
    return lambda client, id: client.get(path.format(id=id))


def post(path: str, body: Callable[[str], dict[str, Any]] | None = None) -> Ask:
    return lambda client, id: client.post(path.format(id=id), json=body(id) if body else None)


TASKS: dict[str, Ask] = {
    "get": get(PATH + "/{id}"),
    "get, another prefix": get("/proxy" + PATH + "/{id}"),
    "get and wait": get(PATH + "/{id}?wait=1"),
    "get all there is": get(PATH + "/{id}?include=request,pictures"),
    "callbacks": get(PATH + "/{id}/callbacks"),
    "cancel": post(PATH + "/{id}/cancel"),
    "as an element": get(ELEMENTS + "/{id}"),
}
ELEMENT_TASKS: dict[str, Ask] = {
    "get": get(ELEMENTS + "/{id}"),
    "get, the older name": get(OLD + "/{id}"),
    "as a task": get(PATH + "/{id}"),
    "cancel as a task": post(PATH + "/{id}/cancel"),
    "callbacks as a task": get(PATH + "/{id}/callbacks"),
}
ELEMENT_IDS: dict[str, Ask] = ELEMENT_TASKS | {
    "delete": post("/v1/general/delete-elements", lambda id: {"element_id": int(id)}),
    "delete, the older name": post("/v1/general/delete-advanced-elements", lambda id: {"element_id": id}),
    "paint": post(PATH, lambda id: BODY | {"element_list": [{"element_id": id}]}),
}


@dataclass
class Things:
    """Ids of Alice's, each with one of the same form that nobody has."""

    task: tuple[str, str]
    external: tuple[str, str]
    element_task: tuple[str, str]
    element_external: tuple[str, str]
    element: tuple[str, str]


@pytest.fixture
async def house_of_alice(make_deployment: MakeDeployment) -> AsyncIterator[tuple[Api, Things]]:
    async with serving(await make_deployment()) as api:
        api.deployment.start_element_worker()
        task = await api.create(external_task_id="mine-1", callback_url="https://receiver.example/hook")
        made = await api.create_element(external_task_id="bag-1")
        done = await api.wait_for_element(made["task_id"])
        number = int(done["task_result"]["elements"][0]["element_id"])
        assert number + 7 <= MAX_ELEMENT_ID
        yield (
            api,
            Things(
                (task["task_id"], str(uuid4())),
                ("mine-1", "mine-2"),
                (made["task_id"], str(uuid4())),
                ("bag-1", "bag-2"),
                (str(number), str(number + 7)),
            ),
        )


def heard(answer: httpx.Response, id: str) -> tuple[int, list[tuple[str, str]], bytes]:
    """All of an answer, but the id that was asked for, the request's own id, and the time."""
    request_id = answer.headers["x-request-id"].encode()
    body = answer.content.replace(request_id, b"<request>").replace(id.encode(), b"<id>")
    headers = [(name, value) for name, value in answer.headers.multi_items() if name not in ("x-request-id", "date")]
    return answer.status_code, headers, body


async def test_ids_of_others_are_as_ids_of_nobody(house_of_alice: tuple[Api, Things]) -> None:
    api, things = house_of_alice
    before = [(await api.alice.get(path)).json()["data"] for path in (PATH, ELEMENTS)]
    for asks, ids in (
        (TASKS, things.task),
        (TASKS, things.external),
        (ELEMENT_TASKS, things.element_task),
        (ELEMENT_TASKS, things.element_external),
        (ELEMENT_IDS, things.element),
    ):
        for what, ask in asks.items():
            alices, nobodys = ids
            told = heard(await ask(api.bob, alices), alices)
            assert told == heard(await ask(api.bob, nobodys), nobodys), f"{what} {ids}"
            assert told[0] == 400, what
            assert b"1201" in told[2], what
            assert b"<id>" in told[2] or what == "paint", what
    assert [(await api.alice.get(path)).json()["data"] for path in (PATH, ELEMENTS)] == before, "all is as it was"
    for path in (PATH, ELEMENTS, OLD):
        for query in ("", "?pageNum=1&pageSize=500"):
            assert (await api.bob.get(path + query)).json()["data"] == []
    assert (await api.alice.get(f"{PATH}/{things.task[0]}/callbacks")).status_code == 200


async def test_names_of_others_are_free(house_of_alice: tuple[Api, Things]) -> None:
    """External ids and idempotency keys: Bob may take what Alice has, and is not told that she has it."""
    api, things = house_of_alice

    def shape(answer: httpx.Response, name: str) -> tuple[int, str, list[str]]:
        text = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}|[0-9a-f]{32}|\d{13}", "<own>", answer.text).replace(name, "<name>")
        return answer.status_code, text, [name for name, _ in answer.headers.multi_items()]

    for path, body, (alices, nobodys) in (
        (PATH, BODY, things.external),
        (ELEMENTS, element_body(), things.element_external),
    ):
        answers = [await api.bob.post(path, json=body | {"external_task_id": n}) for n in (alices, nobodys)]
        assert shape(answers[0], alices) == shape(answers[1], nobodys)
        assert answers[0].status_code == 200
        first = await api.alice.post(path, json=body, headers={"Idempotency-Key": "key-1"})
        answers = [await api.bob.post(path, json=body, headers={"Idempotency-Key": n}) for n in ("key-1", "key-2")]
        assert shape(answers[0], "key-1") == shape(answers[1], "key-2")
        assert answers[0].json()["data"]["task_id"] != first.json()["data"]["task_id"]
    own = (await api.bob.get(f"{PATH}/mine-1")).json()["data"]["task_id"]
    assert own != things.task[0]


async def test_an_account_is_known_by_its_keys_alone(api: Api) -> None:
    """Nothing names another account, and what opens nothing is answered alike, whoever's name it tries."""
    for path in ("/v1/account", "/v1/account?account=alice", "/v1/account?id=1"):
        assert (await api.bob.get(path)).json()["data"]["account"] == "bob"
    for path in ("/v1/account/alice", "/v1/account/1", "/v1/accounts", "/v1/account/keys"):
        assert (await api.bob.get(path)).json()["code"] == 1202
    key = api.alice.headers["authorization"]
    tries = [key[:-1] + ("a" if key[-1] != "a" else "b"), key + "a", key[:18], "Bearer fh_" + "a" * 43]
    answers = [await api.anonymous.get("/v1/account", headers={"Authorization": one}) for one in tries]
    assert len({str(heard(answer, "-")) for answer in answers}) == 1
    assert answers[0].json()["code"] == 1002
