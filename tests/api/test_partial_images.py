"""The partial images of a stream: a real API, a worker, a stand-in of ComfyUI, and the official client of OpenAI."""

import asyncio
import base64
import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import openai
import pytest
from PIL import Image

from framehouse.adapters.content_credentials.certificates import create_identity
from framehouse.adapters.content_credentials.credential_signer import CredentialSigner
from framehouse.domain.model import Catalog, Model
from framehouse.domain.openai_request import read_openai_request
from framehouse.domain.shot import partial_image_key
from framehouse.pipeline import partial_images
from framehouse.pipeline.finish import Finishing
from tests.support.api_server import Api, serving
from tests.support.comfyui_server import WORKFLOWS, Comfy, Job, comfyui, preview_message
from tests.support.image_files import image_file
from tests.support.in_process_deployment import MakeDeployment
from tests.support.outside_readers import signature_problems, xmp_packets

IDENTITY = create_identity()


@asynccontextmanager
async def started(make_deployment: MakeDeployment, server: Comfy) -> AsyncIterator[Api]:
    route = {"engine": "comfyui", "servers": [server.url], "max_pixels": 256 * 256} | WORKFLOWS
    deployment = await make_deployment(route)
    deployment.rules = replace(
        deployment.rules, finishing=Finishing("Framehouse test", signer=CredentialSigner(IDENTITY))
    )
    deployment.start_worker()
    async with serving(deployment) as api:
        yield api


def official_client(api: Api) -> openai.AsyncOpenAI:
    key = api.alice.headers["authorization"].removeprefix("Bearer ")
    return openai.AsyncOpenAI(base_url=f"{api.url}/openai/v1", api_key=key, max_retries=0, timeout=60)


def step_by_step(
    server: Comfy, previews: Any = lambda job, step: [preview_message(64 * step, 64)]
) -> asyncio.Semaphore:
    """Let the server send previews, and wait for the semaphore before the last two of the four steps of a job."""
    steps = asyncio.Semaphore(0)

    async def before_step(job: Job, step: int) -> None:
        await server.until(lambda: job.client_id in server.sockets)
        if step > 2:
            await steps.acquire()

    server.before_step = before_step
    server.previews = previews or (lambda job, step: [preview_message(64 * step, 64)])
    return steps


@pytest.mark.parametrize("edit", [False, True])
async def test_the_official_client_receives_signed_partial_images_before_the_image(
    make_deployment: MakeDeployment, monkeypatch: pytest.MonkeyPatch, edit: bool
) -> None:
    monkeypatch.setattr(partial_images, "_INTERVAL_S", 0.0)
    async with comfyui() as server, started(make_deployment, server) as api, official_client(api) as client:
        steps = step_by_step(server)
        common: Any = {"prompt": "a red fox", "stream": True, "partial_images": 2}
        stream: Any = await (
            client.images.edit(image=("a.png", image_file(400, 400)), **common)
            if edit
            else client.images.generate(**common)
        )
        name = "image_edit" if edit else "image_generation"
        partials: list[Any] = []
        completed: list[Any] = []
        async for event in stream:
            if event.type == f"{name}.partial_image":
                assert not completed
                partials.append(event)
                steps.release()
                if len(partials) == 2:
                    steps.release()
            elif event.type == f"{name}.completed":
                completed.append(event)
        assert [event.partial_image_index for event in partials] == [0, 1]
        assert [event.size for event in partials] == ["128x64", "192x64"]
        assert {(e.index, e.output_format, e.background, e.quality) for e in partials} == {
            (0, "webp", "opaque", "medium")
        }
        assert len(completed) == 1
        files = [base64.b64decode(event.b64_json) for event in partials]
        for event, file in zip(partials, files, strict=True):
            assert "{}x{}".format(*Image.open(io.BytesIO(file)).size) == event.size
            assert b"trainedAlgorithmicMedia" in xmp_packets(file)[0]
            assert b"partial_image" in xmp_packets(file)[0]
            assert b"a red fox" not in file
            assert signature_problems(file, "image/webp", IDENTITY.chain) == []
        (task,) = (await api.alice.get("/kling/v1/tasks?include=request")).json()["data"]
        assert "partial_images" not in task["request"]
        key = partial_image_key(task["task_id"], 0)
        assert await api.deployment.storage.get(key) == files[-1]
        for caller in (api.bob, api.anonymous, api.alice):
            assert (await caller.get(f"/images/{key.removeprefix('images/')}")).status_code in (401, 403, 404)
        assert (await api.bob.get(f"/openai/v1/images/tasks/{task['task_id']}")).status_code == 404


@pytest.mark.parametrize("fields", [{"partial_images": 2}, {"stream": True}, {"stream": True, "partial_images": 0}])
async def test_a_request_without_partial_images_stores_none(
    make_deployment: MakeDeployment, fields: dict[str, Any]
) -> None:
    async with comfyui() as server, started(make_deployment, server) as api:
        server.previews = lambda job, step: [preview_message(64, 64)]
        answer = await api.alice.post("/openai/v1/images/generations", json={"prompt": "a fox"} | fields)
        assert answer.status_code == 200
        assert "partial_image" not in answer.text.replace("partial_images", "")
        task_id = answer.headers["x-framehouse-task-id"]
        assert await api.deployment.storage.get(partial_image_key(task_id, 0)) is None


async def test_a_preview_that_cannot_be_decoded_does_not_fail_the_task(make_deployment: MakeDeployment) -> None:
    def hostile(job: Job, step: int) -> list[bytes]:
        return [preview_message(64, 64)[:40] + b"\xff" * 500, preview_message(64, 64, format="PNG")[:60]]

    async with comfyui() as server, started(make_deployment, server) as api:
        steps = step_by_step(server, hostile)
        for _ in range(2):
            steps.release()
        body = {"prompt": "a fox", "stream": True, "partial_images": 3}
        answer = await api.alice.post("/openai/v1/images/generations", json=body)
        events = [json.loads(line[6:])["type"] for line in answer.text.splitlines() if line.startswith("data: ")]
        assert events[-1] == "image_generation.completed"
        assert "image_generation.partial_image" not in events


async def test_an_engine_without_previews_sends_only_progress(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment({"engine": "previz"})
    deployment.start_worker()
    async with serving(deployment) as api, official_client(api) as client:
        stream: Any = await client.images.generate(prompt="a fox", stream=True, partial_images=3)
        types = [event.type async for event in stream]
        assert types[-1] == "image_generation.completed"
        assert "image_generation.partial_image" not in types


@pytest.mark.parametrize(
    ("fields", "number"),
    [
        ({"partial_images": 2}, None),
        ({"stream": True}, None),
        ({"stream": True, "partial_images": 0}, None),
        ({"stream": True, "partial_images": None}, None),
        ({"stream": True, "partial_images": 3}, 3),
    ],
)
def test_only_streams_have_partial_images(fields: dict[str, Any], number: int | None) -> None:
    request, _, _, problems = read_openai_request({"prompt": "a fox"} | fields, Catalog([Model("m")]), edit=False)
    assert not problems
    assert request.options.partial_images == number
