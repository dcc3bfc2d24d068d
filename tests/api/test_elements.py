"""The element library, and citations of elements in prompts, over real HTTP."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import ANY

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from framehouse.adapters.presets import preset_image, presets
from framehouse.entrypoints.api.kling.element_schemas import CreateElementRequest
from tests.support.api_answers import BODY, error, json_values
from tests.support.api_server import ELEMENTS, PATH, Api, element_body, serving
from tests.support.image_files import image_base64, image_file
from tests.support.in_process_deployment import MISBEHAVING, MakeDeployment

PRESETS = "/kling/v1/general/advanced-presets-elements"
DELETE = "/kling/v1/general/delete-elements"


async def test_an_element_is_created_saved_and_served(api: Api) -> None:
    task = await api.create_element(external_task_id="mine", tag_list=[{"tag_id": "o_104"}, {"tag_id": "o_105"}])
    assert set(task) == {"task_id", "task_info", "task_status", "created_at", "updated_at"}
    assert (task["task_info"], task["task_status"]) == ({"external_task_id": "mine"}, "submitted")
    before = (await api.alice.get(f"{ELEMENTS}/mine")).json()["data"]
    assert (before["task_status"], "task_result" in before) == ("submitted", False)
    api.deployment.start_element_worker()
    saved = await api.wait_for_element(task["task_id"])
    assert saved | {"updated_at": 0} == task | {
        "task_status": "succeed",
        "task_status_msg": "",
        "final_unit_deduction": "0",
        "final_balance_deduction": {"quota": "0", "list_price": "0"},
        "updated_at": 0,
        "task_result": ANY,
    }
    (element,) = saved["task_result"]["elements"]
    id = element["element_id"]
    assert isinstance(id, int)
    assert 2**40 <= id < 2**53
    assert element == {
        "element_id": id,
        "element_name": "Red bag",
        "element_description": "A red bag",
        "reference_type": "image_refer",
        "element_image_list": {"frontal_image": ANY, "refer_images": [{"image_url": ANY}]},
        "tag_list": [
            {"id": "o_104", "name": "Item", "description": "props and objects"},
            {"id": "o_105", "name": "Costume", "description": "clothing and accessories"},
        ],
        "owned_by": str(api.deployment.caller.account_id),
        "status": "succeed",
        "element_video_list": {},
        "element_voice_info": {},
    }
    for any_id in ("mine", str(id)):
        assert await api.wait_for_element(any_id) == saved
    url = element["element_image_list"]["frontal_image"]
    image = await api.anonymous.get(url)
    assert (image.content, image.headers["content-type"]) == (image_file(600, 400), "image/png")
    error(await api.anonymous.get(url.replace("signature=", "signature=0")), 404, 1203)
    account = await api.deployment.account()
    assert (account["images_in_flight"], account["units_used"]) == (0, 0)


@pytest.mark.parametrize("prefix", ["/kling", "", "/proxy/kling"])
@pytest.mark.parametrize(
    ("own", "preset", "delete"),
    [
        ("advanced-custom-elements", "advanced-presets-elements", "delete-elements"),
        ("custom-elements", "presets-elements", "delete-advanced-elements"),
        ("custom-elements/", "presets-elements/", "delete-advanced-elements/"),
    ],
)
async def test_every_prefix_and_the_old_paths_behave_the_same(
    api: Api, prefix: str, own: str, preset: str, delete: str
) -> None:
    api.deployment.start_element_worker()
    base = f"{prefix}/v1/general"
    old_body = {
        "element_name": "Old",
        "element_description": "With the old, flat fields",
        "element_frontal_image": image_base64(format="JPEG"),
        "element_refer_list": [{"image_url": "data:image/png;base64," + image_base64()}],
    }
    for body in (old_body, element_body()):
        task = (await api.alice.post(f"{base}/{own}", json=body)).json()["data"]
        saved = await api.wait_for_element(task["task_id"])
        path = f"{base}/{own.rstrip('/')}/{task['task_id']}"
        assert (await api.alice.get(path)).json()["data"] == saved
    listed = (await api.alice.get(f"{base}/{own}")).json()["data"]
    assert listed[0] == saved
    assert len(listed) == 2
    assert len((await api.alice.get(f"{base}/{preset}")).json()["data"]) == len(presets())
    id = saved["task_result"]["elements"][0]["element_id"]
    answer = (await api.alice.post(f"{base}/{delete}", json={"element_id": str(id)})).json()["data"]
    assert answer == {"task_id": task["task_id"], "task_status": "succeed"}
    assert len((await api.alice.get(f"{base}/{own}")).json()["data"]) == 1


async def test_all_problems_of_an_element_are_in_one_message(api: Api) -> None:
    bad: dict[str, Any] = {
        "element_name": "x" * 21,
        "element_description": "y" * 101,
        "element_image_list": {
            "frontal_image": image_base64(200, 600),
            "refer_images": [{"image_url": "!!"}, {"image_url": "http://"}, {"image_url": ""}],
        },
        "tag_list": [{"tag_id": "o_109"}],
        "callback_url": "ftp://x",
        "external_task_id": "z" * 256,
    }
    message = error(await api.alice.post(ELEMENTS, json=bad), 400, 1201)
    for problem in (
        "element_name has 21 characters; at most 20",
        "element_description has 101 characters; at most 100",
        "element_image_list.frontal_image is 200x600 px; both sides must be at least 300 px",
        "element_image_list.refer_images[0].image_url is neither an http(s) URL nor valid base64",
        "element_image_list.refer_images[1].image_url must be an http or https URL",
        "element_image_list.refer_images[2].image_url is required",
        "tag_list[0].tag_id must be one of o_101",
        "callback_url must be",
        "external_task_id has 256",
    ):
        assert problem in message
    assert (await api.alice.get(ELEMENTS)).json()["data"] == []


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"element_name": " "}, "element_name is required"),
        ({"element_description": None}, "element_description is required"),
        ({"reference_type": "video_refer"}, "reference_type video_refer is not supported"),
        ({"reference_type": "images"}, "reference_type must be one of image_refer"),
        ({"element_image_list": None}, "element_image_list is required"),
        ({"element_image_list": "x"}, "element_image_list must be an object"),
        ({"element_image_list": {"refer_images": [{"image_url": "AA=="}]}}, "element_image_list.frontal_image is requ"),
        ({"element_image_list": {"frontal_image": 5, "refer_images": []}}, "element_image_list.frontal_image must be"),
        (
            {"element_image_list": {"frontal_image": "A", "refer_images": [{"image_url": "A"}] * 4}},
            "element_image_list.refer_images has 4 entries; at most 3 are allowed",
        ),
        ({"element_image_list": None, "element_refer_list": [{"image_url": "!"}]}, "element_frontal_image is required"),
        (
            {"element_image_list": None, "element_frontal_image": "!", "element_refer_list": [{"image_url": "!"}]},
            "element_refer_list[0].image_url is neither",
        ),
        ({"tag_list": "o_101"}, "tag_list must be a list"),
    ],
)
async def test_invalid_elements_are_refused(api: Api, fields: dict[str, Any], problem: str) -> None:
    assert problem in error(await api.alice.post(ELEMENTS, json=element_body(**fields)), 400, 1201)


@pytest.mark.parametrize(
    "fields",
    [
        {"element_image_list": {"frontal_image": image_base64()}},
        {"element_image_list": {"frontal_image": image_base64(), "refer_images": []}},
        {"element_image_list": None, "element_frontal_image": image_base64(), "element_refer_list": []},
    ],
)
async def test_a_frontal_image_alone_is_enough(api: Api, fields: dict[str, Any]) -> None:
    api.deployment.start_element_worker()
    task = await api.wait_for_element((await api.create_element(**fields))["task_id"])
    images = task["task_result"]["elements"][0]["element_image_list"]
    assert (await api.anonymous.get(images["frontal_image"])).status_code == 200
    assert images["refer_images"] == []


async def test_an_element_at_the_limits_is_accepted(api: Api) -> None:
    images = {"frontal_image": image_base64(), "refer_images": [{"image_url": image_base64()}] * 3}
    api.deployment.start_element_worker()
    assert await api.save_element(
        element_name="语" * 20,
        element_description="述" * 100,
        element_image_list=images,
        reference_type="image_refer",
        tag_list=[],
        callback_url="",
        element_voice_id="ignored",
    )


async def test_external_ids_of_elements_stay_unique_after_deletion(api: Api) -> None:
    api.deployment.start_element_worker()
    id = await api.save_element(external_task_id="shop/1")
    await api.alice.post(DELETE, json={"element_id": id})
    refused = await api.alice.post(ELEMENTS, json=element_body(external_task_id="shop/1"))
    assert error(refused, 400, 1201) == "External_task_id shop/1 already exists"
    assert (await api.bob.post(ELEMENTS, json=element_body(external_task_id="shop/1"))).status_code == 200
    assert (await api.alice.post(PATH, json=BODY | {"external_task_id": "shop/1"})).status_code == 200


async def test_a_repeated_idempotency_key_returns_the_first_element_task(api: Api) -> None:
    headers = {"Idempotency-Key": "k1"}
    answers = await asyncio.gather(*(api.alice.post(ELEMENTS, json=element_body(), headers=headers) for _ in range(4)))
    assert len({answer.json()["data"]["task_id"] for answer in answers}) == 1
    assert sum("idempotency-replayed" in answer.headers for answer in answers) == 3
    other = await api.alice.post(ELEMENTS, json=element_body(element_name="x"), headers=headers)
    assert "another body" in error(other, 400, 1201)


async def test_elements_of_other_accounts_are_not_found(api: Api) -> None:
    api.deployment.start_element_worker()
    id = await api.save_element(external_task_id="mine")
    assert (await api.bob.get(ELEMENTS)).json()["data"] == []
    for any_id in (
        id,
        "mine",
        (await api.wait_for_element("mine"))["task_id"],
        "nothing",
        "a%00b",
        2**70,
        -1,
        "x" * 300,
    ):
        assert "Task not found by id/external id: " in error(await api.bob.get(f"{ELEMENTS}/{any_id}"), 400, 1201)
    assert "does not exist" in error(await api.bob.post(DELETE, json={"element_id": id}), 400, 1201)
    refused = await api.bob.post(PATH, json=BODY | {"element_list": [{"element_id": id}]})
    assert error(refused, 400, 1201) == f"element_list[0].element_id {id} does not exist"


async def test_lists_are_paged_with_the_newest_first(api: Api) -> None:
    ids = [(await api.create_element())["task_id"] for _ in range(3)]
    listed = (await api.alice.get(f"{ELEMENTS}?pageNum=1&pageSize=2")).json()["data"]
    assert [task["task_id"] for task in listed] == [ids[2], ids[1]]
    second_page = (await api.alice.get(f"{ELEMENTS}?pageNum=2&pageSize=2")).json()["data"]
    assert [task["task_id"] for task in second_page] == [ids[0]]
    for path in (ELEMENTS, PRESETS):
        assert "pageNum" in error(await api.alice.get(f"{path}?pageNum=0"), 400, 1201)
        error(await api.anonymous.get(path), 401, 1001)
    preset_page = (await api.alice.get(f"{PRESETS}?pageNum=2&pageSize=3")).json()["data"]
    assert [task["task_id"] for task in preset_page] == ["104", "105", "106"]


async def test_presets_can_be_listed_and_used_but_not_deleted(make_deployment: MakeDeployment, tmp_path: Path) -> None:
    engine_log = tmp_path / "engine.log"
    async with serving(await make_deployment({"engine": MISBEHAVING, "notes": str(engine_log)})) as api:
        listed = (await api.alice.get(PRESETS)).json()["data"]
        assert [task["task_result"]["elements"][0]["element_id"] for task in listed] == list(presets())
        (robot,) = listed[0]["task_result"]["elements"]
        assert (robot["element_name"], robot["owned_by"], robot["status"]) == ("Robot", "framehouse", "succeed")
        served = await api.anonymous.get(robot["element_image_list"]["frontal_image"])
        assert (served.status_code, served.headers["content-type"]) == (200, "image/png")
        assert (await api.alice.get(f"{ELEMENTS}/101")).json()["data"] == listed[0]
        assert "is a preset" in error(await api.alice.post(DELETE, json={"element_id": 101}), 400, 1201)
        task = await api.create("<<<element_1>>>", element_list=[{"element_id": "101"}, {"element_id": 107}])
        api.deployment.start_worker()
        assert (await api.wait_for_task(task["task_id"]))["task_status"] == "succeed"
    elements = [
        f"{e.name}|{e.description}|{[len(preset_image(image.key)) for image in e.images]}"
        for e in (presets()[101], presets()[107])
    ]
    assert engine_log.read_text().splitlines()[0] == "with " + " ".join(elements)


@pytest.mark.parametrize(
    "body", [[], {}, {"element_id": ""}, {"element_id": True}, {"element_id": "x"}, {"element_id": -1}]
)
async def test_delete_refuses_invalid_element_ids(api: Api, body: Any) -> None:
    assert "element_id" in error(await api.alice.post(DELETE, json=body), 400, 1201)


async def test_accepted_tasks_keep_a_deleted_element(make_deployment: MakeDeployment, tmp_path: Path) -> None:
    engine_log = tmp_path / "engine.log"
    async with serving(await make_deployment({"engine": MISBEHAVING, "notes": str(engine_log)})) as api:
        api.deployment.start_element_worker()
        id = await api.save_element(external_task_id="mine")
        using = {"element_list": [{"element_id": id}]}
        task = await api.create("<<<element_1>>> on a beach", n=2, **using)
        keyed: dict[str, Any] = {"headers": {"Idempotency-Key": "k"}, "json": BODY | using}
        first = (await api.alice.post(PATH, **keyed)).json()["data"]
        assert (await api.alice.post(DELETE, json={"element_id": id})).json()["code"] == 0
        assert "does not exist" in error(await api.alice.post(DELETE, json={"element_id": id}), 400, 1201)
        assert f"element_id {id} does not exist" in error(await api.alice.post(PATH, json=BODY | using), 400, 1201)
        assert (await api.alice.post(PATH, **keyed)).json()["data"] == first, (
            "a repeated request still returns the first task"
        )
        assert (await api.alice.get(ELEMENTS)).json()["data"] == []
        error(await api.alice.get(f"{ELEMENTS}/{id}"), 400, 1201)
        (deleted,) = (await api.wait_for_element("mine"))["task_result"]["elements"]
        assert (deleted["status"], deleted["element_image_list"]["refer_images"]) == ("deleted", [])
        api.deployment.start_worker()
        assert (await api.wait_for_task(task["task_id"]))["task_status"] == "succeed"
    sizes = [len(image_file(600, 400)), len(image_file(400, 400))]
    assert engine_log.read_text().splitlines()[0] == f"with Red bag|A red bag|{sizes}"


async def test_unknown_elements_are_reported_together_with_all_other_problems(api: Api) -> None:
    unfinished = (await api.create_element())["task_id"]
    row = await api.deployment.db.value("select element_id from elements where id = $1::text::uuid", unfinished)
    ids = [77, row, 2**53, 10**30, 101, "x"]
    body = BODY | {"n": 99, "element_list": [{"element_id": id} for id in ids], "image_list": [{"image": "!!"}]}
    message = error(await api.alice.post(PATH, json=body), 400, 1201)
    for index, id in enumerate(ids[:4]):
        assert f"element_list[{index}].element_id {id} does not exist" in message
    assert "element_list[4]" not in message
    assert 'element_list[5].element_id must be a positive integer, not "x"' in message
    assert "n must be" in message
    assert "image_list[0].image" in message


@pytest.mark.parametrize(
    ("images", "elements", "prompt", "problem"),
    [
        (1, 0, "<<<image_2>>>", "prompt cites <<<image_2>>>, but 1 image and 0 elements were sent"),
        (1, 1, "<<<element_2>>>", "prompt cites <<<element_2>>>, but 1 image and 1 element were sent"),
        (2, 1, "<<object_2>>", "prompt cites <<object_2>>, but 2 images and 1 element were sent"),
        (0, 0, "<<<object_1>>> <<< image_1 >>>", "prompt cites <<< image_1 >>>"),
        (1, 1, "<<<image_0>>>", "prompt cites <<<image_0>>>"),
        (1, 0, "<<<object_1>>> <<<image_1>>>", ""),
        (1, 2, "<<<object_2>>> and << image_1>>, <<<Element_1>>>", ""),
        (1, 2, "nothing is cited", ""),
    ],
)
async def test_citations_of_missing_images_and_elements_are_refused(
    api: Api, images: int, elements: int, prompt: str, problem: str
) -> None:
    body = BODY | {"prompt": prompt, "image_list": [{"image": image_base64()}] * images}
    answer = await api.alice.post(PATH, json=body | {"element_list": [{"element_id": 101}] * elements})
    if problem:
        assert problem in error(answer, 400, 1201)
    else:
        assert answer.json()["code"] == 0


@pytest.mark.parametrize(
    ("prompt", "image", "aspect_ratio"),
    [
        ("<<<element_1>>> next to <<<image_1>>>", True, "3:2"),
        ("<<<image_1>>> next to <<<element_1>>>", True, "9:16"),
        ("<<<object_1>>>", True, "3:2"),
        ("not cited", True, "9:16"),
        ("<<<element_1>>>", False, "3:2"),
        ("not cited", False, "1:1"),
        ("<<<element_1>>>, vertical poster", False, "2:3"),
    ],
)
async def test_the_first_cited_image_or_element_determines_the_aspect_ratio(
    api: Api, prompt: str, image: bool, aspect_ratio: str
) -> None:
    api.deployment.start_element_worker()
    id = await api.save_element()
    images = [{"image": image_base64(400, 700)}] if image else []
    task = await api.create(prompt, image_list=images, element_list=[{"element_id": id}])
    ratio = await api.deployment.db.value("select ratio from tasks where id = $1::text::uuid", task["task_id"])
    assert ratio == aspect_ratio


async def test_the_engine_gets_uncited_elements_too(make_deployment: MakeDeployment, tmp_path: Path) -> None:
    engine_log = tmp_path / "engine.log"
    deployment = await make_deployment({"engine": MISBEHAVING, "notes": str(engine_log), "max_references": 2})
    async with serving(deployment) as api:
        sent: dict[str, Any] = {"image_list": [{"image": image_base64()}], "element_list": [{"element_id": 103}]}
        task = await api.create("nothing is cited", **sent)
        too_many = await api.create("too many", **sent | {"image_list": [{"image": image_base64()}] * 2})
        deployment.start_worker()
        assert (await api.wait_for_task(task["task_id"]))["task_status"] == "succeed"
        assert (
            "accepts at most 2 references, but 3 were sent"
            in (await api.wait_for_task(too_many["task_id"]))["task_status_msg"]
        )
    assert engine_log.read_text().startswith("with Coffee mug|")


async def test_requests_for_elements_have_the_same_limits(
    make_deployment: MakeDeployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped_clock = SimpleNamespace(monotonic=lambda: 1000.0)
    monkeypatch.setattr("framehouse.entrypoints.api.rate_limit.time", stopped_clock)
    async with serving(await make_deployment(), requests_per_second=2, max_body_bytes=1000) as api:
        error(await api.alice.post(ELEMENTS, json=element_body()), 413, 1200)
        error(await api.alice.post(DELETE, content=b"x", headers={"Content-Type": "text/plain"}), 415, 1200)
        error(await api.alice.get(PRESETS), 429, 1302)


FIELDS = (*CreateElementRequest.model_fields, "element_frontal_image", "element_refer_list")
element_bodies = st.dictionaries(
    st.sampled_from(FIELDS),
    json_values | st.fixed_dictionaries({"frontal_image": json_values, "refer_images": json_values}),
)


@settings(max_examples=1, suppress_health_check=list(HealthCheck))
@given(bodies=st.lists(element_bodies, min_size=200, max_size=200), ids=st.lists(json_values, min_size=50, max_size=50))
async def test_no_element_body_causes_a_server_error(api: Api, bodies: list[dict[str, Any]], ids: list[Any]) -> None:
    async def check(answer: httpx.Response) -> None:
        assert answer.status_code < 500, answer.text

    for fields in bodies:
        await check(await api.alice.post(ELEMENTS, json=element_body(**fields)))
    for id in ids:
        await check(await api.alice.post(DELETE, json={"element_id": id}))
        await check(await api.alice.post(PATH, json=BODY | {"element_list": [{"element_id": id}]}))
