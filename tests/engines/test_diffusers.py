"""The real loading code and the real pipelines, with tiny random weights, on the processor."""

import asyncio
import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from framehouse.domain.errors import Broken, Unavailable
from framehouse.domain.sizes import Size, size_of
from framehouse.engines.cooldown import Cooldown
from framehouse.engines.diffusers import Diffusers, device_memory, devices
from framehouse.engines.diffusers.calls import QueuedShot, next_call
from framehouse.engines.diffusers.child import environment_for
from framehouse.engines.diffusers.model_defaults import DEFAULT_MODEL, KNOWN_MODELS
from framehouse.engines.diffusers.weights import find_weights
from framehouse.engines.interface import Engine, Progress, ReferenceImage, SavedElement
from framehouse.engines.option_checks import BadOption
from framehouse.testing.engine_contract import EngineContract, batch, generate, images
from tests.support.eventually import eventually
from tests.support.fork_server import ForkServer, fork_server
from tests.support.image_files import image_file
from tests.support.in_process_deployment import MakeDeployment
from tests.support.system_packages import skip_missing_extra

pytestmark = pytest.mark.xdist_group("diffusers")  # one process, for what its tests share

ROOT = Path(__file__).parents[2]
MISBEHAVING = "tests.support.misbehaving_process"
PRELOADED = [
    "diffusers.pipelines.flux2.pipeline_flux2_klein",
    "diffusers.pipelines.qwenimage.pipeline_qwenimage_edit_plus",
    "diffusers.pipelines.z_image.pipeline_z_image",
    "transformers.models.swin2sr.modeling_swin2sr",
    MISBEHAVING,
]
TINY: dict[str, Any] = {"devices": ["cpu"], "dtype": "float32", "steps": 2, "max_pixels": 40_000}


@pytest.fixture(scope="module", autouse=True)
def quiet_children() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setattr(devices, "Cooldown", partial(Cooldown, first_s=0.05, longest_s=0.2))
        yield


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory, quiet_children: None) -> Iterator[ForkServer]:
    """Starts the programs of these tests; it imports torch once for all of them."""
    if importlib.util.find_spec("torch") is None:
        skip_missing_extra()
    with fork_server(tmp_path_factory.mktemp("fork"), PRELOADED, environment_for("cpu")) as server:
        yield server


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory, program: ForkServer) -> Path:
    """A folder with the tiny models, made by a process that may load torch."""
    folder = tmp_path_factory.mktemp("tiny")
    command = program.command("tests.support.tiny_models", str(folder))
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def make(tiny: Path, kind: str = "klein", command: list[str] | None = None, **options: Any) -> Diffusers:
    engine = Diffusers(**({"model": str(tiny / kind)} | TINY | options))
    if command:
        engine._command = command
    return engine


@pytest.fixture(scope="module")
def klein(tiny: Path, program: ForkServer) -> Iterator[Diffusers]:
    """One engine for many tests, as in a worker's life: it misbehaves where a prompt says so."""
    engine = make(tiny, command=program.command(MISBEHAVING), hang_limit_s=20)
    yield engine
    asyncio.run(engine.close())


MakeEngine = Callable[..., Diffusers]


@pytest.fixture
async def make_engine(tiny: Path, program: ForkServer) -> AsyncIterator[MakeEngine]:
    """Engines that are closed in the end. `real`: with the program itself, started as a worker starts it."""
    made: list[Diffusers] = []

    def make_one(kind: str = "klein", *, real: bool = False, **options: Any) -> Diffusers:
        made.append(make(tiny, kind, None if real else program.command(MISBEHAVING), **options))
        return made[-1]

    yield make_one
    for engine in made:
        await engine.close()


def pid_of(engine: Diffusers) -> int:
    assert engine._queue
    pid = engine._queue.devices[0].pid
    assert pid
    return pid


def close(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> bool:
    """The same but for how sums are rounded in calls of different sizes."""
    return bool(np.abs(one.astype(int) - other).max() <= 1)


class TestDiffusers(EngineContract):
    @pytest.fixture
    def engine(self, klein: Diffusers) -> Engine:
        return klein


# --- what is painted -------------------------------------------------------------------------------------------------


async def test_a_picture_says_how_it_was_made(klein: Diffusers) -> None:
    generated = images(await generate(klein, batch()))[0]
    assert generated.pixels.shape == (192, 192, 3)
    assert generated.facts == {
        "model": "klein",
        "steps": 2,
        "guidance": 1.0,  # the tiny one is distilled, as its model_index.json says
        "dtype": "float32",
        "generated_size": "192x192",
        "batch": 1,
    }


async def test_two_tasks_of_words_alone_share_a_call_and_paint_what_they_paint_alone(klein: Diffusers) -> None:
    tasks = [batch(prompt="a fox"), batch(prompt="an owl")]
    alone = [images(await generate(klein, task))[0] for task in tasks]
    busy = asyncio.create_task(generate(klein, batch(prompt="[slow 0.5] a stone")))
    await asyncio.sleep(0.2)
    shared = [images(events)[0] for events in await asyncio.gather(*(generate(klein, task) for task in tasks))]
    await busy
    assert [image.facts["batch"] for image in alone] == [1, 1]
    assert [image.facts["batch"] for image in shared] == [2, 2]
    for one, other in zip(alone, shared, strict=True):
        assert close(one.pixels, other.pixels)


async def test_each_step_is_told(klein: Diffusers) -> None:
    shares = [event.share for event in await generate(klein, batch(shots=2)) if isinstance(event, Progress)]
    assert len(shares) == 2
    assert shares == sorted(shares)


async def test_references_count_and_so_does_their_order(klein: Diffusers) -> None:
    red, wide = image_file(400, 300), image_file(700, 300, "JPEG")
    sent = [ReferenceImage(red, 400, 300), ReferenceImage(wide, 700, 300)]
    wanted = batch()
    made = [
        images(await generate(klein, replace(wanted, references=tuple(references))))[0].pixels.tobytes()
        for references in ([], sent[:1], sent, sent[::-1])
    ]
    assert len(set(made)) == 4


async def test_what_is_too_much_is_tiled_and_that_is_said(klein: Diffusers) -> None:
    assert "contact_sheet" not in images(await generate(klein, batch(references=4)))[0].facts
    element = SavedElement("Bag", "a red bag", (ReferenceImage(image_file(), 400, 300),))
    generated = images(await generate(klein, replace(batch(references=5), elements=(element,))))[0]
    assert "3 references are tiled on image 4" in str(generated.facts["contact_sheet"])


async def test_later_frames_look_at_the_first(klein: Diffusers) -> None:
    series = replace(batch(shots=3), series=True)
    whole = {p.index: p.pixels for p in images(await generate(klein, series))}
    assert sorted(whole) == [0, 1, 2]
    rest = replace(series, shots=series.shots[1:])
    file = image_file(192, 192)
    others = images(await generate(klein, replace(rest, first_frame=ReferenceImage(file, 192, 192))))
    single = {p.index: p.pixels for p in images(await generate(klein, replace(series, series=False)))}
    assert close(whole[0], single[0])
    for generated in others:
        assert not np.array_equal(generated.pixels, whole[generated.index])
        assert not np.array_equal(single[generated.index], whole[generated.index])


async def test_an_interrupted_series_goes_on_as_it_would_have(klein: Diffusers) -> None:
    from PIL import Image

    from framehouse.engines.image_files import png_file

    series = replace(batch(shots=2), series=True)
    first, second = images(await generate(klein, series))
    frame = ReferenceImage(png_file(Image.fromarray(first.pixels)), 192, 192)
    again = images(await generate(klein, replace(series, shots=series.shots[1:], first_frame=frame)))
    assert np.array_equal(again[0].pixels, second.pixels)


async def test_qwen_edit_paints_from_references_only(make_engine: MakeEngine) -> None:
    engine = make_engine("edit_plus")
    generated = images(await generate(engine, batch(shots=2, references=2)))
    assert len(generated) == 2
    assert generated[0].facts["guidance"] == 4.0
    assert generated[0].pixels.std() > 1
    with pytest.raises(Unavailable, match="generates only from references"):
        await generate(engine, batch())


async def test_z_image_paints_from_words_alone(make_engine: MakeEngine) -> None:
    engine = make_engine("z_image", real=True)
    assert engine.abilities().max_references == 0
    assert not engine.abilities().whole_series
    generated = images(await generate(engine, replace(batch(shots=3), series=True)))
    assert len(generated) == 3
    assert generated[0].pixels.std() > 1


async def test_an_upscaler_makes_it_larger(make_engine: MakeEngine, tiny: Path) -> None:
    engine = make_engine(upscaler=str(tiny / "swin2sr"), max_pixels=400 * 400)
    generated = images(await generate(engine, batch()))[0]
    assert generated.facts["generated_size"] == "400x400"
    assert generated.facts["upscaled_by"] == "swin2sr"
    assert generated.pixels.shape == (800, 800, 3)


@pytest.mark.parametrize("options", [{"quantize": "fp8", "dtype": "bfloat16"}, {"quantize": "int8"}])
async def test_smaller_weights_paint_too(make_engine: MakeEngine, options: dict[str, Any]) -> None:
    if options["quantize"] == "int8" and importlib.util.find_spec("torchao") is None and not os.environ.get("CI"):
        pytest.skip("torchao is not installed")
    generated = images(await generate(make_engine(**options), batch(references=1)))[0]
    assert options["quantize"] in str(generated.facts["dtype"])
    assert generated.pixels.std() > 1


# --- trouble ---------------------------------------------------------------------------------------------------------


async def test_a_cancelled_call_frees_the_device(klein: Diffusers) -> None:
    before = images(await generate(klein, batch()))[0]
    pid = pid_of(klein)
    task = asyncio.create_task(generate(klein, batch(shots=4, prompt="[slow 0.5] a castle")))
    await asyncio.sleep(0.2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        async with asyncio.timeout(1):
            await task
    after = images(await generate(klein, batch()))[0]
    assert np.array_equal(before.pixels, after.pixels)
    assert pid_of(klein) == pid


async def test_a_cancelled_call_takes_no_further_step(make_engine: MakeEngine) -> None:
    engine = make_engine(steps=200)
    await generate(engine, batch())
    began = time.monotonic()
    await generate(engine, batch())
    whole_s = time.monotonic() - began
    task = asyncio.create_task(generate(engine, batch()))
    seen = asyncio.Event()

    async def watch() -> None:
        async with aclosing(engine.generate(batch(prompt="a long one"))) as events:  # type: ignore[type-var]
            async for _ in events:
                seen.set()

    task.cancel()
    long = asyncio.create_task(watch())
    await seen.wait()
    long.cancel()
    async with asyncio.timeout(0.7 * whole_s):  # all 200 steps take longer
        await asyncio.gather(long, task, return_exceptions=True)
        assert engine._queue
        await eventually(lambda: _idle(engine))


async def _idle(engine: Diffusers) -> bool:
    assert engine._queue
    return engine._queue.devices[0].idle


async def test_a_call_that_others_wait_for_too_goes_on(klein: Diffusers) -> None:
    first = asyncio.create_task(generate(klein, batch(prompt="[slow 0.4] a stone")))
    await asyncio.sleep(0.1)
    leaving = asyncio.create_task(generate(klein, batch(prompt="[slow 0.4] a fox")))
    staying = asyncio.create_task(generate(klein, batch(prompt="an owl")))
    await first
    await asyncio.sleep(0.1)
    leaving.cancel()
    assert images(await staying)[0].facts["batch"] == 2


async def test_a_killed_process_is_replaced_and_the_picture_comes(klein: Diffusers) -> None:
    before = images(await generate(klein, batch()))[0]
    pid = pid_of(klein)
    task = asyncio.create_task(generate(klein, replace(batch(prompt="[slow 1] x"), shots=batch().shots)))
    slow = asyncio.create_task(generate(klein, batch(shots=2, prompt="[slow 1] a castle")))
    await asyncio.sleep(0.3)
    os.kill(pid, signal.SIGKILL)
    assert np.array_equal(images(await task)[0].pixels, before.pixels)
    assert len(images(await slow)) == 2
    assert pid_of(klein) != pid


async def test_a_process_that_dies_idle_harms_nobody(klein: Diffusers) -> None:
    await generate(klein, batch())
    pid = pid_of(klein)
    os.kill(pid, signal.SIGKILL)
    assert len(images(await generate(klein, batch()))) == 1
    assert pid_of(klein) != pid


async def test_a_picture_that_kills_twice_is_given_up_and_the_others_are_painted(klein: Diffusers) -> None:
    stone = asyncio.create_task(generate(klein, batch(prompt="[slow 0.5] a stone")))
    await asyncio.sleep(0.1)
    guilty = asyncio.create_task(generate(klein, batch(prompt="[die]")))
    innocent = asyncio.create_task(generate(klein, batch(prompt="a fox")))
    await stone
    with pytest.raises(Broken, match=r"was killed.*twice during calls for this image only"):
        await guilty
    assert len(images(await innocent)) == 1


async def test_a_process_that_dies_once_is_forgiven(klein: Diffusers, tmp_path: Path) -> None:
    assert len(images(await generate(klein, batch(prompt=f"[die {tmp_path / 'died'}]")))) == 1


async def test_out_of_memory_paints_fewer_at_once_and_remembers(klein: Diffusers) -> None:
    size = size_of("3:2", "1k")
    generated = images(await generate(klein, batch(shots=4, prompt="[oom 2] a fox", size=size)))
    assert [image.facts["batch"] for image in generated] == [2, 2, 2, 2]
    assert {p.facts["batch"] for p in images(await generate(klein, batch(shots=4, size=size)))} == {2}
    assert {p.facts["batch"] for p in images(await generate(klein, batch(shots=4)))} == {4}


async def test_what_never_fits_is_told(klein: Diffusers) -> None:
    with pytest.raises(
        Unavailable, match=r"192x192 does not fit into the memory of .*out of memory.*max_pixels, offload or quantize"
    ):
        await generate(klein, batch(prompt="[oom 0] a fox"))
    assert len(images(await generate(klein, batch()))) == 1


async def test_a_process_that_hangs_is_replaced(make_engine: MakeEngine) -> None:
    engine = make_engine(hang_limit_s=3)
    with pytest.raises(Broken, match="made no progress for 3 s, twice"):
        await generate(engine, batch(prompt="[hang]"))
    assert len(images(await generate(engine, batch()))) == 1


async def test_no_numbers_are_no_picture(klein: Diffusers) -> None:
    with pytest.raises(Broken, match="try another dtype"):
        await generate(klein, batch(prompt="[nan]"))


async def test_a_damaged_reference_is_told(klein: Diffusers) -> None:
    damaged = ReferenceImage(image_file()[:200], 400, 300)
    with pytest.raises(Broken, match="a reference cannot be decoded"):
        await generate(klein, replace(batch(), references=(damaged,)))


async def test_weights_that_cannot_be_loaded_are_told_and_rested_from(make_engine: MakeEngine, tmp_path: Path) -> None:
    engine = make_engine(offload="model")
    with pytest.raises(Unavailable, match="offload needs a GPU"):
        await generate(engine, batch())
    assert [check.ok for check in await engine.check()] == [False]


async def test_broken_weights_are_told(make_engine: MakeEngine, tiny: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(tiny / "klein", tmp_path / "broken")
    weights = tmp_path / "broken" / "transformer" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    engine = make_engine(model=str(tmp_path / "broken"))
    with pytest.raises(Unavailable, match="broken cannot be loaded: ") as told:
        await generate(engine, batch())
    assert str(tmp_path) not in told.value.message


async def test_what_is_not_here_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda _: True)
    engine = Diffusers()
    told = f"{DEFAULT_MODEL} is not on this machine; run: framehouse models pull {DEFAULT_MODEL}"
    with pytest.raises(Unavailable, match=told):
        await generate(engine, batch())
    (check,) = await engine.check()
    assert (check.ok, check.reason, check.advice) == (False, told, f"framehouse models pull {DEFAULT_MODEL}")
    assert engine.abilities().max_references == 10


async def test_missing_packages_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(Unavailable, match=r'pip install "framehouse\[diffusers\]"'):
        await generate(Diffusers(), batch())
    (check,) = await Diffusers().check()
    assert not check.ok


async def test_a_check_judges_the_device_without_loading_the_model(make_engine: MakeEngine) -> None:
    engine = make_engine(devices=["cpu", "cuda:7"])
    processor, card = await engine.check()
    assert processor.ok
    assert "klein in float32 needs about 3 GB" in processor.reason
    assert (card.ok, "does not exist" in card.reason) == (False, True)
    assert engine._queue is None


async def test_devices_are_found_without_torch_in_this_process(make_engine: MakeEngine) -> None:
    engine = make_engine(devices="auto")
    assert len(images(await generate(engine, batch()))) == 1
    assert "torch" not in sys.modules
    assert "diffusers" not in sys.modules


async def test_closing_ends_the_process_and_what_waits(make_engine: MakeEngine) -> None:
    engine = make_engine()
    await generate(engine, batch())
    pid = pid_of(engine)
    task = asyncio.create_task(generate(engine, batch(prompt="[slow 30] a castle")))
    await asyncio.sleep(0.2)
    await engine.close()
    with pytest.raises(Unavailable, match="closed"):
        await task
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_a_series_through_the_whole_house(make_deployment: MakeDeployment, tiny: Path) -> None:
    route = {"engine": "framehouse.engines.diffusers:Diffusers", "model": str(tiny / "klein")} | TINY
    deployment = await make_deployment(route)
    ticket = await deployment.submit("a seed, a sprout, a tree", result_type="series", series_amount=3)
    deployment.start_worker()

    async def ended() -> Any:
        state = await deployment.db.value("select status from tasks where id = $1", ticket.task_id)
        return state if state in ("succeed", "failed") else None

    assert await eventually(ended, seconds=60) == "succeed"


# --- rules -----------------------------------------------------------------------------------------------------------


class _Nobody:
    cancelled = False

    def deliver(self, event: object) -> None: ...


def piece(owner: _Nobody, prompt: str = "a", *, size: int = 512, files: tuple[bytes, ...] = ()) -> QueuedShot:
    return QueuedShot(owner, 0, prompt, 1, Size(size, size), Size(size, size), files)


def test_what_is_painted_together() -> None:
    alice, bob = _Nobody(), _Nobody()
    words = [piece(alice), piece(bob, "b"), piece(bob, size=1024), piece(bob, files=(b"1",)), piece(alice, "c")]
    assert next_call(words, limit=8, multiple_prompts=True) == [words[0], words[1], words[4]]
    assert next_call(words, limit=2, multiple_prompts=True) == words[:2]
    assert next_call(words, limit=8, multiple_prompts=False) == words[:1]
    seen = [piece(alice, files=(b"1",)), piece(bob, files=(b"1",)), piece(alice, files=(b"1",))]
    assert next_call(seen, limit=8, multiple_prompts=True) == [seen[0], seen[2]]
    words[0].isolated = True
    assert next_call(words, limit=8, multiple_prompts=True) == words[:1]
    assert next_call(words[1:] + words[:1], limit=8, multiple_prompts=True) == [words[1], words[4]]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"model": "klein"}, 'model "klein" is neither a repository'),
        ({"model": 3}, "model must be"),
        ({"upscaler": "./here"}, "upscaler"),
        ({"devices": "gpu"}, "devices must be"),
        ({"devices": []}, "devices must be"),
        ({"devices": ["cuda:x"]}, "devices must be"),
        ({"devices": ["cpu:1"]}, "devices must be"),
        ({"devices": ["cuda", "cuda:0"]}, "devices must not name a device twice"),
        ({"dtype": "fp16"}, "dtype must be one of bfloat16, float16, float32"),
        ({"quantize": "int4"}, "quantize must be one of fp8, int8"),
        ({"offload": True}, "offload must be one of model, sequential"),
        ({"compile": "yes"}, "compile must be true or false"),
        ({"steps": 0}, "steps must be a whole number from 1 to 200"),
        ({"model": "Qwen/Qwen-Image-Edit-2511", "steps": 1}, "steps must be a whole number from 2 to 200"),
        ({"model": "Qwen/Qwen-Image-Edit-2511", "max_references": 0}, "max_references must be at least 1"),
        ({"guidance": "much"}, "guidance must be a number from 0 to 30"),
        ({"max_references": 11}, "max_references must be a whole number from 0 to 10"),
        ({"max_pixels": 100}, "max_pixels must be"),
        ({"cite": "picture"}, "cite must be the words"),
        ({"batch": 0}, "batch must be a whole number from 1 to 64"),
        ({"negative_prompt": 1}, "negative_prompt must be text"),
        ({"start_limit_s": 0}, "start_limit_s must be"),
    ],
)
def test_a_wrong_option_is_named(options: dict[str, Any], said: str) -> None:
    with pytest.raises(BadOption) as wrong:
        Diffusers(**options)
    assert said in str(wrong.value)


def test_the_models_of_the_table_keep_their_limits() -> None:
    def abilities(model: str, **options: Any) -> tuple[int, int, bool]:
        found = Diffusers(model=model, **options).abilities()
        return found.max_references, found.max_batch, found.whole_series

    assert [abilities(model) for model in KNOWN_MODELS] == [(10, 4, True)] * 4 + [(0, 4, False)]
    assert abilities("some/other", max_references=0, batch=1) == (0, 1, False)
    assert Diffusers(devices=["cuda:0", "cuda:1"]).abilities().concurrency == 8
    assert Diffusers(model="qwen/qwen-image-edit-2511").options.cite == "Picture {}"


@pytest.mark.parametrize(
    ("gb", "options", "fit", "do"),
    [
        (24, {}, True, ""),
        (16, {}, False, 'Set offload = "model".'),
        (8, {}, False, 'Set quantize = "int8" and offload = "model".'),
        (4, {}, False, 'Set offload = "sequential".'),
        (2, {}, False, "Choose a smaller model"),
        (12, {"offload": "model"}, True, ""),
        (12, {"quantize": "int8"}, True, ""),
        (16, {"quantize": "fp8"}, True, ""),
        (24, {"dtype": "float32"}, False, 'Set dtype = "bfloat16"'),
        (48, {"model": "Qwen/Qwen-Image-Edit-2511"}, False, 'Set offload = "model".'),
        (80, {"model": "Qwen/Qwen-Image-Edit-2511"}, True, ""),
        (24, {"model": "some/other"}, True, ""),
    ],
)
def test_a_card_is_judged(gb: int, options: dict[str, Any], fit: bool, do: str) -> None:
    device = {"id": "cuda:0", "name": "NVIDIA Card", "memory_bytes": gb * 1e9, "capability": "8.9"}
    made = Diffusers(**options).options
    check = device_memory.check_device(device, made, device_memory.weight_size(made.defaults, {}), ram_bytes=64e9)
    assert check.reason.startswith(f"NVIDIA Card, {gb} GB")
    assert (check.ok, do in check.advice, bool(check.advice)) == (fit, True, bool(do))


def test_old_cards_and_little_ram_are_told() -> None:
    device = {"id": "cuda:0", "name": "Old", "memory_bytes": 24e9, "capability": "7.5"}
    options = Diffusers().options
    weight = device_memory.weight_size(options.defaults, {})
    assert 'dtype = "float16"' in device_memory.check_device(device, options, weight).advice
    assert not device_memory.check_device(device, Diffusers(offload="model").options, weight, ram_bytes=8e9).ok


def test_weights_are_weighed_by_their_headers(tiny: Path) -> None:
    found = find_weights(str(tiny / "klein"))
    assert found
    assert sorted(found.parameter_counts) == ["text_encoder", "transformer", "vae"]
    assert 10_000 < sum(found.parameter_counts.values()) < 200_000


def test_a_device_sees_its_own_card_and_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FRAMEHOUSE_DATABASE_URL", "HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "OPENAI_API_KEY"):
        monkeypatch.setenv(name, "secret")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert "secret" not in environment_for("cuda:1").values()
    assert environment_for("cuda:1")["CUDA_VISIBLE_DEVICES"] == "1"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,GPU-5")
    assert environment_for("cuda:1")["CUDA_VISIBLE_DEVICES"] == "GPU-5"
    assert environment_for("cpu")["CUDA_VISIBLE_DEVICES"] == ""
    assert Diffusers().abilities().concurrency == 8
