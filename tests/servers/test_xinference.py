"""The engine `openai_images` with a real Xinference, which runs a tiny FLUX.2 klein on the CPU: `make test-servers`.

The first run creates a virtual environment of 2 GB in FRAMEHOUSE_SERVERS_DIR (default: .cache/servers).
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from framehouse.domain.errors import Broken
from framehouse.domain.shot import Shot
from framehouse.domain.sizes import Size, size_of
from framehouse.engines.interface import Batch, ReferenceImage
from framehouse.engines.openai_images import OpenAIImages
from framehouse.testing.engine_contract import generate, images
from tests.support.eventually import eventually
from tests.support.image_files import image_file
from tests.support.sockets import free_port

if os.environ.get("FRAMEHOUSE_TEST_SERVERS") != "1":
    pytest.skip("tests of real model servers run only with: make test-servers", allow_module_level=True)

pytestmark = pytest.mark.timeout(1800)
ROOT = Path(__file__).parents[2]
FOLDER = Path(os.environ.get("FRAMEHOUSE_SERVERS_DIR") or ROOT / ".cache" / "servers") / "xinference"
PACKAGES = ("torch==2.13.0", "xinference==4.1.0", "diffusers<0.42", "accelerate", "transformers")
MODEL = "tk"
SQUARE = size_of("1:1", "1k")
SPEC = {
    "version": 2,
    "model_name": "FLUX.2-tiny-klein",
    "model_family": "stable_diffusion",
    "model_ability": ["text2image", "image2image"],
    "model_id": None,
    "model_revision": None,
    "controlnet": None,
    "gguf_model_id": None,
    "gguf_quantizations": None,
    "gguf_model_file_name_template": None,
    "lightning_model_id": None,
    "lightning_versions": None,
    "lightning_model_file_name_template": None,
    "virtualenv": None,
}


def installed_venv() -> Path:
    """Return the virtual environment. It is created if it is missing or has other packages."""
    venv = FOLDER / "venv"
    marker = venv / "installed"
    if not marker.exists() or marker.read_text() != " ".join(PACKAGES):
        subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
        pip = [str(venv / "bin" / "python"), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        subprocess.run([*pip, *PACKAGES], check=True)
        # torchvision is installed as a dependency; built for another version of torch, it would break all imports
        subprocess.run([*pip[:3], "uninstall", "-q", "-y", "torchvision"], check=True)
        marker.write_text(" ".join(PACKAGES))
    return venv


def memory_mb(group: int) -> int:
    """The resident memory of all processes of a process group; 0 on a system without /proc."""
    pages = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group:
            pages += int(fields[21])
    return pages * os.sysconf("SC_PAGE_SIZE") // 1_000_000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a Xinference server that runs the tiny model."""
    python = installed_venv() / "bin" / "python"
    home = tmp_path_factory.mktemp("xinference")
    subprocess.run([str(python), str(ROOT / "tests" / "engines" / "tiny.py"), "klein", str(home / "klein")], check=True)
    port = free_port()
    variables = {
        "XINFERENCE_HOME": str(home / "home"),
        "XINFERENCE_AUTH_ADVANCED": "0",
        "XINFERENCE_ENABLE_VIRTUAL_ENV": "0",
        "HF_HUB_OFFLINE": "1",
    }
    command = [str(python.with_name("xinference-local")), "--host", "127.0.0.1", "--port", str(port)]
    began = time.monotonic()
    with (home / "log").open("wb") as log:
        running = subprocess.Popen(
            command, env=os.environ | variables, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        url = f"http://127.0.0.1:{port}"
        with httpx.Client(base_url=url, timeout=300, trust_env=False) as client:
            while not _is_up(client):
                assert running.poll() is None, (home / "log").read_text()[-4000:]
                assert time.monotonic() - began < 180, (home / "log").read_text()[-4000:]
                time.sleep(0.5)
            up_s = time.monotonic() - began
            # Xinference deletes this folder at its start if it is empty; a launch from a local folder would then fail
            (home / "home" / "cache" / "v2").mkdir(parents=True, exist_ok=True)
            spec = json.dumps(SPEC | {"model_uri": str(home / "klein")})
            answer = client.post("/v1/model_registrations/image", json={"model": spec, "persist": False})
            assert answer.status_code == 200, answer.text
            launch = {"model_uid": MODEL, "model_name": SPEC["model_name"], "model_type": "image"}
            answer = client.post("/v1/models", json=launch | {"enable_virtual_env": False})
            assert answer.status_code == 200, answer.text + (home / "log").read_text()[-4000:]
        print(f"\nup in {up_s:.1f} s, model in {time.monotonic() - began - up_s:.1f} s, {memory_mb(running.pid)} MB")  # noqa: T201
        yield url
        print(f"at the end {memory_mb(running.pid)} MB")  # noqa: T201
    finally:
        os.killpg(running.pid, signal.SIGTERM)
        try:
            running.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(running.pid, signal.SIGKILL)
            running.wait()


def _is_up(client: httpx.Client) -> bool:
    try:
        return client.get("/v1/models").status_code == 200
    except httpx.HTTPError:
        return False


@pytest.fixture
async def engine(server: str) -> AsyncIterator[OpenAIImages]:
    engine = engine_for(server)
    yield engine
    await engine.close()


def engine_for(server: str, **options: Any) -> OpenAIImages:
    defaults: dict[str, Any] = {"model": MODEL, "max_pixels": 256 * 256, "steps": 4, "guidance": 1.0}
    return OpenAIImages(kind="xinference", base_urls=[server], **(defaults | options))


def batch(*, shots: int = 1, references: int = 0, size: Size = SQUARE, prompt: str = "a fox") -> Batch:
    all_shots = tuple(Shot(n, prompt, "", 100 + n) for n in range(shots))
    files = tuple(ReferenceImage(image_file(400 + n, 300), 400 + n, 300) for n in range(references))
    return Batch("task", all_shots, shots, size, files)


async def test_a_prompt_is_generated_in_every_aspect_ratio(engine: OpenAIImages) -> None:
    for ratio in ("1:1", "16:9", "9:16", "21:9"):
        size = size_of(ratio, "1k")
        generated = images(await generate(engine, batch(size=size)))[0]
        height, width = generated.pixels.shape[:2]
        assert width / height == pytest.approx(size.width / size.height, rel=0.02)
        assert generated.facts["generated_size"] == f"{width}x{height}"


async def test_the_same_seed_gives_the_same_image(engine: OpenAIImages) -> None:
    first, second = [images(await generate(engine, batch(shots=2))) for _ in range(2)]
    assert np.array_equal(first[0].pixels, second[0].pixels)
    assert not np.array_equal(first[0].pixels, first[1].pixels)


async def test_two_references_are_tiled_on_a_contact_sheet(engine: OpenAIImages) -> None:
    single = images(await generate(engine, batch(references=1, prompt="like <<<image_1>>>")))[0]
    assert "contact_sheet" not in single.facts
    double = images(await generate(engine, batch(references=2)))[0]
    assert "2 references are tiled" in str(double.facts["contact_sheet"])


async def test_the_health_check_reports_a_healthy_server(engine: OpenAIImages, server: str) -> None:
    (check,) = await engine.check()
    assert check.ok, check
    assert check.reason == (
        "the server is healthy and accepts up to 1 reference; "
        "for a model that accepts more references, set max_references"
    )
    several = engine_for(server, max_references=4)
    (check,) = await several.check()
    assert "may drop references" in check.reason
    await several.close()


async def test_a_cancelled_call_ends_within_a_second_and_the_next_call_succeeds(
    engine: OpenAIImages, server: str
) -> None:
    slow = engine_for(server, steps=150)
    task = asyncio.create_task(generate(slow, batch()))
    await asyncio.sleep(0.5)
    assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        async with asyncio.timeout(1):
            await task
    assert len(images(await generate(slow, batch()))) == 1
    await slow.close()


async def test_the_error_names_an_unknown_model(server: str) -> None:
    engine = engine_for(server, model="unknown-model")
    with pytest.raises(Broken, match="unknown-model") as failed:
        await generate(engine, batch())
    assert failed.value.message.startswith("the model server returned HTTP 4")
    (check,) = await engine.check()
    assert (check.ok, check.reason) == (False, f'the server has no model "unknown-model"; its models: {MODEL}')
    await engine.close()


async def test_concurrent_calls_all_succeed(engine: OpenAIImages) -> None:
    answers = await asyncio.gather(*(generate(engine, batch()) for _ in range(4)))
    assert all(len(images(events)) == 1 for events in answers)


async def test_the_health_check_reports_an_unreachable_server(engine: OpenAIImages) -> None:
    port = free_port()
    unreachable = engine_for(f"http://127.0.0.1:{port}")

    async def reported() -> bool:
        (check,) = await unreachable.check()
        return not check.ok and "cannot be reached" in check.reason

    assert await eventually(reported)
    await unreachable.close()
