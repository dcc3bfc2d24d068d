"""The dialect of OpenAI's image API: the official client, unmodified, and requests that this client cannot send."""

import asyncio
import base64
import io
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import openai
import pytest
from PIL import Image

from framehouse.entrypoints.api.openai import image_pieces
from tests.support.api_server import Api, serving
from tests.support.eventually import eventually
from tests.support.image_files import image_file
from tests.support.in_process_deployment import MakeDeployment

GENERATIONS, EDITS, TASKS = "/openai/v1/images/generations", "/openai/v1/images/edits", "/openai/v1/images/tasks"


@pytest.fixture
async def api(make_deployment: MakeDeployment) -> AsyncIterator[Api]:
    deployment = await make_deployment({"engine": "previz"})
    deployment.start_worker()
    async with serving(deployment) as api:
        yield api


@pytest.fixture
async def client(api: Api) -> AsyncIterator[openai.AsyncOpenAI]:
    key = api.alice.headers["authorization"].removeprefix("Bearer ")
    async with openai.AsyncOpenAI(base_url=f"{api.url}/openai/v1", api_key=key, max_retries=0) as client:
        yield client


def opened(data: str | None) -> Image.Image:
    assert data
    return Image.open(io.BytesIO(base64.b64decode(data)))


async def tasks(api: Api) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = (await api.alice.get("/kling/v1/tasks")).json()["data"]
    return listed


async def test_the_official_client_generates_images(api: Api, client: openai.AsyncOpenAI) -> None:
    result = await client.images.generate(model="kling-v3-omni", prompt="a red fox", n=2, size="1536x1024")
    assert result.data and len(result.data) == 2
    assert {opened(image.b64_json).size for image in result.data} == {(1536, 1024)}
    assert (result.size, result.output_format, result.background) == ("1536x1024", "png", "opaque")
    (task,) = await tasks(api)
    assert task["task_status"] == "succeed"


@pytest.mark.parametrize(
    ("fields", "size"),
    [
        ({}, (1024, 1024)),
        ({"size": "auto"}, (1024, 1024)),
        ({"size": "256x256"}, (256, 256)),
        ({"size": "1792x1024"}, (1792, 1024)),
        ({"size": "1024x1024", "quality": "high"}, (1024, 1024)),
        ({"quality": "high"}, (2048, 2048)),
        ({"aspect_ratio": "21:9"}, (1568, 672)),
        ({"aspect_ratio": "9:16", "resolution": "2k"}, (1440, 2560)),
    ],
)
async def test_size_quality_and_aspect_ratio_determine_the_size(
    client: openai.AsyncOpenAI, fields: dict[str, Any], size: tuple[int, int]
) -> None:
    result = await client.images.generate(prompt="a red fox", extra_body=fields)
    assert result.data and opened(result.data[0].b64_json).size == size


@pytest.mark.parametrize("format", ["png", "jpeg", "webp"])
async def test_the_output_format_is_that_of_the_request(client: openai.AsyncOpenAI, format: Any) -> None:
    sizes = []
    for compression in (90, 10):
        result = await client.images.generate(prompt="a red fox", output_format=format, output_compression=compression)
        assert result.data and opened(result.data[0].b64_json).format == format.upper()
        assert result.output_format == format
        sizes.append(len(result.data[0].b64_json or ""))
    assert sizes[1] < sizes[0] or format == "png"


async def test_urls_instead_of_base64(api: Api, client: openai.AsyncOpenAI) -> None:
    result = await client.images.generate(prompt="a red fox", response_format="url")
    assert result.data and result.data[0].url and result.data[0].b64_json is None
    assert (await api.anonymous.get(result.data[0].url)).content.startswith(b"\x89PNG")


async def test_models_of_openai_are_replaced_by_the_default_model(api: Api, client: openai.AsyncOpenAI) -> None:
    await client.images.generate(model="gpt-image-2", prompt="a red fox")
    ((request,),) = [
        [task["request"] for task in (await api.alice.get("/kling/v1/tasks?include=request")).json()["data"]]
    ]
    assert request["model_name"] == "kling-v3-omni"


async def test_models_are_listed(client: openai.AsyncOpenAI) -> None:
    names = [model.id async for model in client.models.list()]
    assert names == ["kling-v3-omni", "kling-image-o1"]
    assert (await client.models.retrieve("Kling-V3-Omni")).id == "kling-v3-omni"
    with pytest.raises(openai.NotFoundError):
        await client.models.retrieve("other")


async def test_edits_with_one_and_with_several_files(api: Api, client: openai.AsyncOpenAI) -> None:
    files = [("a.png", image_file(640, 480)), ("b.jpg", image_file(400, 400, "JPEG"))]
    one = await client.images.edit(image=files[0], prompt="the bag on a beach")
    assert one.data and opened(one.data[0].b64_json).size == (1152, 864)
    several = await client.images.edit(image=files, prompt="both on a beach", n=2, size="1024x1024")
    assert several.data and len(several.data) == 2
    requests = [task["request"] for task in (await api.alice.get("/kling/v1/tasks?include=request")).json()["data"]]
    assert [request["n"] for request in requests] == [2, 1]


async def test_edits_as_json(api: Api) -> None:
    encoded = base64.b64encode(image_file(640, 480)).decode()
    for images in ({"image": encoded}, {"images": [{"image_url": f"data:image/png;base64,{encoded}"}]}):
        answer = await api.alice.post(EDITS, json={"prompt": "a beach", **images})
        assert answer.status_code == 200, answer.text
        assert opened(answer.json()["data"][0]["b64_json"]).size == (1152, 864)


async def test_a_stream_contains_progress_and_every_image(client: openai.AsyncOpenAI) -> None:
    stream = await client.images.generate(prompt="a red fox", n=3, stream=True, partial_images=2)
    events = [event async for event in stream]
    completed = [event for event in events if event.type == "image_generation.completed"]
    assert [opened(event.b64_json).size for event in completed] == [(1024, 1024)] * 3
    edit = await client.images.edit(image=("a.png", image_file(400, 400)), prompt="a beach", stream=True)
    assert [event.type async for event in edit][-1] == "image_edit.completed"


async def test_a_failed_task_ends_a_stream_with_an_error(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.APIError, match="could not be generated"):
        async for _ in await client.images.generate(prompt="a fox [sandbox: fail]", stream=True):
            pass


@pytest.mark.parametrize(
    ("fields", "error", "code", "param"),
    [
        ({"prompt": ""}, openai.BadRequestError, "invalid_value", "prompt"),
        ({"prompt": 7}, openai.BadRequestError, "invalid_value", "prompt"),
        ({"n": 10}, openai.BadRequestError, "invalid_value", "n"),
        ({"size": "big"}, openai.BadRequestError, "invalid_value", "size"),
        ({"size": "8192x8192"}, openai.BadRequestError, "invalid_value", "size"),
        ({"size": "4000x256"}, openai.BadRequestError, "invalid_value", "size"),
        ({"background": "transparent"}, openai.BadRequestError, "invalid_value", "background"),
        ({"output_format": "svg"}, openai.BadRequestError, "invalid_value", "output_format"),
        ({"image": ["x" * 30]}, openai.BadRequestError, "invalid_value", "image[0]"),
        ({"image": ["https://example.org/a.png"] * 11}, openai.BadRequestError, "invalid_value", "image"),
        ({"callback_url": "ftp://example.org"}, openai.BadRequestError, "invalid_value", "callback_url"),
        ({"stream": True, "async": True}, openai.BadRequestError, "invalid_value", "stream"),
        ({"model": "other"}, openai.NotFoundError, "model_not_found", "model"),
        ({"prompt": "a fox [sandbox: refuse]"}, openai.BadRequestError, "moderation_blocked", None),
        ({"prompt": "a fox [sandbox: fail]"}, openai.InternalServerError, "image_generation_failed", None),
        ({"prompt": "a fox [sandbox: decline]"}, openai.BadRequestError, "image_generation_declined", None),
        ({"image": ["http://127.0.0.1/a.png"]}, openai.BadRequestError, "image_generation_declined", None),
    ],
)
async def test_errors_have_the_form_of_openai(
    client: openai.AsyncOpenAI, fields: dict[str, Any], error: type[openai.APIStatusError], code: str, param: str | None
) -> None:
    with pytest.raises(error) as raised:
        await client.post("/images/generations", body={"prompt": "a fox"} | fields, cast_to=object)
    assert (raised.value.code, raised.value.param) == (code, param)
    assert raised.value.message


async def test_wrong_keys_paths_and_methods_have_the_form_of_openai(api: Api, client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.AuthenticationError):
        await client.with_options(api_key="fh_wrong").images.generate(prompt="a fox")
    for method, path, status in (("GET", GENERATIONS, 405), ("POST", "/openai/v1/chat/completions", 404)):
        answer = await api.alice.request(method, path, json={})
        assert answer.status_code == status
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
        assert "x-request-id" in answer.headers
    assert (await api.alice.get(GENERATIONS)).headers["allow"] == "POST"


async def test_too_many_images_in_flight_are_refused_with_a_time_to_wait(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment(concurrency=1)
    async with serving(deployment) as api:
        for status in (202, 429):
            answer = await api.alice.post(GENERATIONS, json={"prompt": "a fox", "async": True})
            assert answer.status_code == status
        assert answer.json()["error"]["code"] == "rate_limit_exceeded"
        assert (answer.headers["retry-after"], answer.headers["x-should-retry"]) == ("2", "true")


async def test_the_same_key_returns_the_same_images(api: Api, client: openai.AsyncOpenAI) -> None:
    headers = {"Idempotency-Key": "mine"}
    first, second = [
        await client.images.edit(image=("a.png", image_file()), prompt="a fox", extra_headers=headers) for _ in range(2)
    ]
    assert first.data and second.data and first.data[0].b64_json == second.data[0].b64_json
    stream = await client.images.edit(image=("a.png", image_file()), prompt="a fox", extra_headers=headers, stream=True)
    assert [event async for event in stream][-1].b64_json == first.data[0].b64_json
    assert len(await tasks(api)) == 1
    with pytest.raises(openai.BadRequestError, match="Idempotency-Key was used before"):
        await client.images.edit(image=("a.png", image_file()), prompt="a bear", extra_headers=headers)
    with pytest.raises(openai.BadRequestError, match="more than 255"):
        await client.images.generate(prompt="a bear", extra_headers={"Idempotency-Key": "x" * 256})


async def test_a_client_that_disconnects_loses_no_task(api: Api, client: openai.AsyncOpenAI) -> None:
    headers = {"Idempotency-Key": "mine"}
    for stream in (False, True):
        prompt = f"a fox {stream} [sandbox: slow 1]"
        headers = {"Idempotency-Key": str(stream)}
        with pytest.raises((openai.APITimeoutError, httpx.TimeoutException)):
            answer = await client.with_options(timeout=0.5).images.generate(
                prompt=prompt, stream=stream, extra_headers=headers
            )
            assert isinstance(answer, openai.AsyncStream)
            async for _ in answer:
                pass
        result = await client.images.generate(prompt=prompt, extra_headers=headers)
        assert result.data and result.data[0].b64_json
    assert len(await tasks(api)) == 2


async def test_the_repetitions_of_the_client_create_one_task(api: Api, client: openai.AsyncOpenAI) -> None:
    """The official client repeats a request after a timeout, without an Idempotency-Key."""
    patient = client.with_options(timeout=0.7, max_retries=9)
    result = await patient.images.generate(prompt="a fox [sandbox: slow 2]")
    assert result.data and result.data[0].b64_json
    assert len(await tasks(api)) == 1
    again = await patient.images.edit(image=("a.png", image_file()), prompt="a fox [sandbox: slow 2]")
    assert again.data and len(await tasks(api)) == 2


async def test_equal_requests_create_separate_tasks(api: Api, client: openai.AsyncOpenAI) -> None:
    results = await asyncio.gather(*(client.images.generate(prompt="a fox") for _ in range(4)))
    assert len({result.data[0].b64_json for result in results if result.data}) == 4
    assert len(await tasks(api)) == 4


async def test_a_repetition_after_a_sent_response_gets_the_same_images_for_a_minute(api: Api) -> None:
    async def generate(count: int) -> str:
        headers = {"X-Stainless-Retry-Count": str(count)}
        answer = await api.alice.post(GENERATIONS, json={"prompt": "a fox"}, headers=headers)
        return answer.headers["x-framehouse-task-id"]

    async def creates_another_task() -> bool:
        """Let two minutes pass. The server may record only now that it has sent the last response."""
        await api.deployment.db.rows("update idempotency_keys set created_at = created_at - interval '2 minutes'")
        return await generate(1) != first

    first = await generate(0)
    assert await generate(1) == first
    await eventually(creates_another_task)


async def test_spaces_keep_the_connection_open(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_pieces, "KEEP_ALIVE_S", 0.2)
    body = {"prompt": "a fox [sandbox: slow 1]", "response_format": "url"}
    async with api.alice.stream("POST", GENERATIONS, json=body) as answer:
        pieces = [piece async for piece in answer.aiter_raw()]
    assert pieces[0] == b" "
    assert json.loads(b"".join(pieces))["data"]


@pytest.mark.parametrize("repeats", [False, True])
async def test_a_task_that_fails_after_the_first_space(
    api: Api, client: openai.AsyncOpenAI, monkeypatch: pytest.MonkeyPatch, repeats: bool
) -> None:
    """A client that repeats lost requests gets the status of the error. Another client gets the error as the body."""
    monkeypatch.setattr(image_pieces, "KEEP_ALIVE_S", 0.2)
    prompt = "a fox [sandbox: slow 1] [sandbox: fail]"
    if repeats:
        with pytest.raises(openai.InternalServerError, match="could not be generated"):
            await client.with_options(max_retries=1).images.generate(prompt=prompt)
    else:
        answer = await api.alice.post(GENERATIONS, json={"prompt": prompt})
        assert answer.status_code == 200
        assert answer.json()["error"]["code"] == "image_generation_failed"
    assert len(await tasks(api)) == 1


async def test_asynchronous_tasks(api: Api) -> None:
    body = {"prompt": "a fox", "async": True, "external_task_id": "mine", "n": 2}
    answer = await api.alice.post(GENERATIONS, json=body)
    assert answer.status_code == 202
    task = answer.json()
    assert (task["object"], task["result"], task["error"]) == ("image.task", None, None)
    assert task["status"] in ("queued", "in_progress")
    assert answer.headers["x-framehouse-task-id"] == task["id"]
    ended = (await api.alice.get(f"{TASKS}/mine?wait=30")).json()
    assert (ended["id"], ended["status"], ended["progress"]) == (task["id"], "completed", 1)
    assert len(ended["result"]["data"]) == 2
    assert (await api.anonymous.get(ended["result"]["data"][0]["url"])).status_code == 200
    for other, id in ((api.bob, task["id"]), (api.alice, "unknown")):
        assert (await other.get(f"{TASKS}/{id}")).status_code == 404


async def test_an_asynchronous_task_can_be_canceled(api: Api) -> None:
    task = (await api.alice.post(GENERATIONS, json={"prompt": "a fox [sandbox: slow 60]", "async": True})).json()
    canceled = (await api.alice.post(f"{TASKS}/{task['id']}/cancel")).json()
    assert (canceled["status"], canceled["error"]["code"]) == ("failed", "task_canceled")


async def test_a_server_that_stops_ends_the_requests(make_deployment: MakeDeployment) -> None:
    """The client repeats the request at another server. Otherwise, the stop would take as long as the task."""
    async with serving(await make_deployment({"engine": "previz"})) as api:
        request = asyncio.create_task(api.alice.post(GENERATIONS, json={"prompt": "a fox"}))
        await eventually(lambda: tasks(api))
        await asyncio.sleep(0.1)
        for _ in range(50):
            api.app.end_long_polls()
            await asyncio.sleep(0.05)
            if request.done():
                break
        answer = await request
        assert (answer.status_code, answer.headers["x-should-retry"]) == (503, "true")


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        ("application/json", b"[]", 400),
        ("application/json", b"{", 400),
        ("text/plain", b"{}", 415),
        ("multipart/form-data", b"x", 400),
        ("multipart/form-data; boundary=b", b"x", 400),
        ("multipart/form-data; boundary=b", b'--b\r\nContent-Disposition: form-data; name="n"\r\n\r\nx\r\n--b--', 400),
    ],
)
async def test_invalid_bodies_are_refused(api: Api, content_type: str, body: bytes, status: int) -> None:
    for path in (GENERATIONS, EDITS):
        answer = await api.alice.post(path, content=body, headers={"Content-Type": content_type})
        assert answer.status_code == status, answer.text
        assert answer.json()["error"]["type"] == "invalid_request_error"


async def test_invalid_files_are_refused(api: Api) -> None:
    for content, problem in ((b"", "empty"), (b"GIF89a", "PNG"), (bytes(10_000_001), "10,000,000")):
        answer = await api.alice.post(EDITS, data={"prompt": "a fox"}, files={"image": ("a.png", content)})
        assert answer.status_code == 400
        assert answer.json()["error"]["param"] == "image"
        assert problem.lower() in answer.json()["error"]["message"].lower()
    assert not await tasks(api)
