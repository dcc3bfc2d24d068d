"""The endpoints of the console over HTTP: its files, the account, deliveries of callbacks, and sign-in codes."""

import asyncio
import json
from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest

from framehouse.adapters.postgres import account_store
from framehouse.adapters.postgres.callback_queue import HostLimits, claim_callbacks, retry_callback
from framehouse.adapters.postgres.sign_in_codes import create_code
from tests.support.api_server import PATH, Api, serving
from tests.support.eventually import eventually
from tests.support.in_process_deployment import MakeDeployment


async def test_the_files_of_the_console_have_security_headers_and_etags(api: Api) -> None:
    page = await api.anonymous.get("/")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "style=" not in page.text
    assert "<script>" not in page.text
    for path in ("/", "/console/app.js", "/console/base.css", "/console/translations/zh.js", "/console/icon.svg"):
        first = await api.anonymous.get(path)
        assert first.headers["x-content-type-options"] == "nosniff"
        again = await api.anonymous.get(path, headers={"If-None-Match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert (await api.anonymous.head(path)).status_code == 200
    for path in ("/console/index.html", "/console/../server.py", "/console/%2e%2e/auth.py", "/console/"):
        assert (await api.anonymous.get(path)).status_code == 404


async def test_the_configuration_of_the_console_contains_no_secrets(api: Api) -> None:
    config = (await api.anonymous.get("/console/config.json")).json()
    assert config["prefix"] == "/kling"
    assert config["models"][1] == {
        "name": "kling-image-o1",
        "kinds": ["omni-image", "generations", "multi-image2image", "try-on"],
        "resolutions": ["1k", "2k"],
        "series": False,
        "units": {"1k": 8, "2k": 8, "4k": 16},
        "preview": False,
    }


async def test_the_account_endpoint_returns_only_the_account_of_the_caller(api: Api) -> None:
    await api.create(n=3)
    account = (await api.alice.get("/kling/v1/account")).json()["data"]
    assert account["account"] == "alice"
    assert account["concurrency"] == {"used": 3, "allowed": 100}
    assert account["units"] == {"used": 0, "reserved": 24, "limit": None}
    key = api.alice.headers["authorization"].removeprefix("Bearer ")
    assert [entry["prefix"] for entry in account["keys"]] == [key[:11]]
    assert key not in json.dumps(account)
    assert (await api.bob.get("/v1/account")).json()["data"]["account"] == "bob"
    assert (await api.anonymous.get("/v1/account")).json()["code"] == 1001


async def test_a_task_contains_its_request_only_if_the_client_includes_it(api: Api) -> None:
    task = await api.create(
        "a wide poster, 21:9", result_type="series", series_amount=2, element_list=[{"element_id": 101}]
    )
    url = f"{PATH}/{task['task_id']}"
    original_request = {
        "model_name": "kling-v3-omni",
        "prompt": "a wide poster, 21:9",
        "result_type": "series",
        "series_amount": 2,
        "resolution": "1k",
        "aspect_ratio": "21:9",
        "watermark_info": {"enabled": False},
        "element_list": [{"element_id": 101}],
    }
    for path in (f"{url}?include=request", f"{url}?wait=0&include=request"):
        assert (await api.alice.get(path)).json()["data"]["request"] == original_request
    assert (await api.alice.get(f"{PATH}?include=request")).json()["data"][0]["request"] == original_request
    for path in (url, f"{url}?include=", f"{url}?include=all"):
        assert "request" not in (await api.alice.get(path)).json()["data"], (
            "without include, only the fields of the contract"
        )
    assert (await api.alice.post(PATH, json=original_request)).status_code == 200, "it can be sent again"


async def test_the_callbacks_of_a_task_are_listed(api: Api) -> None:
    task = await api.create(callback_url="https://receiver.example/hook", external_task_id="mine")
    assert (await api.alice.get(f"{PATH}/mine/callbacks")).json()["data"] == []
    await api.alice.post(f"{PATH}/mine/cancel")
    [message] = (await api.alice.get(f"{PATH}/{task['task_id']}/callbacks")).json()["data"]
    assert (message["task_status"], message["state"], message["tries"]) == ("failed", "waiting", 0)
    assert (message["url"], message["last_error"], message["next_try_at"]) == (
        "https://receiver.example/hook",
        "",
        None,
    )
    [claimed] = await claim_callbacks(
        api.deployment.db, limit=1, host_limits=HostLimits(), healthy=[], failing=[], lease=timedelta(seconds=30)
    )
    assert claimed.id == UUID(message["id"])
    await retry_callback(api.deployment.db, claimed, after=timedelta(seconds=60), code=503, error="HTTP 503")
    [message] = (await api.alice.get(f"{PATH}/mine/callbacks")).json()["data"]
    assert (message["tries"], message["last_code"], message["last_error"]) == (1, 503, "HTTP 503")
    assert message["advice"] == "See the log of the receiver."
    assert message["next_try_at"] > message["tried_at"]
    assert (await api.bob.get(f"{PATH}/mine/callbacks")).json()["code"] == 1201


async def test_an_external_id_that_ends_like_the_path_of_callbacks_is_found(api: Api) -> None:
    task = await api.create(external_task_id="batch/callbacks")
    data = (await api.alice.get(f"{PATH}/batch/callbacks")).json()["data"]
    assert data["task_id"] == task["task_id"]


async def create_sign_in_code(api: Api, **options: timedelta) -> str:
    return await create_code(api.deployment.db, api.deployment.caller.account_id, **options)


async def sign_in(api: Api, code: object, **headers: str) -> httpx.Response:
    return await api.anonymous.post("/console/sign-in", json={"code": code}, headers=headers)


async def test_a_sign_in_code_creates_one_key(api: Api) -> None:
    code = await create_sign_in_code(api)
    stored = await api.deployment.db.rows("select * from sign_in_codes")
    assert code not in str(stored), "the database stores only the hash of the code"
    answers = await asyncio.gather(*(sign_in(api, code) for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [200] + [401] * 7
    [data] = [answer.json()["data"] for answer in answers if answer.status_code == 200]
    mine = await api.anonymous.get("/v1/account", headers={"Authorization": f"Bearer {data['key']}"})
    assert mine.json()["data"]["account"] == data["account"] == "alice"
    assert data["key"][:11] in [entry["prefix"] for entry in mine.json()["data"]["keys"]]
    assert (await sign_in(api, code)).json()["code"] == 1002


@pytest.mark.parametrize("code", ["", "wrong", "x" * 101, "ä", 7, None, ["x"]])
async def test_invalid_sign_in_codes_are_refused(api: Api, code: object) -> None:
    await create_sign_in_code(api)
    assert (await sign_in(api, code)).json()["code"] in (1002, 1201)


async def test_a_sign_in_code_ends_when_it_expires_or_a_newer_code_is_created(api: Api) -> None:
    expired = await create_sign_in_code(api, life=timedelta(seconds=-1))
    assert (await sign_in(api, expired)).status_code == 401
    first, second = await create_sign_in_code(api), await create_sign_in_code(api)
    assert (await sign_in(api, first)).status_code == 401
    await account_store.set_account(
        api.deployment.db, "alice", concurrency=None, units_limit=None, no_limit=False, disabled=True
    )
    assert (await sign_in(api, second)).status_code == 401, "the account is disabled"


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Forwarded-For": "127.0.0.1"},
        {"X-Forwarded-For": "203.0.113.7"},
        {"Forwarded": "for=127.0.0.1"},
        {"Via": "1.1 proxy"},
        {"Host": "rebound.example"},
        {"Host": "203.0.113.7:8000"},
        {"Host": "[127.0.0.1"},
    ],
)
async def test_sign_in_works_only_on_this_machine_and_without_a_proxy(api: Api, headers: dict[str, str]) -> None:
    code = await create_sign_in_code(api)
    assert "only on the machine" in (await sign_in(api, code, **headers)).json()["message"]
    assert (await sign_in(api, code)).status_code == 200, "the refused request does not use the code"


async def test_a_form_of_another_page_cannot_sign_in(api: Api) -> None:
    body = json.dumps({"code": await create_sign_in_code(api)})
    sent = await api.anonymous.post("/console/sign-in", content=body, headers={"Content-Type": "text/plain"})
    assert sent.status_code == 415


async def test_finished_images_of_a_running_task_are_returned(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment({"engine": "previz"})
    async with serving(deployment) as api:
        deployment.start_worker()
        prompt = "Frame 1: a fox. Frame 2: an owl [sandbox: slow 60]."
        task_id = (await api.create(prompt, result_type="series"))["task_id"]
        url = f"{PATH}/{task_id}"

        async def finished_images() -> Any:
            return (await api.alice.get(f"{url}?include=pictures")).json()["data"].get("pictures")

        (image,) = await eventually(finished_images)
        assert image["index"] == 0
        answer = await api.anonymous.get(image["url"])
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
        plain = (await api.alice.get(url)).json()["data"]
        assert not plain.keys() & {"pictures", "request", "task_result"}, (
            "without include, only the fields of the contract"
        )
        both = (await api.alice.get(f"{url}?include=request,pictures")).json()["data"]
        assert {"pictures", "request"} <= both.keys()
        assert (await api.bob.get(f"{url}?include=pictures")).json()["code"] == 1201
        await api.alice.post(f"{url}/cancel")
        assert await finished_images() is None
