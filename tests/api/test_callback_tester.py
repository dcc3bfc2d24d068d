"""POST /v1/callbacks/test: a signed test message, with the address rules of real callbacks."""

import asyncio
import json
from typing import Any

import httpx
import pytest

from framehouse.entrypoints.api import callback_tester
from tests.support.api_server import Api, serving
from tests.support.eventually import eventually
from tests.support.in_process_deployment import MakeDeployment
from tests.support.receivers import Behaviour, cut, endless_headers, flood, hang, nonsense, receiving

PATH = "/kling/v1/callbacks/test"


async def send(api: Api, url: object, client: httpx.AsyncClient | None = None) -> httpx.Response:
    return await (client or api.alice).post(PATH, json={"callback_url": url})


async def test_a_test_message_has_the_form_and_the_signature_of_a_real_callback(
    make_deployment: MakeDeployment,
) -> None:
    deployment = await make_deployment({"engine": "previz"})
    async with serving(deployment, allow_private=True) as api, receiving("202 Accepted") as receiver:
        deployment.start_worker()
        task = await api.wait_for_task((await api.create())["task_id"])
        answer = await send(api, receiver.url)
        data = answer.json()["data"]
        assert data.pop("seconds") >= 0
        [received] = receiver.received
        assert data == {
            "id": received.headers["webhook-id"],
            "delivered": True,
            "status": 202,
            "reason": "",
            "advice": "",
        }
        received.verify((await deployment.account())["callback_secret"])
        assert received.headers["content-type"] == "application/json"
        assert received.data["type"] == "test"
        assert received.data.keys() - {"type"} == task.keys(), "the body has the fields of a real callback"
        [image] = received.data["task_result"]["images"]
        assert image.keys() == task["task_result"]["images"][0].keys()
        assert (await api.anonymous.get(image["url"])).headers["content-type"] == "image/png"
        assert [entry["task_id"] for entry in (await api.alice.get("/v1/tasks")).json()["data"]] == [task["task_id"]]


async def test_the_images_of_test_messages_have_the_base_url_of_the_server(make_deployment: MakeDeployment) -> None:
    options: dict[str, Any] = {"allow_private": True, "image_base_url": "https://images.example"}
    async with serving(await make_deployment(), **options) as api, receiving() as receiver:
        await api.alice.post(PATH, json={"callback_url": receiver.url}, headers={"Host": "other.example"})
        url = receiver.received[0].data["task_result"]["images"][0]["url"]
        assert url.startswith("https://images.example/")


@pytest.mark.parametrize("address", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "169.254.169.254", "10.0.0.1"])
async def test_private_addresses_are_refused_with_the_reason(api: Api, address: str) -> None:
    async with receiving() as receiver:
        answer = await send(api, receiver.url.replace("127.0.0.1", address))
        data = answer.json()["data"]
        assert (data["delivered"], data["status"]) == (False, None)
        assert "private or special address" in data["reason"]
        assert "FRAMEHOUSE_ALLOW_PRIVATE_ADDRESSES=1" in data["advice"]
        assert receiver.connections == 0


@pytest.mark.parametrize(
    ("answer", "status", "reason"),
    [
        ("302 Found\r\nLocation: http://127.0.0.1:1/", 302, "HTTP 302: redirects are not followed"),
        ("500 Oops-secret\r\nX-Secret: secret", 500, "HTTP 500"),
        ("410 Gone", 410, "the receiver is gone"),
    ],
)
async def test_only_the_status_of_the_receiver_is_returned(
    make_deployment: MakeDeployment, answer: str, status: int, reason: str
) -> None:
    async with serving(await make_deployment(), allow_private=True) as api, receiving(answer) as receiver:
        response = await send(api, receiver.url)
        data = response.json()["data"]
        assert (data["delivered"], data["status"], data["reason"]) == (False, status, reason)
        assert data["advice"]
        assert "secret" not in json.dumps(data)
        assert len(receiver.received) == 1


@pytest.mark.parametrize(
    ("behave", "reason"),
    [
        (hang, "did not respond"),
        (nonsense, "could not be reached"),
        (cut, "could not be reached"),
        (endless_headers, "too many bytes"),
        (flood, ""),
    ],
)
async def test_hostile_receivers(
    make_deployment: MakeDeployment, monkeypatch: pytest.MonkeyPatch, behave: Behaviour, reason: str
) -> None:
    if behave is hang:
        monkeypatch.setattr("framehouse.pipeline.deliver_callback.ANSWER_TIMEOUT_S", 1.0)
    async with serving(await make_deployment(), allow_private=True) as api, receiving(behave=behave) as receiver:
        data = (await send(api, receiver.url)).json()["data"]
        assert reason in data["reason"]
        assert data["delivered"] is (reason == "")


async def test_an_account_can_send_two_test_messages_per_second(make_deployment: MakeDeployment) -> None:
    async with serving(await make_deployment(), allow_private=True) as api, receiving() as receiver:
        answers = await asyncio.gather(*(send(api, receiver.url) for _ in range(40)))
        refused = [answer for answer in answers if answer.status_code == 429]
        assert refused
        assert {answer.json()["code"] for answer in refused} == {1302}
        assert int(refused[0].headers["retry-after"]) >= 1
        assert (await send(api, receiver.url, api.bob)).status_code == 200


async def test_an_account_can_wait_for_four_test_messages(
    make_deployment: MakeDeployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callback_tester, "_PER_SECOND", 0.0)
    monkeypatch.setattr("framehouse.pipeline.deliver_callback.ANSWER_TIMEOUT_S", 5.0)
    async with serving(await make_deployment(), allow_private=True) as api, receiving(behave=hang) as slow:
        waiting = [asyncio.create_task(send(api, slow.url)) for _ in range(4)]

        async def all_sent() -> bool:
            return len(slow.received) == 4

        await eventually(all_sent)
        refused = await send(api, slow.url)
        assert (refused.status_code, refused.json()["code"]) == (429, 1302)
        async with receiving() as receiver:
            assert (await send(api, receiver.url, api.bob)).status_code == 200
            assert {answer.status_code for answer in await asyncio.gather(*waiting)} == {200}
            assert (await send(api, receiver.url)).status_code == 200, "the places are free again"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "callback_url is required"),
        ({"callback_url": None}, "callback_url is required"),
        ({"callback_url": 5}, "callback_url"),
        ({"callback_url": "ftp://receiver.example/"}, "must be an http or https URL"),
        ({"callback_url": "http://user:secret@receiver.example/"}, "must not contain a user name"),
        ([], "must be a JSON object"),
    ],
)
async def test_invalid_requests_are_refused(api: Api, body: object, message: str) -> None:
    answer = await api.alice.post(PATH, json=body)
    assert (answer.status_code, answer.json()["code"]) == (400, 1201)
    assert message in answer.json()["message"]
    assert (await api.anonymous.post(PATH, json=body)).json()["code"] == 1001
