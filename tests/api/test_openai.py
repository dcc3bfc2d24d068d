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
    ((request,),) = [[task["request"] for task in (await api.alice.get("/kling/v1/tasks?include=request")).json()["data"]]]
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
        async for _ in await client.images.generate(prompt="[simulate: fail]", stream=True):
            pass
