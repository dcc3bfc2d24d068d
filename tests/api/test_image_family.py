"""The endpoints of the image family other than omni-image, over HTTP."""

import base64
import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from framehouse.domain.task_kind import TASK_PATHS, TaskKind
from tests.support.api_answers import error
from tests.support.api_server import Api, serving
from tests.support.callbacks import LINKS, running_callback_worker, wait_for_callbacks
from tests.support.image_files import image_base64
from tests.support.in_process_deployment import MakeDeployment
from tests.support.receivers import receiving

IMAGE = image_base64()
BODIES: dict[TaskKind, dict[str, Any]] = {
    "generations": {"model_name": "kling-v3-omni", "prompt": "a fox", "image": IMAGE, "image_reference": "subject"},
    "multi-image2image": {
        "model_name": "kling-v3-omni",
        "prompt": "a fox",
        "subject_image_list": [{"subject_image": IMAGE}],
        "style_image": IMAGE,
    },
    "expand": {"model_name": "kling-v3-omni", "image": IMAGE, "left_expansion_ratio": 0.5},
    "try-on": {"model_name": "kling-v3-omni", "human_image": IMAGE, "cloth_image": IMAGE},
}
KINDS = list(BODIES)


@pytest.fixture
async def previz_api(make_deployment: MakeDeployment) -> Any:
    async with serving(await make_deployment({"engine": "previz"})) as api:
        yield api


async def create(api: Api, kind: TaskKind, prefix: str = "/kling", **fields: Any) -> dict[str, Any]:
    answer = await api.alice.post(prefix + TASK_PATHS[kind], json=BODIES[kind] | fields)
    assert answer.status_code == 200, answer.text
    data: dict[str, Any] = answer.json()["data"]
    return data


async def wait(api: Api, kind: TaskKind, id: str) -> dict[str, Any]:
    data: dict[str, Any] = (await api.alice.get(f"/kling{TASK_PATHS[kind]}/{id}?wait=30")).json()["data"]
    assert data["task_status"] in ("succeed", "failed"), data
    return data


@pytest.mark.also_relayed
@pytest.mark.parametrize("kind", KINDS)
async def test_a_task_is_created_generated_and_served_at_its_endpoint(previz_api: Api, kind: TaskKind) -> None:
    api = previz_api
    created = await create(api, kind, external_task_id="mine", watermark_info={"enabled": True})
    assert set(created) == {"task_id", "task_info", "task_status", "created_at", "updated_at"}
    assert (created["task_info"], created["task_status"]) == ({"external_task_id": "mine"}, "submitted")
    api.deployment.start_worker()
    task = await wait(api, kind, "mine")
    assert (task["task_status"], task["task_id"]) == ("succeed", created["task_id"])
    assert task["final_unit_deduction"] == "8"
    assert task["final_balance_deduction"] == {"quota": "0", "list_price": "0"}
    assert set(task["task_result"]) == {"images"}
    (image,) = task["task_result"]["images"]
    assert set(image) == {"index", "url", "watermark_url"}
    for name in ("url", "watermark_url"):
        served = await api.anonymous.get(image[name])
        assert (served.status_code, served.headers["content-type"]) == (200, "image/png")
    account = await api.deployment.account()
    assert (account["images_in_flight"], account["units_used"]) == (0, 8)


@pytest.mark.parametrize("kind", ["generations", "multi-image2image", "try-on"])
async def test_the_result_is_an_empty_object_until_the_task_has_succeeded(api: Api, kind: TaskKind) -> None:
    task = await create(api, kind)
    path = f"/kling{TASK_PATHS[kind]}"
    for _ in range(2):
        assert (await api.alice.get(f"{path}/{task['task_id']}")).json()["data"]["task_result"] == {}
        assert (await api.alice.get(path)).json()["data"][0]["task_result"] == {}
        await api.alice.post(f"{path}/{task['task_id']}/cancel")


async def test_a_task_is_found_and_listed_only_at_its_own_endpoint(api: Api) -> None:
    own = {"model_name": "kling-v3-omni", "prompt": "a fox"}
    ids = {kind: (await create(api, kind))["task_id"] for kind in KINDS if kind != "expand"}
    ids["omni-image"] = (await api.create())["task_id"]
    for kind, id in ids.items():
        for other in ids:
            answer = await api.alice.get(f"/kling{TASK_PATHS[other]}/{id}")
            if kind == other:
                assert answer.json()["data"]["task_id"] == id
            else:
                assert error(answer, 400, 1201) == f"Task not found by id/external id: {id}"
        listed = (await api.alice.get(f"/kling{TASK_PATHS[kind]}?include=request")).json()["data"]
        assert [task["task_id"] for task in listed] == [id]
    everything = (await api.alice.get("/kling/v1/tasks?pageSize=3&include=request")).json()["data"]
    assert [(task["task_id"], task["kind"]) for task in everything] == [
        (id, kind) for kind, id in list(ids.items())[::-1]
    ][:3]
    assert (await api.alice.get(f"/kling/v1/tasks/{ids['try-on']}")).json()["data"]["kind"] == "try-on"
    error(await api.bob.get(f"/kling/v1/tasks/{ids['try-on']}"), 400, 1201)
    error(await api.alice.post("/kling/v1/tasks", json=own), 405, 1202)


@pytest.mark.parametrize("prefix", ["/kling", "", "/proxy/kling"])
async def test_every_path_prefix_serves_the_same_tasks(api: Api, prefix: str) -> None:
    task = await create(api, "generations", prefix)
    assert (await api.alice.get(f"{prefix}/v1/images/generations/{task['task_id']}/")).status_code == 200
    assert len((await api.alice.get(f"{prefix}/v1/images/generations/")).json()["data"]) == 1


async def test_external_ids_are_unique_over_all_endpoints(api: Api) -> None:
    await create(api, "generations", external_task_id="mine")
    for path, body in (
        (TASK_PATHS["try-on"], BODIES["try-on"]),
        (TASK_PATHS["omni-image"], {"model_name": "kling-v3-omni", "prompt": "a fox"}),
    ):
        refused = await api.alice.post(f"/kling{path}", json=body | {"external_task_id": "mine"})
        assert error(refused, 400, 1201) == "External_task_id mine already exists"


@pytest.mark.parametrize("kind", ["generations", "multi-image2image", "try-on"])
async def test_tasks_can_be_canceled_and_release_their_quota(api: Api, kind: TaskKind) -> None:
    task = await create(api, kind)
    path = f"/kling{TASK_PATHS[kind]}/{task['task_id']}"
    canceled = (await api.alice.post(f"{path}/cancel")).json()["data"]
    assert (canceled["task_status"], canceled["task_status_msg"]) == ("failed", "Canceled")
    assert (await api.deployment.account())["images_in_flight"] == 0
    assert (await api.alice.get(f"{path}/callbacks")).json()["data"] == []


@pytest.mark.parametrize("kind", KINDS)
async def test_a_repeated_idempotency_key_returns_the_first_task(previz_api: Api, kind: TaskKind) -> None:
    path, headers = f"/kling{TASK_PATHS[kind]}", {"Idempotency-Key": "once"}
    first, second = [await previz_api.alice.post(path, json=BODIES[kind], headers=headers) for _ in range(2)]
    assert first.json()["data"]["task_id"] == second.json()["data"]["task_id"]
    assert second.headers["Idempotency-Replayed"] == "true"


async def test_an_idempotency_key_belongs_to_one_endpoint(api: Api) -> None:
    headers, body = {"Idempotency-Key": "once"}, {"model_name": "kling-v3-omni", "prompt": "a fox"}
    assert (await api.alice.post("/kling/v1/images/generations", json=body, headers=headers)).status_code == 200
    for path in ("/kling/v1/images/omni-image", "/kling/v1/images/editing/expand"):
        error(await api.alice.post(path, json=body, headers=headers), 400, 1201)


async def test_references_that_an_endpoint_does_not_use_are_refused(api: Api) -> None:
    unused: list[tuple[TaskKind, str, Any]] = [
        ("multi-image2image", "image", IMAGE),
        ("multi-image2image", "element_list", [{"element_id": 101}]),
        ("try-on", "image_list", [{"image": IMAGE}]),
        ("generations", "subject_image_list", [{"subject_image": IMAGE}]),
    ]
    for kind, name, value in unused:
        refused = await api.alice.post(f"/kling{TASK_PATHS[kind]}", json=BODIES[kind] | {name: value})
        assert f"{name} is not used by this endpoint; its reference fields are" in error(refused, 400, 1201)
        empty_values: list[Any] = ["", [], None]
        for empty in empty_values:
            accepted = await api.alice.post(f"/kling{TASK_PATHS[kind]}", json=BODIES[kind] | {name: empty})
            assert accepted.status_code == 200
    two = {"image_list": [{"image": "http://a.example/1.png", "url": "http://a.example/2.png"}]}
    refused = await api.alice.post(
        "/kling/v1/images/omni-image", json={"prompt": "a", "model_name": "kling-v3-omni"} | two
    )
    assert error(refused, 400, 1201).startswith("image_list[0] contains several images: image, url")


async def test_quota_counts_the_images_of_all_kinds(make_deployment: MakeDeployment) -> None:
    async with serving(await make_deployment(concurrency=4)) as api:
        await create(api, "generations", n=2)
        await create(api, "try-on")
        refused = await api.alice.post("/kling/v1/images/generations", json=BODIES["generations"] | {"n": 2})
        assert error(refused, 429, 1303) == "parallel task over resource pack limit"
        await create(api, "multi-image2image", n=1)


async def test_problems_with_images_name_their_fields(api: Api) -> None:
    small = image_base64(200, 600)
    body = {
        "model_name": "kling-v3-omni",
        "subject_image_list": [{"subject_image": IMAGE}, {"image": small}],
        "scene_image": "!!",
        "style_image": small,
    }
    message = error(await api.alice.post("/kling/v1/images/multi-image2image", json=body), 400, 1201)
    for part in (
        "subject_image_list[1].image is 200x600 px",
        "scene_image is neither an http(s) URL nor valid base64",
        "style_image is 200x600 px",
    ):
        assert part in message


async def test_an_image_that_cannot_be_fetched_is_named_by_its_field(api: Api) -> None:
    api.deployment.start_worker()
    task = await create(api, "try-on", cloth_image="http://127.0.0.1:1/a.png")
    failed = await wait(api, "try-on", task["task_id"])
    assert failed["task_status_msg"].startswith("cloth_image ")


async def test_an_engine_that_cannot_expand_is_refused(api: Api) -> None:
    refused = await api.alice.post("/kling/v1/images/editing/expand", json=BODIES["expand"])
    assert error(refused, 400, 1201) == (
        "model_name kling-v3-omni cannot expand images, because none of its engines can"
    )


async def test_an_expansion_uses_the_first_route_that_can_expand(make_deployment: MakeDeployment) -> None:
    misbehaving = {"engine": "framehouse.testing.misbehaving:Misbehaving"}
    async with serving(await make_deployment(misbehaving, {"engine": "previz"})) as api:
        api.deployment.start_worker()
        task = await create(api, "expand")
        assert (await wait(api, "expand", task["task_id"]))["task_status"] == "succeed"


@pytest.mark.also_relayed
async def test_an_expanded_image_keeps_the_pixels_of_the_original(previz_api: Api) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (401, 603, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    image = base64.b64encode(buffer.getvalue()).decode()
    previz_api.deployment.start_worker()
    ratios: dict[str, Any] = {"up_expansion_ratio": 0.25, "left_expansion_ratio": 0.5, "right_expansion_ratio": 0.1}
    task = await create(previz_api, "expand", image=image, n=2, **ratios)
    images = (await wait(previz_api, "expand", task["task_id"]))["task_result"]["images"]
    assert len(images) == 2
    for entry in images:
        expanded = np.asarray(Image.open(io.BytesIO((await previz_api.anonymous.get(entry["url"])).content)))
        assert expanded.shape == (502, 966, 3)
        assert np.array_equal(expanded[100:501, 302:905], pixels)


async def test_the_metadata_name_what_the_engine_does_not_use(make_deployment: MakeDeployment) -> None:
    async with serving(await make_deployment({"engine": "previz"})) as api:
        api.deployment.start_worker()
        task = await create(api, "generations", negative_prompt="rain", image_fidelity=0.7)
        (entry,) = (await wait(api, "generations", task["task_id"]))["task_result"]["images"]
        text = Image.open(io.BytesIO((await api.anonymous.get(entry["url"])).content)).text  # type: ignore[attr-defined]
        assert any('"not_used":"image_fidelity"' in value for value in text.values()), text


async def test_the_request_of_a_task_can_be_included(api: Api) -> None:
    task = await create(api, "generations", negative_prompt="rain", human_fidelity=0.1, n=2)
    found = await api.alice.get(f"/kling/v1/images/generations/{task['task_id']}?include=request")
    assert found.json()["data"]["request"] == {
        "model_name": "kling-v3-omni",
        "prompt": "a fox",
        "n": 2,
        "resolution": "1k",
        "aspect_ratio": "16:9",
        "watermark_info": {"enabled": False},
        "negative_prompt": "rain",
        "human_fidelity": 0.1,
    }


@pytest.mark.parametrize("kind", ["generations", "expand"])
async def test_the_body_of_a_callback_equals_the_response_of_get(
    make_deployment: MakeDeployment, kind: TaskKind
) -> None:
    deployment = await make_deployment({"engine": "previz"})
    async with serving(deployment, links=LINKS) as api, receiving() as receiver, running_callback_worker(deployment):
        task = await create(api, kind, callback_url=receiver.url)
        deployment.start_worker()
        await wait_for_callbacks(receiver, 2)
        path = f"/kling{TASK_PATHS[kind]}/{task['task_id']}"
        assert receiver.received[-1].data == (await api.alice.get(path)).json()["data"]
