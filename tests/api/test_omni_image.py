"""The image API of the contract over real HTTP."""

import asyncio
import json
import time
from base64 import b64encode, encodebytes
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from framehouse.adapters.postgres import account_store
from framehouse.entrypoints.api.kling.request_schemas import OmniImageRequest
from tests.support.api_answers import BODY, error, json_values
from tests.support.api_server import PATH, Api, serving
from tests.support.eventually import eventually
from tests.support.image_files import image_base64, image_file
from tests.support.in_process_deployment import MakeDeployment


@pytest.mark.also_relayed
async def test_a_task_is_created_generated_and_served(api: Api) -> None:
    answer = await api.alice.post(
        PATH, json=BODY | {"n": 2, "external_task_id": "mine", "watermark_info": {"enabled": True}}
    )
    body = answer.json()
    assert answer.status_code == 200
    assert (body["code"], body["message"]) == (0, "SUCCEED")
    data = body["data"]
    assert set(data) == {"task_id", "task_info", "task_status", "created_at", "updated_at"}
    assert data["task_info"] == {"external_task_id": "mine"}
    assert data["task_status"] == "submitted"
    assert abs(data["created_at"] - time.time() * 1000) < 60_000
    before = (await api.alice.get(f"{PATH}/{data['task_id']}")).json()["data"]
    assert before["task_status"] == "submitted"
    assert before["task_status_msg"] == ""
    assert before["final_unit_deduction"] == "0"
    assert "task_result" not in before
    api.deployment.start_worker()
    after = await api.wait_for_task("mine")
    assert after["task_id"] == data["task_id"]
    assert after["task_status"] == "succeed"
    assert after["final_unit_deduction"] == "16"
    assert after["final_balance_deduction"] == {"quota": "0", "list_price": "0"}
    assert after["watermark_info"] == {"enabled": True}
    result = after["task_result"]
    assert (result["result_type"], result["series_images"]) == ("single", [])
    assert [image["index"] for image in result["images"]] == [0, 1]
    for image in result["images"]:
        for name in ("url", "watermark_url"):
            served = await api.anonymous.get(image[name])
            assert served.status_code == 200
            assert served.headers["content-type"] == "image/png"
            assert served.content.startswith(b"\x89PNG")
    assert after == await api.wait_for_task("mine"), "repeated polls return the same data, URLs included"


@pytest.mark.also_relayed
async def test_a_series_is_returned_in_series_images(api: Api) -> None:
    api.deployment.start_worker()
    task = await api.create("Create a three-frame product storyboard", result_type="series")
    result = (await api.wait_for_task(task["task_id"]))["task_result"]
    assert (result["result_type"], result["images"]) == ("series", [])
    assert [image["index"] for image in result["series_images"]] == [0, 1, 2]
    assert "watermark_url" not in result["series_images"][0]


@pytest.mark.parametrize("prefix", ["/kling", "", "/proxy/kling"])
async def test_every_path_prefix_serves_the_same_tasks(api: Api, prefix: str) -> None:
    path = f"{prefix}/v1/images/omni-image"
    task = (await api.alice.post(path, json=BODY)).json()["data"]
    assert (await api.alice.get(f"{path}/{task['task_id']}")).json()["data"]["task_id"] == task["task_id"]
    assert len((await api.alice.get(path)).json()["data"]) == 1


async def test_the_list_is_paged_with_the_newest_first(api: Api) -> None:
    ids = [(await api.create(f"fox {n}"))["task_id"] for n in range(5)]
    listed = (await api.alice.get(f"{PATH}?pageNum=1&pageSize=3")).json()["data"]
    assert [task["task_id"] for task in listed] == ids[:1:-1]
    second_page = (await api.alice.get(f"{PATH}?pageNum=2&pageSize=3")).json()["data"]
    assert [task["task_id"] for task in second_page] == ids[1::-1]
    assert (await api.bob.get(PATH)).json()["data"] == []


async def test_the_priority_of_a_task_is_low_or_normal(api: Api) -> None:
    for value, low in (("low", True), ("LOW", True), ("normal", False), (None, False)):
        headers = {"X-Framehouse-Priority": value} if value else {}
        answer = await api.alice.post(PATH, json=BODY, headers=headers)
        assert answer.status_code == 200, answer.text
        saved = "select low from batches where task_id = $1"
        assert await api.deployment.db.value(saved, UUID(answer.json()["data"]["task_id"])) is low
    for value in ("high", "", "\u00fc"):
        answer = await api.alice.post(PATH, json=BODY, headers=[(b"X-Framehouse-Priority", value.encode("latin-1"))])
        assert "X-Framehouse-Priority must be low or normal, not" in error(answer, 400, 1201)


@pytest.mark.parametrize(
    "query", ["pageNum=0", "pageNum=1001", "pageSize=0", "pageSize=501", "pageNum=x", "pageSize=1.5"]
)
async def test_page_parameters_out_of_range_are_refused(api: Api, query: str) -> None:
    assert query.split("=")[0] in error(await api.alice.get(f"{PATH}?{query}"), 400, 1201)


async def test_tasks_of_other_accounts_are_not_found(api: Api) -> None:
    task = await api.create(external_task_id="mine")
    for id in (task["task_id"], "mine", "nothing", "a%00b", "x" * 300, "..%2F..", "%F0%9F%A6%8A"):
        for answer in (await api.bob.get(f"{PATH}/{id}"), await api.bob.post(f"{PATH}/{id}/cancel")):
            assert error(answer, 400, 1201).startswith("Task not found by id/external id: ")


async def test_external_ids_may_contain_slashes_and_stay_unique(api: Api) -> None:
    name = "shop/42 ä#?%"
    task = await api.create(external_task_id=name)
    response = await api.alice.get(
        httpx.URL(api.url).copy_with(raw_path=f"{PATH}/shop%2F42%20%C3%A4%23%3F%25".encode())
    )
    assert response.json()["data"]["task_id"] == task["task_id"]
    await api.alice.post(f"{PATH}/{task['task_id']}/cancel")
    refused = await api.alice.post(PATH, json=BODY | {"external_task_id": name})
    assert error(refused, 400, 1201) == f"External_task_id {name} already exists"
    assert (await api.bob.post(PATH, json=BODY | {"external_task_id": name})).status_code == 200


async def test_a_slash_at_the_end_of_a_path_is_ignored_unless_it_belongs_to_an_external_id(api: Api) -> None:
    created = (await api.alice.post(f"{PATH}/", json=BODY | {"external_task_id": "mine"})).json()["data"]
    with_slash = await api.create(external_task_id="other/")
    for id, task in (("mine/", created), (f"{created['task_id']}/", created), ("other/", with_slash)):
        assert (await api.alice.get(f"{PATH}/{id}")).json()["data"]["task_id"] == task["task_id"]
    assert len((await api.alice.get(f"{PATH}/?pageSize=1")).json()["data"]) == 1
    assert error(await api.alice.get(f"{PATH}/none/"), 400, 1201) == "Task not found by id/external id: none"
    assert (await api.alice.post(f"{PATH}/mine/cancel/")).json()["data"]["task_status"] == "failed"
    assert (await api.alice.get(f"{PATH}/mine/callbacks/")).json()["data"] == []


@pytest.mark.also_relayed
async def test_a_poll_that_waits_returns_when_the_task_ends(api: Api) -> None:
    task = await api.create("slow 0.3")
    began = time.monotonic()
    unfinished = (await api.alice.get(f"{PATH}/{task['task_id']}?wait=1")).json()["data"]
    assert unfinished["task_status"] == "submitted"
    assert time.monotonic() - began >= 1
    began = time.monotonic()
    waiting = asyncio.create_task(
        api.alice.get(f"{PATH}/{task['task_id']}", headers={"Prefer": "respond-async, wait=60"})
    )
    await asyncio.sleep(0.1)
    api.deployment.start_worker()
    assert (await waiting).json()["data"]["task_status"] == "succeed"
    assert time.monotonic() - began < 30
    assert error(await api.alice.get(f"{PATH}/{task['task_id']}?wait=soon"), 400, 1201).startswith("wait must")


@pytest.mark.also_relayed
async def test_progress_is_reported_while_a_task_is_processed(api: Api) -> None:
    task = await api.create("slow 4")
    api.deployment.start_worker()

    async def progressing() -> dict[str, Any] | None:
        data: dict[str, Any] = (await api.alice.get(f"{PATH}/{task['task_id']}")).json()["data"]
        return data if 0 < data.get("progress", 0) < 1 else None

    assert (await eventually(progressing))["task_status"] == "processing"
    await api.alice.post(f"{PATH}/{task['task_id']}/cancel")


async def test_cancel_frees_quota_and_units_and_stops_the_engine_calls(api: Api) -> None:
    task = await api.create("hang", n=3)
    worker = api.deployment.start_worker(concurrency=3)
    account = await api.deployment.account()
    assert (account["images_in_flight"], account["units_reserved"]) == (3, 24)
    await eventually(lambda: holds_batches(worker, 3))
    canceled = (await api.alice.post(f"{PATH}/{task['task_id']}/cancel")).json()["data"]
    assert (canceled["task_status"], canceled["task_status_msg"]) == ("failed", "Canceled")
    assert canceled["final_unit_deduction"] == "0"
    await eventually(lambda: holds_batches(worker, 0))
    account = await api.deployment.account()
    assert (account["images_in_flight"], account["units_reserved"], account["units_used"]) == (0, 0, 0)
    repeated = (await api.alice.post(f"{PATH}/{task['task_id']}/cancel")).json()["data"]
    assert repeated == canceled, "a second cancel changes nothing"


async def holds_batches(worker: Any, count: int) -> bool:
    return len(worker.held) == count


@pytest.mark.also_relayed
async def test_the_concurrency_limit_counts_images(make_deployment: MakeDeployment) -> None:
    async with serving(await make_deployment(concurrency=5)) as api:
        await api.create(n=3)
        refused = await api.alice.post(PATH, json=BODY | {"n": 3})
        assert error(refused, 429, 1303) == "parallel task over resource pack limit"
        assert int(refused.headers["retry-after"]) > 0
        await api.create("two frames", result_type="series")
        error(await api.alice.post(PATH, json=BODY), 429, 1303)
        assert len((await api.alice.get(PATH)).json()["data"]) == 2, "refused tasks are not stored"


async def test_the_concurrency_limit_holds_for_a_hundred_simultaneous_requests(make_deployment: MakeDeployment) -> None:
    async with serving(await make_deployment(concurrency=20)) as api:
        answers = await asyncio.gather(*(api.alice.post(PATH, json=BODY | {"n": n % 3 + 1}) for n in range(100)))
        accepted_images = sum(n % 3 + 1 for n, answer in enumerate(answers) if answer.status_code == 200)
        assert {answer.json()["code"] for answer in answers} == {0, 1303}
        assert (await api.deployment.account())["images_in_flight"] == accepted_images <= 20
        assert accepted_images >= 18


async def test_units_are_reserved_until_the_limit_is_reached(make_deployment: MakeDeployment) -> None:
    async with serving(await make_deployment(units_limit=40)) as api:
        task = await api.create(resolution="4K", n=2)
        assert "8 units left, 16 needed" in error(await api.alice.post(PATH, json=BODY | {"n": 2}), 429, 1102)
        await api.alice.post(f"{PATH}/{task['task_id']}/cancel")
        await api.create(n=5)


async def test_a_repeated_idempotency_key_returns_the_first_task(api: Api) -> None:
    headers = {"Idempotency-Key": "k1"}
    first, *others = await asyncio.gather(*(api.alice.post(PATH, json=BODY, headers=headers) for _ in range(5)))
    assert {answer.json()["data"]["task_id"] for answer in others} == {first.json()["data"]["task_id"]}
    assert sum("idempotency-replayed" in answer.headers for answer in (first, *others)) == 4
    assert first.json()["data"] == others[0].json()["data"]
    assert "another body" in error(await api.alice.post(PATH, json=BODY | {"n": 2}, headers=headers), 400, 1201)
    assert (await api.bob.post(PATH, json=BODY, headers=headers)).headers.get("idempotency-replayed") is None
    assert (await api.deployment.account())["images_in_flight"] == 1


@pytest.mark.parametrize(
    ("content", "content_type", "status"),
    [
        (b"", "application/json", 400),
        (b"{", "application/json", 400),
        (b"\xff\xfe", "application/json", 400),
        (b'{"n": NaN}', "application/json", 400),
        (b"[" * 100_000, "application/json", 400),
        (b"{}", "text/plain", 415),
        (b"{}", "multipart/form-data", 415),
        (b" " * 2001, "application/json", 413),
    ],
)
async def test_bodies_that_are_not_json_are_refused(
    make_deployment: MakeDeployment, content: bytes, content_type: str, status: int
) -> None:
    async with serving(await make_deployment(), max_body_bytes=2000 if status == 413 else 10**8) as api:
        error(await api.alice.post(PATH, content=content, headers={"Content-Type": content_type}), status, 1200)


async def test_a_body_without_a_length_is_refused_at_the_limit(make_deployment: MakeDeployment) -> None:
    async def endless() -> Any:
        for _ in range(1000):
            yield b" " * 1000

    async with serving(await make_deployment(), max_body_bytes=5000) as api:
        answer = await api.alice.post(PATH, content=endless(), headers={"Content-Type": "application/json"})
        error(answer, 413, 1200)


@pytest.mark.parametrize("body", [[], "x", 5, None, True])
async def test_bodies_that_are_not_objects_are_refused(api: Api, body: object) -> None:
    error(await api.alice.post(PATH, content=json.dumps(body), headers={"Content-Type": "application/json"}), 400, 1201)


async def test_all_problems_of_a_request_are_in_one_message(api: Api) -> None:
    message = error(
        await api.alice.post(PATH, json={"model_name": "kling-v3-omni", "n": True, "resolution": "8k"}), 400, 1201
    )
    assert all(word in message for word in ("prompt", "n must be an integer from 1 to 9", "resolution"))
    error(await api.alice.post(PATH, json=BODY | {"model_name": "dall-e"}), 404, 1203)
    assert "element_list[0].element_id 77" in error(
        await api.alice.post(PATH, json=BODY | {"element_list": [{"element_id": 77}]}), 400, 1201
    )


async def test_problems_of_all_kinds_are_in_one_message(api: Api) -> None:
    bad = {"n": 99, "image_list": [{"image": "bm90IGEgcGljdHVyZQ=="}], "element_list": [{"element_id": 9}]}
    message = error(await api.alice.post(PATH, json=BODY | bad), 400, 1201)
    assert all(name in message for name in ("n must", "image_list[0].image", "element_list[0].element_id 9"))


async def test_base64_may_have_line_breaks_and_damaged_images_cause_no_server_error(api: Api) -> None:
    wrapped = encodebytes(image_file()).decode()
    assert (await api.alice.post(PATH, json=BODY | {"image_list": [{"image": wrapped}]})).status_code == 200
    for cut in (60, 200, 300):
        damaged = b64encode(image_file()[:cut]).decode()
        answer = await api.alice.post(PATH, json=BODY | {"image_list": [{"image": damaged}]})
        assert answer.status_code in (200, 400)


@pytest.mark.also_relayed
async def test_the_first_cited_reference_determines_the_aspect_ratio_and_references_are_checked(api: Api) -> None:
    images = [{"image": image_base64(900, 600)}, {"image": "data:image/jpeg;base64," + image_base64(400, 300, "JPEG")}]
    task = await api.create("<<<image_1>>> and <<<image_2>>>", image_list=images)
    api.deployment.start_worker()
    url = (await api.wait_for_task(task["task_id"]))["task_result"]["images"][0]["url"]
    header = (await api.anonymous.get(url)).content[16:24]
    assert (int.from_bytes(header[:4], "big"), int.from_bytes(header[4:], "big")) == (1248, 832)
    bad = [{"image": image_base64(200, 600)}, {"image": "bm90IGEgcGljdHVyZQ=="}, {"image": "!!"}, {"image": "data:x"}]
    message = error(await api.alice.post(PATH, json=BODY | {"image_list": bad}), 400, 1201)
    for index, word in enumerate(("at least 300", "is a text; accepted types: jpg, png", "base64", "data URL")):
        assert f"image_list[{index}].image" in message
        assert word in message


async def test_unknown_paths_and_methods_are_refused(api: Api) -> None:
    message = error(await api.alice.get("/kling/v1/images/omni-images"), 404, 1202)
    assert message == (
        "no such path: /kling/v1/images/omni-images; the most similar path is /kling/v1/images/omni-image"
    )
    refused = await api.alice.delete(PATH)
    error(refused, 405, 1202)
    assert refused.headers["Allow"] == "GET, POST"
    refused = await api.anonymous.post("/presets/none.png")
    error(refused, 405, 1202)
    assert refused.headers["Allow"] == "GET, HEAD"
    error(await api.anonymous.get("/images/..%2F..%2Fetc%2Fpasswd"), 404, 1203)


async def test_valid_request_ids_are_returned(api: Api) -> None:
    answer = await api.alice.get(PATH, headers={"X-Request-Id": "my.request_id-1"})
    assert answer.headers["x-request-id"] == answer.json()["request_id"] == "my.request_id-1"
    for bad in ("a b", "x" * 129, "ä"):
        answer = await api.alice.get(PATH, headers=[(b"X-Request-Id", bad.encode())])
        assert answer.headers["x-request-id"] != bad


async def test_health_docs_and_console_are_served(api: Api) -> None:
    assert (await api.anonymous.get("/healthz")).json()["status"] == "ok"
    assert (await api.anonymous.get("/readyz")).json()["checks"] == {"database": "ok", "storage": "ok"}
    for path in ("/docs", "/docs/swagger-ui-bundle.js", "/docs/start.js", "/docs//start.js", "/openapi.json"):
        answer = await api.anonymous.get(path)
        assert answer.status_code == 200
    page = (await api.anonymous.get("/docs")).text
    assert "http" not in page.replace("http-equiv", ""), "the page works offline"
    assert 'href="docs"' in (await api.anonymous.get("/")).text


async def test_too_many_requests_per_second_are_refused(
    make_deployment: MakeDeployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0  # the clock of the limit
    monkeypatch.setattr("framehouse.entrypoints.api.rate_limit.time", SimpleNamespace(monotonic=lambda: now))
    async with serving(await make_deployment(), requests_per_second=3) as api:
        answers = [await api.alice.get(PATH) for _ in range(6)]
        assert [a.status_code for a in answers] == [200] * 3 + [429] * 3
        error(answers[-1], 429, 1302)
        assert int(answers[-1].headers["retry-after"]) >= 1
        assert (await api.bob.get(PATH)).status_code == 200
        now += 0.4  # one more request is allowed every third of a second
        assert [(await api.alice.get(PATH)).status_code for _ in range(2)] == [200, 429]


async def test_disabled_accounts_and_keys_without_the_model_are_refused(api: Api) -> None:
    account = await api.deployment.account()
    key = await account_store.create_key(api.deployment.db, account["id"], models=["kling-image-o1"])
    only_o1 = {"Authorization": f"Bearer {key}"}
    error(await api.anonymous.post(PATH, json=BODY, headers=only_o1), 403, 1103)
    assert (
        await api.anonymous.post(PATH, json=BODY | {"model_name": "kling-image-o1"}, headers=only_o1)
    ).status_code == 200
    await account_store.set_account(
        api.deployment.db, "alice", concurrency=None, units_limit=None, no_limit=False, disabled=True
    )
    error(await api.alice.get(PATH), 429, 1100)


FIELDS = tuple(OmniImageRequest.model_fields)


@settings(max_examples=1, suppress_health_check=list(HealthCheck))
@given(bodies=st.lists(st.dictionaries(st.sampled_from(FIELDS), json_values), min_size=200, max_size=200))
async def test_no_body_causes_a_server_error(api: Api, bodies: list[dict[str, Any]]) -> None:
    for fields in bodies:
        answer = await api.alice.post(PATH, json=BODY | fields)
        assert answer.status_code < 500, answer.text
