"""Workers enlarge images that are smaller than requested with the network, and with Lanczos if the network fails."""

import asyncio
import io
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from framehouse import wiring
from framehouse.adapters.images import image_upscaler
from framehouse.adapters.images.image_upscaler import UPSCALER, ImageUpscaler
from framehouse.cli import doctor
from framehouse.domain.expansion import Box
from framehouse.domain.sizes import Size
from framehouse.domain.task import Ticket
from framehouse.engines.interface import GeneratedImage
from framehouse.entrypoints.worker.worker import Limits, Worker
from framehouse.pipeline.finish import Finishing, finish
from framehouse.pipeline.generate import upscale_small
from framehouse.pipeline.original_pixels import Original
from framehouse.settings import load_settings
from tests.support.eventually import eventually
from tests.support.in_process_deployment import Deployment, MakeDeployment
from tests.support.tasks import wait_for_task
from tests.support.upscalers import COUNTING, CRASHING, HANGING, once


def start_worker(deployment: Deployment, upscaler: ImageUpscaler, **limits: Any) -> Worker:
    worker = Worker(
        deployment.db, deployment.storage, deployment.registry, deployment.rules, Limits(**limits), upscaler=upscaler
    )
    deployment.workers.append((worker, asyncio.create_task(worker.run())))
    return worker


def facts_of(content: bytes) -> dict[str, Any]:
    with Image.open(io.BytesIO(content)) as image:
        facts: dict[str, Any] = json.loads(image.info["Comment"])
    return facts


async def saved_image(deployment: Deployment, ticket: Ticket) -> tuple[Size, dict[str, Any]]:
    """Wait for a task with one image. Return the size and the metadata of its image."""
    task = await wait_for_task(deployment, ticket.task_id)
    assert task.status == "succeed", task.status_message
    content = await deployment.storage.get(task.images[0].key)
    assert content
    with Image.open(io.BytesIO(content)) as image:
        return Size(*image.size), facts_of(content)


async def test_a_small_image_is_enlarged_and_its_metadata_say_so(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment()
    start_worker(deployment, ImageUpscaler())
    size, facts = await saved_image(deployment, await deployment.submit("odd size", aspect_ratio="3:4"))
    assert size == (864, 1152)
    assert (facts["resized_from"], facts["upscaled_by"]) == ("48x64", UPSCALER)
    _, facts = await saved_image(deployment, await deployment.submit("right size"))
    assert not facts.keys() & {"resized_from", "upscaled_by"}


async def test_an_image_is_not_lost_if_the_process_crashes(
    make_deployment: MakeDeployment, caplog: pytest.LogCaptureFixture
) -> None:
    deployment = await make_deployment()
    start_worker(deployment, ImageUpscaler(CRASHING))
    with caplog.at_level(logging.WARNING):
        size, facts = await saved_image(deployment, await deployment.submit("odd size", aspect_ratio="3:4"))
    assert size == (864, 1152)
    assert facts["resized_from"] == "48x64"
    assert "upscaled_by" not in facts
    assert "image 0 is enlarged without the upscaler: the process died of SIGSEGV" in caplog.text


async def test_a_stopping_worker_finishes_images_that_wait_for_the_upscaler(
    make_deployment: MakeDeployment, tmp_path: Path
) -> None:
    deployment = await make_deployment()
    worker = start_worker(deployment, ImageUpscaler(once(HANGING, str(tmp_path / "marker"))), stop_s=6)
    ticket = await deployment.submit("odd size")

    async def hanging() -> bool:
        return (tmp_path / "marker").exists()

    await eventually(hanging)
    worker.stop()
    _, facts = await saved_image(deployment, ticket)
    assert facts["resized_from"] == "48x64"
    assert "upscaled_by" not in facts


async def test_an_image_that_its_engine_has_upscaled_is_not_upscaled_again() -> None:
    upscaler = ImageUpscaler(COUNTING)
    pixels = np.zeros((16, 16, 3), np.uint8)
    upscaled = await upscale_small(GeneratedImage(0, pixels, {}), Size(32, 32), upscaler)
    assert upscaled is not None
    assert upscaled.shape == (32, 32, 3)
    assert await upscale_small(GeneratedImage(0, pixels, {"upscaled_by": "swin2sr"}), Size(32, 32), upscaler) is None
    await upscaler.close()


def test_an_expanded_image_keeps_the_pixels_of_its_original() -> None:
    original = np.random.default_rng(3).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(original).save(buffer, "PNG")
    generated, upscaled = np.zeros((30, 40, 3), np.uint8), np.full((120, 160, 3), 200, np.uint8)
    finished = finish(
        generated,
        Size(160, 120),
        {},
        Finishing("Framehouse"),
        source_type="trainedAlgorithmicMedia",
        watermark=False,
        original=Original(buffer.getvalue(), Box(60, 30, 50, 40)),
        upscaled=upscaled,
    )
    with Image.open(io.BytesIO(finished.content)) as image:
        pixels = np.asarray(image)
    assert np.array_equal(pixels[30:70, 60:110], original)
    assert np.array_equal(pixels[:30], upscaled[:30])
    assert facts_of(finished.content)["resized_from"] == "40x30"


@pytest.mark.parametrize(
    ("upscaling", "installed", "upscales"), [("auto", True, True), ("auto", False, False), ("lanczos", True, False)]
)
async def test_the_setting_and_the_extra_decide_whether_a_worker_upscales(
    make_deployment: MakeDeployment, monkeypatch: pytest.MonkeyPatch, upscaling: str, installed: bool, upscales: bool
) -> None:
    deployment = await make_deployment()
    monkeypatch.setattr(image_upscaler, "upscaler_installed", lambda: installed)
    settings = load_settings(upscaling=upscaling)
    opened = wiring.Deployment(settings, deployment.db, deployment.storage, deployment.registry)
    assert (wiring.build_worker(opened, None)._upscaler is not None) == upscales


def test_doctor_says_how_to_install_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "upscaler_installed", lambda: False)
    (finding,) = doctor._check_upscaler(load_settings())
    assert finding.level == "ok"
    assert 'pip install "framehouse[upscale]"' in finding.text
