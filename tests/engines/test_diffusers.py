"""The engine `diffusers`: the real loading code and real pipelines generate with tiny random weights on the CPU."""

import asyncio
import importlib.util
import json
import math
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from framehouse.domain.errors import Broken, Unavailable
from framehouse.domain.expansion import Expansion, layout
from framehouse.domain.shot import Shot
from framehouse.domain.sizes import Size, size_of
from framehouse.domain.task import RequestOptions
from framehouse.engines.cooldown import Cooldown
from framehouse.engines.diffusers import Diffusers, device_memory, devices, diffusers_engine
from framehouse.engines.diffusers.call_errors import kind_of_message, reason_of
from framehouse.engines.diffusers.calls import QueuedShot, next_call
from framehouse.engines.diffusers.child import environment_for
from framehouse.engines.diffusers.loras import Lora
from framehouse.engines.diffusers.model_defaults import DEFAULT_MODEL
from framehouse.engines.diffusers.weights import find_weights
from framehouse.engines.image_files import png_file
from framehouse.engines.interface import Batch, Engine, HealthCheck, Progress, ReferenceImage, SavedElement
from framehouse.engines.option_checks import BadOption
from framehouse.testing.engine_contract import EngineContract, batch, generate, images
from tests.support.command_line import run
from tests.support.eventually import eventually
from tests.support.fork_server import ForkServer, fork_server
from tests.support.image_files import image_file
from tests.support.in_process_deployment import MakeDeployment
from tests.support.system_packages import skip_missing_extra

pytestmark = pytest.mark.xdist_group("diffusers")  # one pytest process runs these tests, because they share fixtures

ROOT = Path(__file__).parents[2]
MISBEHAVING = "tests.support.misbehaving_process"
PRELOADED = [
    "diffusers.pipelines.auto_pipeline",
    "diffusers.pipelines.flux2.pipeline_flux2_klein",
    "diffusers.pipelines.qwenimage.pipeline_qwenimage_edit_plus",
    "diffusers.pipelines.z_image.pipeline_z_image",
    "transformers.models.swin2sr.modeling_swin2sr",
    MISBEHAVING,
]
TINY: dict[str, Any] = {"devices": ["cpu"], "dtype": "float32", "steps": 2, "max_pixels": 40_000}


@pytest.fixture(scope="module", autouse=True)
def child_environment() -> Iterator[None]:
    """Limit each child process to one thread, and shorten the cooldowns of devices."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setattr(devices, "Cooldown", partial(Cooldown, first_s=0.05, longest_s=0.2))
        yield


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory, child_environment: None) -> Iterator[ForkServer]:
    """Start a fork server that starts the programs of these tests. It imports torch once for all of them."""
    if importlib.util.find_spec("torch") is None:
        skip_missing_extra()
    with fork_server(tmp_path_factory.mktemp("fork"), PRELOADED, environment_for("cpu")) as server:
        yield server


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory, program: ForkServer) -> Path:
    """Return a folder with the tiny models. A separate process creates them: this process must not load torch."""
    folder = tmp_path_factory.mktemp("tiny")
    command = program.command("tests.support.tiny_models", str(folder))
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert run.returncode == 0, run.stderr
    return folder


def create_engine(tiny: Path, kind: str = "klein", command: list[str] | None = None, **options: Any) -> Diffusers:
    engine = Diffusers(**({"model": str(tiny / kind)} | TINY | options))
    if command:
        engine._command = command
    return engine


@pytest.fixture(scope="module")
def klein(tiny: Path, program: ForkServer) -> Iterator[Diffusers]:
    """An engine that many tests share, as many tasks of a worker share one. Words in a prompt make it misbehave."""
    engine = create_engine(tiny, command=program.command(MISBEHAVING), hang_limit_s=120)
    yield engine
    asyncio.run(engine.close())


MakeEngine = Callable[..., Diffusers]


@pytest.fixture
async def make_engine(tiny: Path, program: ForkServer) -> AsyncIterator[MakeEngine]:
    """Return a function that creates engines; they are closed after the test.

    With `real`, the engine starts its real child process, as in a worker; otherwise the process misbehaves on request.
    """
    engines: list[Diffusers] = []

    def make(kind: str = "klein", *, real: bool = False, **options: Any) -> Diffusers:
        engines.append(create_engine(tiny, kind, None if real else program.command(MISBEHAVING), **options))
        return engines[-1]

    yield make
    for engine in engines:
        await engine.close()


def device_of(engine: Diffusers) -> devices.DeviceThread:
    assert engine._queue
    device = engine._queue.devices[0]
    assert isinstance(device, devices.DeviceThread)
    return device


def pid_of(engine: Diffusers) -> int:
    pid = device_of(engine).pid
    assert pid
    return pid


async def started(gate: Path) -> None:
    """Wait until a call with `[wait <gate>]` in a prompt has started. The call continues when the file `gate` exists.

    The path must contain no space and no "]".
    """

    async def exists() -> bool:
        return gate.with_suffix(".started").exists()

    await eventually(exists)


async def queued(engine: Diffusers, count: int) -> None:
    """Wait until `count` shots wait for the device."""

    async def enough() -> bool:
        return engine._queue is not None and len(engine._queue._waiting) == count

    await eventually(enough)


async def woken(engine: Diffusers) -> None:
    """Wait until the thread of the device has read all messages, such as the message that a task was cancelled."""

    async def empty() -> bool:
        return device_of(engine)._inbox.empty()

    await eventually(empty)


def almost_equal(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> bool:
    """Return whether no value differs by more than 1: calls of different sizes round sums differently."""
    return bool(np.abs(one.astype(int) - other).max() <= 1)


class TestDiffusers(EngineContract):
    @pytest.fixture
    def engine(self, klein: Diffusers) -> Engine:
        return klein


# --- Generation ------------------------------------------------------------------------------------------------------


async def test_an_image_has_the_facts_about_its_generation(klein: Diffusers) -> None:
    generated = images(await generate(klein, batch()))[0]
    assert generated.pixels.shape == (192, 192, 3)
    assert generated.facts == {
        "model": "klein",
        "steps": 2,
        "guidance": 1.0,  # according to its model_index.json, the tiny model is distilled
        "dtype": "float32",
        "generated_size": "192x192",
        "batch": 1,
    }


async def test_two_tasks_without_references_share_a_call_and_get_the_same_images_as_alone(
    klein: Diffusers, tmp_path: Path
) -> None:
    tasks = [batch(prompt="a fox"), batch(prompt="an owl")]
    alone = [images(await generate(klein, task))[0] for task in tasks]
    gate = tmp_path / "gate"
    busy = asyncio.create_task(generate(klein, batch(prompt=f"[wait {gate}] a stone")))
    await started(gate)
    running = asyncio.gather(*(generate(klein, task) for task in tasks))
    await queued(klein, 2)
    gate.touch()
    shared = [images(events)[0] for events in await running]
    await busy
    assert [image.facts["batch"] for image in alone] == [1, 1]
    assert [image.facts["batch"] for image in shared] == [2, 2]
    for one, other in zip(alone, shared, strict=True):
        assert almost_equal(one.pixels, other.pixels)


async def test_each_step_reports_progress(klein: Diffusers) -> None:
    shares = [event.share for event in await generate(klein, batch(shots=2)) if isinstance(event, Progress)]
    assert len(shares) == 2
    assert shares == sorted(shares)


async def test_references_and_their_order_change_the_image(klein: Diffusers) -> None:
    small, wide = image_file(400, 300), image_file(700, 300, "JPEG")
    both = [ReferenceImage(small, 400, 300), ReferenceImage(wide, 700, 300)]
    generated = [
        images(await generate(klein, replace(batch(), references=tuple(references))))[0].pixels.tobytes()
        for references in ([], both[:1], both, both[::-1])
    ]
    assert len(set(generated)) == 4


async def test_references_over_the_limit_are_tiled_and_the_facts_say_so(klein: Diffusers) -> None:
    assert "contact_sheet" not in images(await generate(klein, batch(references=4)))[0].facts
    element = SavedElement("Bag", "a red bag", (ReferenceImage(image_file(), 400, 300),))
    generated = images(await generate(klein, replace(batch(references=5), elements=(element,))))[0]
    assert "3 references are tiled onto image 4" in str(generated.facts["contact_sheet"])


async def test_later_frames_of_a_series_depend_on_the_first_frame(klein: Diffusers) -> None:
    series = replace(batch(shots=3), series=True)
    whole = {p.index: p.pixels for p in images(await generate(klein, series))}
    assert sorted(whole) == [0, 1, 2]
    remaining = replace(series, shots=series.shots[1:])
    file = image_file(192, 192)
    with_other_first_frame = replace(remaining, first_frame=ReferenceImage(file, 192, 192))
    later_frames = images(await generate(klein, with_other_first_frame))
    single = {p.index: p.pixels for p in images(await generate(klein, replace(series, series=False)))}
    assert almost_equal(whole[0], single[0])
    for generated in later_frames:
        assert not np.array_equal(generated.pixels, whole[generated.index])
        assert not np.array_equal(single[generated.index], whole[generated.index])


async def test_an_interrupted_series_continues_with_the_same_images(klein: Diffusers) -> None:
    from PIL import Image

    from framehouse.engines.image_files import png_file

    series = replace(batch(shots=2), series=True)
    first, second = images(await generate(klein, series))
    frame = ReferenceImage(png_file(Image.fromarray(first.pixels)), 192, 192)
    continued = images(await generate(klein, replace(series, shots=series.shots[1:], first_frame=frame)))
    assert np.array_equal(continued[0].pixels, second.pixels)


async def test_the_least_similar_image_of_a_series_is_generated_a_second_time(
    klein: Diffusers, make_engine: MakeEngine
) -> None:
    series = replace(batch(shots=4), series=True)
    once = {image.index: image for image in images(await generate(klein, series))}
    assert "series_similarity" not in once[0].facts
    similarity = {index: once[index].facts["series_similarity"] for index in (1, 2, 3)}
    twice = {image.index: image for image in images(await generate(make_engine(repeat_below=1.0), series))}
    assert sorted(twice) == [0, 1, 2, 3]
    worst = min(similarity, key=lambda index: float(str(similarity[index])))
    for index in (1, 2, 3):
        if "attempts" in twice[index].facts:
            assert index == worst
            assert twice[index].facts["seed"] != 100 + index
            assert float(str(twice[index].facts["series_similarity"])) > float(str(similarity[index]))
        else:
            assert almost_equal(twice[index].pixels, once[index].pixels)


async def test_qwen_edit_generates_from_references_only(make_engine: MakeEngine) -> None:
    engine = make_engine("edit_plus")
    generated = images(await generate(engine, batch(shots=2, references=2)))
    assert len(generated) == 2
    assert generated[0].facts["guidance"] == 4.0
    assert generated[0].pixels.std() > 1
    with pytest.raises(Unavailable, match="generates only from references"):
        await generate(engine, batch())


async def test_z_image_generates_without_references(make_engine: MakeEngine) -> None:
    engine = make_engine("z_image", real=True)
    assert engine.abilities().max_references == 0
    assert not engine.abilities().whole_series
    generated = images(await generate(engine, replace(batch(shots=3), series=True)))
    assert len(generated) == 3
    assert generated[0].pixels.std() > 1


async def test_an_upscaler_enlarges_the_image(make_engine: MakeEngine, tiny: Path) -> None:
    engine = make_engine(upscaler=str(tiny / "swin2sr"), max_pixels=400 * 400)
    generated = images(await generate(engine, batch()))[0]
    assert generated.facts["generated_size"] == "400x400"
    assert generated.facts["upscaled_by"] == "swin2sr"
    assert generated.pixels.shape == (800, 800, 3)


@pytest.mark.parametrize("options", [{"quantize": "fp8", "dtype": "bfloat16"}, {"quantize": "int8"}])
async def test_quantized_weights_generate_images(make_engine: MakeEngine, options: dict[str, Any]) -> None:
    if options["quantize"] == "int8" and importlib.util.find_spec("torchao") is None and not os.environ.get("CI"):
        pytest.skip("torchao is not installed")
    generated = images(await generate(make_engine(**options), batch(references=1)))[0]
    assert options["quantize"] in str(generated.facts["dtype"])
    assert generated.pixels.std() > 1


@pytest.fixture(scope="module")
def pipeline_configs(program: ForkServer, tiny: Path) -> dict[str, Any]:
    command = program.command("tests.support.pipeline_configs", str(tiny))
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert run.returncode == 0, run.stderr
    configs: dict[str, Any] = json.loads(run.stdout)
    return configs


def test_qwen_image_gets_the_schedule_of_its_lightning_loras(pipeline_configs: dict[str, Any]) -> None:
    need_package("peft")
    assert pipeline_configs["schedule"] == {
        "base_shift": math.log(3),
        "max_shift": math.log(3),
        "shift_terminal": None,
        "use_dynamic_shifting": True,
    }


def test_each_quantization_is_configured_for_both_libraries(pipeline_configs: dict[str, Any]) -> None:
    configs = dict(pipeline_configs)
    if importlib.util.find_spec("bitsandbytes") is None:
        assert configs.pop("nf4") == 'quantize = "nf4" needs another package; run: pip install bitsandbytes'
    else:
        assert configs.pop("nf4") == {
            part: {
                "class": f"{library}.BitsAndBytesConfig",
                "load_in_4bit": "True",
                "bnb_4bit_quant_type": "nf4",
                "bnb_4bit_compute_dtype": "torch.bfloat16",
            }
            for part, library in (("transformer", "diffusers"), ("text_encoder", "transformers"))
        }
    if importlib.util.find_spec("torchao") is None:
        return
    for quantize, torchao, packing in (
        ("int8", "Int8WeightOnlyConfig", ""),
        ("int4", "Int4WeightOnlyConfig", "tile_packed_to_4d"),
    ):
        assert configs[quantize] == {
            part: {"class": f"{library}.TorchAoConfig", "torchao": torchao, "format": packing}
            for part, library in (("transformer", "diffusers"), ("text_encoder", "transformers"))
        }


@pytest.mark.parametrize("quantize", ["nf4", "int4"])
async def test_four_bit_weights_need_an_nvidia_gpu(make_engine: MakeEngine, quantize: str) -> None:
    with pytest.raises(Unavailable, match=f'quantize = "{quantize}" needs an NVIDIA GPU'):
        await generate(make_engine(quantize=quantize), batch())


def need_package(name: str) -> None:
    if importlib.util.find_spec(name) is None and not os.environ.get("CI"):
        pytest.skip(f"{name} is not installed")


def lora(tiny: Path, kind: str = "klein", weight: float = 1) -> dict[str, Any]:
    return {"path": str(tiny / "loras" / f"{kind}-4steps.safetensors"), "weight": weight}


@pytest.mark.parametrize(
    "options", [{}, {"quantize": "fp8", "dtype": "bfloat16"}, {"quantize": "int8"}], ids=["none", "fp8", "int8"]
)
async def test_a_lora_changes_the_image_according_to_its_weight(
    make_engine: MakeEngine, tiny: Path, options: dict[str, Any]
) -> None:
    need_package("peft")
    if options.get("quantize") == "int8":
        need_package("torchao")
    engines = [make_engine(**options)] + [
        make_engine(loras=[lora(tiny, weight=weight)], **options) for weight in (0, 0.5, 1)
    ]
    generated = [images(await generate(engine, batch()))[0] for engine in engines]
    assert "loras" not in generated[0].facts
    assert generated[2].facts["loras"] == "klein-4steps.safetensors (0.5)"
    plain, zero, half, full = [image.pixels for image in generated]
    assert almost_equal(plain, zero)
    assert not almost_equal(plain, half)
    assert not almost_equal(half, full)


async def test_the_number_of_steps_comes_from_the_name_of_a_lora(make_engine: MakeEngine, tiny: Path) -> None:
    need_package("peft")
    engine = make_engine("edit_plus", loras=[lora(tiny, "edit_plus")], steps=None)
    facts = images(await generate(engine, batch(references=1)))[0].facts
    assert (facts["steps"], facts["guidance"]) == (4, 1.0)
    assert not engine.abilities().negative_prompts
    chosen = make_engine("edit_plus", loras=[lora(tiny, "edit_plus")], steps=3, guidance=2).options
    assert (chosen.steps, chosen.guidance) == (3, 2.0)


async def test_the_error_says_that_a_lora_belongs_to_another_model(make_engine: MakeEngine, tiny: Path) -> None:
    need_package("peft")
    engine = make_engine(loras=[lora(tiny, "edit_plus")])
    with pytest.raises(Unavailable, match=r"loras: edit_plus-4steps.safetensors does not belong to klein") as error:
        await generate(engine, batch())
    assert str(tiny) not in error.value.message


async def test_a_missing_lora_is_reported_with_advice(
    make_engine: MakeEngine, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    engine = make_engine(loras=[{"path": "some/lora"}])
    reason = "loras: some/lora is not on this machine; run: framehouse models pull some/lora"
    with pytest.raises(Unavailable, match=reason):
        await generate(engine, batch())
    (check,) = await engine.check()
    assert (check.ok, check.reason, check.advice) == (False, reason, "framehouse models pull some/lora")
    (check,) = await make_engine(loras=[{"path": "some/lora/a.safetensors"}]).check()
    assert check.advice == "framehouse models pull some/lora/a.safetensors"
    (check,) = await make_engine(loras=[{"path": str(tiny / "loras")}]).check()
    assert check.reason.startswith("loras: loras contains 2 files; set path to one of them, such as …/loras/edit_plus")
    (check,) = await make_engine(loras=[{"path": str(tmp_path / "gone.safetensors")}]).check()
    assert check.reason == "loras: the LoRA gone.safetensors is not on this machine"


@pytest.mark.parametrize(
    ("path", "steps"),
    [
        ("lightx2v/Qwen-Image-Edit-2511-Lightning/Qwen-Image-Edit-2511-Lightning-4steps-V1.0-bf16.safetensors", 4),
        ("lightx2v/Qwen-Image-Lightning-8steps", 8),
        ("/loras/turbo_8_step.safetensors", 8),
        ("/loras/portrait-2000steps.safetensors", None),
        ("/loras/portrait-50steps.safetensors", None),
        ("/loras/4stepsister.safetensors", None),
        ("/loras/watercolour.safetensors", None),
    ],
)
def test_the_name_of_a_lora_contains_its_steps(path: str, steps: int | None) -> None:
    assert Lora(path).steps == steps


async def test_the_transformer_is_loaded_from_a_gguf_file(make_engine: MakeEngine, tiny: Path) -> None:
    need_package("gguf")
    engine = make_engine(gguf=str(tiny / "klein.gguf"))
    generated = images(await generate(engine, batch()))[0]
    assert generated.facts["dtype"] == "float32, gguf weights"
    original = images(await generate(make_engine(), batch()))[0].pixels
    difference = np.abs(generated.pixels.astype(int) - original)
    assert difference.any(), "8-bit blocks differ from 32-bit weights"
    assert difference.mean() < 10


async def test_a_missing_gguf_file_is_reported(make_engine: MakeEngine, tmp_path: Path) -> None:
    (check,) = await make_engine(gguf=str(tmp_path / "gone.gguf")).check()
    assert (check.ok, check.reason) == (False, "gguf: the file gone.gguf is not on this machine")


async def test_the_attention_backend_is_checked_by_the_installed_library(make_engine: MakeEngine) -> None:
    assert len(images(await generate(make_engine(attention="_native_math"), batch()))) == 1
    with pytest.raises(Unavailable, match=r'attention must be one of flash, .*sage.*; it is "fast"'):
        await generate(make_engine(attention="fast"), batch())
    if importlib.util.find_spec("flash_attn") is None:
        with pytest.raises(Unavailable, match=r'attention = "flash": .*install `flash-attn'):
            await generate(make_engine(attention="flash"), batch())


def expansion_of(seed: int = 1) -> Batch:
    size, box = layout(Expansion(right=1), 400, 400)
    photo = ReferenceImage(image_file(400, 400), 400, 400, "original")
    shots = (Shot(0, "Continue the image.", "", seed),)
    return replace(batch(size=size), shots=shots, references=(photo,), box=box, kind="expand")


@pytest.mark.parametrize("kind", ["klein", "edit_plus", "z_image"])
async def test_an_expansion_generates_only_the_new_area(make_engine: MakeEngine, kind: str) -> None:
    engine = make_engine(kind)
    assert engine.abilities().expansions
    one, other = [images(await generate(engine, expansion_of(seed)))[0] for seed in (1, 2)]
    assert one.pixels.shape == other.pixels.shape == (128, 272, 3)
    assert one.facts["generated_size"] == "272x128"
    difference = np.abs(one.pixels.astype(int) - other.pixels).mean(axis=(0, 2))
    assert difference.any()
    if kind != "edit_plus":  # its encoder with random weights adds noise to the original, too
        # the layers of the decoder mix all areas a little
        assert difference[150:].mean() > 2 * difference[:110].mean()


@pytest.mark.parametrize("kind", ["klein", "z_image"])
async def test_an_edit_with_a_mask_generates_only_the_masked_area(make_engine: MakeEngine, kind: str) -> None:
    engine = make_engine(kind)
    assert (engine.abilities().masks, engine.abilities().masked_references) == (True, 1)
    mask = Image.new("L", (400, 400), 0)
    mask.paste(255, (200, 0, 400, 400))
    photo = ReferenceImage(image_file(400, 400), 400, 400)
    edit = replace(batch(size=Size(1024, 1024)), references=(photo,), mask=ReferenceImage(png_file(mask), 400, 400))
    one, other = [
        images(await generate(engine, replace(edit, shots=(Shot(0, "A hat.", "", seed),))))[0] for seed in (1, 2)
    ]
    width = one.pixels.shape[1]
    difference = np.abs(one.pixels.astype(int) - other.pixels).mean(axis=(0, 2))
    # the layers of the decoder mix all areas a little
    assert difference[width // 2 + 16 :].mean() > 2 * difference[: width // 2 - 16].mean()


async def test_an_expansion_does_not_share_a_call_with_an_edit(klein: Diffusers) -> None:
    edit = replace(expansion_of(), box=None)
    expanded, edited = await asyncio.gather(generate(klein, expansion_of()), generate(klein, edit))
    assert [images(events)[0].facts["batch"] for events in (expanded, edited)] == [1, 1]
    assert not np.array_equal(images(expanded)[0].pixels, images(edited)[0].pixels)


async def test_a_negative_prompt_changes_the_image_if_the_pipeline_uses_it(make_engine: MakeEngine) -> None:
    requested = batch(references=1)
    with_negative_prompt = replace(requested, options=RequestOptions(negative_prompt="snow"))
    engine = make_engine("edit_plus")
    assert engine.abilities().negative_prompts
    plain, changed = [images(await generate(engine, b))[0].pixels for b in (requested, with_negative_prompt)]
    assert not np.array_equal(plain, changed)
    without_guidance = make_engine("edit_plus", guidance=1)
    assert not without_guidance.abilities().negative_prompts
    assert not make_engine("klein").abilities().negative_prompts
    assert make_engine("z_image").abilities().negative_prompts
    assert not make_engine("z_image", guidance=0).abilities().negative_prompts


# --- Cancellation and failures ---------------------------------------------------------------------------------------


async def test_a_cancelled_call_frees_the_device(klein: Diffusers, tmp_path: Path) -> None:
    before = images(await generate(klein, batch()))[0]
    pid = pid_of(klein)
    gate = tmp_path / "gate"
    task = asyncio.create_task(generate(klein, batch(shots=4, prompt=f"[wait {gate}] a castle")))
    await started(gate)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        async with asyncio.timeout(60):
            await task
    gate.touch()
    after = images(await generate(klein, batch()))[0]
    assert np.array_equal(before.pixels, after.pixels)
    assert pid_of(klein) == pid


async def test_a_cancelled_call_stops_before_its_last_step(
    make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    engine = make_engine(steps=200)
    gate = tmp_path / "gate"
    task = asyncio.create_task(generate(engine, batch(prompt=f"[wait {gate}] a long one")))
    await started(gate)
    device = device_of(engine)
    next_message, messages = device._next_message, list[dict[str, Any]]()

    def record_message(limit_s: float, *, wakes: bool = False) -> dict[str, Any]:
        messages.append(next_message(limit_s, wakes=wakes))
        return messages[-1]

    monkeypatch.setattr(device, "_next_message", record_message)
    task.cancel()
    await asyncio.wait([task])
    await woken(engine)
    gate.touch()
    await eventually(lambda: _idle(engine))
    assert messages[-1]["event"] == "cancelled"
    assert all(message["share"] < 1 for message in messages if message["event"] == "progress")


async def _idle(engine: Diffusers) -> bool:
    return not device_of(engine).step


async def test_a_shared_call_continues_while_one_of_its_tasks_is_not_cancelled(
    klein: Diffusers, tmp_path: Path
) -> None:
    gate, second_gate = tmp_path / "first", tmp_path / "second"
    first = asyncio.create_task(generate(klein, batch(prompt=f"[wait {gate}] a stone")))
    await started(gate)
    cancelled = asyncio.create_task(generate(klein, batch(prompt=f"[wait {second_gate}] a fox")))
    remaining = asyncio.create_task(generate(klein, batch(prompt="an owl")))
    await queued(klein, 2)
    gate.touch()
    await first
    await started(second_gate)
    cancelled.cancel()
    await asyncio.wait([cancelled])
    await woken(klein)
    second_gate.touch()
    assert images(await remaining)[0].facts["batch"] == 2


async def test_a_killed_process_is_replaced_and_its_images_are_generated(klein: Diffusers, tmp_path: Path) -> None:
    before = images(await generate(klein, batch()))[0]
    pid = pid_of(klein)
    gate = tmp_path / "gate"
    slow = asyncio.create_task(generate(klein, batch(shots=2, prompt=f"[wait {gate}] a castle")))
    await started(gate)
    task = asyncio.create_task(generate(klein, batch()))
    await queued(klein, 1)
    os.kill(pid, signal.SIGKILL)

    async def replaced() -> bool:
        assert klein._queue
        return klein._queue.devices[0].pid not in (None, pid)

    await eventually(replaced)
    gate.touch()
    assert np.array_equal(images(await task)[0].pixels, before.pixels)
    assert len(images(await slow)) == 2
    assert pid_of(klein) != pid


async def test_a_process_that_dies_while_idle_is_replaced(klein: Diffusers) -> None:
    await generate(klein, batch())
    pid = pid_of(klein)
    os.kill(pid, signal.SIGKILL)
    assert len(images(await generate(klein, batch()))) == 1
    assert pid_of(klein) != pid


async def test_an_image_that_kills_two_processes_fails_and_other_images_are_generated(klein: Diffusers) -> None:
    slow = asyncio.create_task(generate(klein, batch(prompt="[slow 0.5] a stone")))
    await asyncio.sleep(0.1)
    poison = asyncio.create_task(generate(klein, batch(prompt="[die]")))
    harmless = asyncio.create_task(generate(klein, batch(prompt="a fox")))
    await slow
    with pytest.raises(Broken, match=r"was killed.*second crash during a call with only this image"):
        await poison
    assert len(images(await harmless)) == 1


async def test_an_image_is_generated_after_its_process_died_once(klein: Diffusers, tmp_path: Path) -> None:
    assert len(images(await generate(klein, batch(prompt=f"[die {tmp_path / 'died'}]")))) == 1


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("CUDA error: an illegal memory access was encountered", "device_fault"),
        ("CUDA error: uncorrectable ECC error encountered", "device_fault"),
        ("CUDA error: device-side assert triggered", "device_fault"),
        ("CUDA error: unspecified launch failure", "device_fault"),
        ("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasGemmEx(…)`", "device_fault"),
        ("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED", "device_fault"),
        ("CUDA driver error: device is lost", "device_fault"),
        ("HIP error: the operation cannot be performed in the present state", "device_fault"),
        ("CUDA out of memory. Tried to allocate 2.00 GiB", "out_of_memory"),
        ("CUDA error: out of memory", "out_of_memory"),
        ("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`", "out_of_memory"),
        ("MPS backend out of memory (MPS allocated: 9.05 GB)", "out_of_memory"),
        ("The size of tensor a (64) must match the size of tensor b (32)", "failed"),
        ("", "failed"),
    ],
)
def test_faults_of_devices_are_recognized_by_their_message(message: str, kind: str) -> None:
    assert kind_of_message(message) == kind


def test_a_message_contains_no_tuple() -> None:
    assert reason_of(RuntimeError(("CUDA error", 700))) == "CUDA error: 700"
    assert reason_of(RuntimeError(("first line\nsecond line",))) == "first line"
    assert reason_of(RuntimeError("a", "b")) == "a: b"
    assert reason_of(RuntimeError()) == "RuntimeError"


async def test_after_a_device_fault_the_process_is_replaced_and_the_images_are_generated(
    klein: Diffusers, tmp_path: Path
) -> None:
    await generate(klein, batch())
    pid = pid_of(klein)
    assert len(images(await generate(klein, batch(shots=2, prompt=f"[fault {tmp_path / 'failed'}] a fox")))) == 2
    assert pid_of(klein) != pid, "all further calls of the old process would fail"


async def test_an_image_that_causes_two_device_faults_fails_and_other_images_are_generated(klein: Diffusers) -> None:
    with pytest.raises(Broken, match=r"cpu failed: CUDA error: an illegal memory access was encountered; this is the"):
        await generate(klein, batch(prompt="[fault] a fox"))
    assert len(images(await generate(klein, batch()))) == 1


async def test_a_device_that_fails_again_and_again_is_reported(make_engine: MakeEngine) -> None:
    engine = make_engine()
    with pytest.raises(Broken):
        await generate(engine, batch(prompt="[fault] a fox"))
    with pytest.raises(Unavailable, match="cpu failed 3 times in a row: CUDA error: an illegal memory access"):
        await generate(engine, batch(prompt="[fault] an owl"))
    (reason,) = [check.reason for check in await engine.check() if not check.ok]
    assert reason.startswith("cpu failed 3 times in a row")
    await asyncio.sleep(0.3)  # the cooldown
    assert len(images(await generate(engine, batch()))) == 1
    assert all(check.ok for check in await engine.check())


async def test_after_out_of_memory_calls_of_that_size_have_fewer_images(klein: Diffusers) -> None:
    size = size_of("3:2", "1k")
    generated = images(await generate(klein, batch(shots=4, prompt="[oom 2] a fox", size=size)))
    assert [image.facts["batch"] for image in generated] == [2, 2, 2, 2]
    assert {p.facts["batch"] for p in images(await generate(klein, batch(shots=4, size=size)))} == {2}
    assert {p.facts["batch"] for p in images(await generate(klein, batch(shots=4)))} == {4}


async def test_images_that_do_not_fit_are_decoded_in_tiles_from_the_start(make_engine: MakeEngine) -> None:
    engine = make_engine()
    load_settings = engine._load_settings
    engine._load_settings = lambda: load_settings() | {"free_bytes": 114_500_000}  # type: ignore[method-assign]
    small, large = [
        images(await generate(engine, batch(size=size)))[0] for size in (size_of("1:1", "1k"), size_of("3:2", "1k"))
    ]
    assert small.facts["generated_size"] == "192x192"
    assert large.facts["generated_size"] == "240x160"
    assert "decoded_in_tiles" not in small.facts
    assert large.facts["decoded_in_tiles"] is True


async def test_after_decoding_ran_out_of_memory_all_images_are_decoded_in_tiles(make_engine: MakeEngine) -> None:
    engine = make_engine()
    for prompt, tiled in (("a fox", False), ("[oom whole] a fox", True), ("a fox", True)):
        facts = images(await generate(engine, batch(prompt=prompt)))[0].facts
        assert facts.get("decoded_in_tiles", False) is tiled


def test_the_largest_image_that_is_decoded_in_one_piece_depends_on_the_free_memory() -> None:
    assert device_memory.max_whole_pixels(1.6e9, 1.6, "bfloat16") == 1024 * 1024
    assert device_memory.max_whole_pixels(1.6e9, 1.6, "float32") == 1024 * 1024 // 2


async def test_the_error_says_that_a_single_image_does_not_fit_into_memory(klein: Diffusers) -> None:
    with pytest.raises(
        Unavailable, match=r"192x192 does not fit into the memory of .*out of memory.*max_pixels, or set offload"
    ):
        await generate(klein, batch(prompt="[oom 0] a fox"))
    assert len(images(await generate(klein, batch()))) == 1


async def test_a_hung_process_is_replaced(make_engine: MakeEngine) -> None:
    engine = make_engine(hang_limit_s=3)
    with pytest.raises(Broken, match="made no progress for 3 s; this is the second crash"):
        await generate(engine, batch(prompt="[hang]"))
    assert engine._queue
    engine._queue.settings = replace(engine._queue.settings, hang_limit_s=120)
    assert len(images(await generate(engine, batch()))) == 1


async def test_an_image_of_nan_is_broken(klein: Diffusers) -> None:
    with pytest.raises(Broken, match="try another dtype"):
        await generate(klein, batch(prompt="[nan]"))


async def test_a_damaged_reference_is_broken(klein: Diffusers) -> None:
    damaged = ReferenceImage(image_file()[:200], 400, 300)
    with pytest.raises(Broken, match="a reference is damaged: it ends before the end of its pixels"):
        await generate(klein, replace(batch(), references=(damaged,)))


async def test_a_device_that_cannot_load_the_weights_is_unavailable_and_unhealthy(make_engine: MakeEngine) -> None:
    engine = make_engine(offload="model")
    with pytest.raises(Unavailable, match="offload needs a GPU"):
        await generate(engine, batch())
    assert [check.ok for check in await engine.check()] == [False]


async def test_the_error_of_damaged_weights_does_not_name_their_folder(
    make_engine: MakeEngine, tiny: Path, tmp_path: Path
) -> None:
    import shutil

    shutil.copytree(tiny / "klein", tmp_path / "broken")
    weights = tmp_path / "broken" / "transformer" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    engine = make_engine(model=str(tmp_path / "broken"))
    with pytest.raises(Unavailable, match="broken cannot be loaded: ") as error:
        await generate(engine, batch())
    assert str(tmp_path) not in error.value.message


async def test_the_error_of_missing_weights_says_how_to_pull_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda _: True)
    engine = Diffusers()
    reason = f"{DEFAULT_MODEL} is not on this machine; run: framehouse models pull {DEFAULT_MODEL}"
    with pytest.raises(Unavailable, match=reason):
        await generate(engine, batch())
    (check,) = await engine.check()
    assert (check.ok, check.reason, check.advice) == (False, reason, f"framehouse models pull {DEFAULT_MODEL}")
    assert engine.abilities().max_references == 10


async def test_the_error_of_missing_packages_says_how_to_install_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(Unavailable, match=r'pip install "framehouse\[diffusers\]"'):
        await generate(Diffusers(), batch())
    (check,) = await Diffusers().check()
    assert not check.ok


async def test_a_health_check_checks_devices_without_loading_the_model(make_engine: MakeEngine) -> None:
    engine = make_engine(devices=["cpu", "cuda:7"])
    cpu, gpu = await engine.check()
    assert cpu.ok
    assert "klein with float32 needs about 4 GB" in cpu.reason
    assert (gpu.ok, "does not exist" in gpu.reason) == (False, True)
    assert engine._queue is None


async def test_the_weights_are_loaded_before_the_first_task_and_the_health_check_reports_it(
    make_engine: MakeEngine,
) -> None:
    engine = make_engine()
    await engine.prepare()
    await eventually(lambda: _reports(engine, "the model is loaded"))
    await engine.prepare()
    pid = pid_of(engine)
    await generate(engine, batch())
    assert pid_of(engine) == pid


async def test_weights_that_cannot_be_loaded_are_reported_before_the_first_task(
    make_engine: MakeEngine, tiny: Path, tmp_path: Path
) -> None:
    engine = make_engine(model=str(tmp_path / "model"))
    await engine.prepare()
    assert engine._queue is None
    shutil.copytree(tiny / "klein", tmp_path / "model")  # the weights arrive while the server runs
    (tmp_path / "model" / "vae" / "diffusion_pytorch_model.safetensors").write_bytes(b"damaged")
    await engine.prepare()
    await eventually(lambda: _reports(engine, "cannot be loaded", ok=False))


async def test_without_preload_only_a_task_loads_the_weights(make_engine: MakeEngine) -> None:
    engine = make_engine(preload=False)
    await engine.prepare()
    assert engine._queue is None
    await generate(engine, batch())
    assert pid_of(engine)


async def _reports(engine: Diffusers, text: str, *, ok: bool = True) -> bool:
    check = (await engine.check())[0]
    return check.ok == ok and text in check.reason


async def test_devices_are_found_without_importing_torch_in_this_process(make_engine: MakeEngine) -> None:
    engine = make_engine(devices="auto")
    assert len(images(await generate(engine, batch()))) == 1
    assert "torch" not in sys.modules
    assert "diffusers" not in sys.modules


async def test_closing_kills_the_process_and_fails_the_running_call(make_engine: MakeEngine) -> None:
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


def test_the_self_test_generates_every_kind(tiny: Path, tmp_path: Path) -> None:
    route = {"engine": "diffusers", "model": str(tiny / "klein")} | TINY
    values = ", ".join(f"{name} = {json.dumps(value)}" for name, value in route.items())
    (tmp_path / "framehouse.toml").write_text(f"[models.tiny]\nroutes = [{{ {values} }}]")
    words = ("--out", tmp_path / "out", "--config", tmp_path / "framehouse.toml", "--data-dir", tmp_path, "--json")
    report = json.loads(run("engine", "test", "diffusers", *words).stdout)
    kinds = [(kind["name"], len(kind["sizes"])) for kind in report["kinds"]]
    names = ["first image, with loading the model", "text", "two references", "series", "2k", "expansion", "mask"]
    assert kinds == [(name, 3 if name == "series" else 1) for name in names]
    assert "the model is loaded" in report["health"][0]["reason"]


async def test_a_worker_generates_a_series_with_the_engine(make_deployment: MakeDeployment, tiny: Path) -> None:
    route = {"engine": "framehouse.engines.diffusers:Diffusers", "model": str(tiny / "klein")} | TINY
    deployment = await make_deployment(route)
    ticket = await deployment.submit("a seed, a sprout, a tree", result_type="series", series_amount=3)
    deployment.start_worker()

    async def ended() -> Any:
        status = await deployment.db.value("select status from tasks where id = $1", ticket.task_id)
        return status if status in ("succeed", "failed") else None

    assert await eventually(ended, seconds=240) == "succeed"


# --- Rules and estimates ---------------------------------------------------------------------------------------------


class _NullRecipient:
    cancelled = False

    def deliver(self, event: object) -> None: ...


def shot(recipient: _NullRecipient, prompt: str = "a", *, size: int = 512, files: tuple[bytes, ...] = ()) -> QueuedShot:
    return QueuedShot(recipient, 0, prompt, 1, Size(size, size), Size(size, size), files)


def test_only_compatible_shots_share_a_call() -> None:
    alice, bob = _NullRecipient(), _NullRecipient()
    shots = [shot(alice), shot(bob, "b"), shot(bob, size=1024), shot(bob, files=(b"1",)), shot(alice, "c")]
    assert next_call(shots, limit=8, multiple_prompts=True) == [shots[0], shots[1], shots[4]]
    assert next_call(shots, limit=2, multiple_prompts=True) == shots[:2]
    assert next_call(shots, limit=8, multiple_prompts=False) == shots[:1]
    with_files = [shot(alice, files=(b"1",)), shot(bob, files=(b"1",)), shot(alice, files=(b"1",))]
    assert next_call(with_files, limit=8, multiple_prompts=True) == [with_files[0], with_files[2]]
    with_negative_prompt = replace(shots[1], negative_prompt="snow")
    assert next_call([shots[0], with_negative_prompt], limit=8, multiple_prompts=True) == shots[:1]
    shots[0].isolated = True
    assert next_call(shots, limit=8, multiple_prompts=True) == shots[:1]
    assert next_call(shots[1:] + shots[:1], limit=8, multiple_prompts=True) == [shots[1], shots[4]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "klein"}, 'model "klein" is neither a repository'),
        ({"model": 3}, "model must be"),
        ({"upscaler": "./here"}, "upscaler"),
        ({"devices": "gpu"}, "devices must be"),
        ({"devices": []}, "devices must be"),
        ({"devices": ["cuda:x"]}, "devices must be"),
        ({"devices": ["cpu:1"]}, "devices must be"),
        ({"devices": ["cuda", "cuda:0"]}, "devices must not name a device twice"),
        ({"dtype": "fp16"}, "dtype must be omitted or one of bfloat16, float16, float32"),
        ({"quantize": "int2"}, "quantize must be omitted or one of fp8, int8, nf4, int4"),
        ({"offload": True}, "offload must be omitted or one of model, sequential"),
        ({"offload": "sequential", "quantize": "nf4"}, 'offload must be omitted or "model" if quantize is "nf4"'),
        ({"loras": "a"}, "loras must be a list such as"),
        ({"loras": [{"weight": 1}]}, "loras[0] has no path"),
        ({"loras": [{"path": "/a.safetensors", "scale": 1}]}, 'only path and weight; it contains "scale"'),
        ({"loras": [{"path": "/a.safetensors", "weight": "x"}]}, "loras[0].weight must be a number from -10 to 10"),
        ({"loras": [{"path": "a.safetensors"}]}, "loras[0].path must be the full path of a file or folder"),
        ({"loras": [{"path": "/a.ckpt"}]}, "loras[0].path must be a .safetensors file"),
        ({"loras": [{"path": "a/b/c.bin"}]}, "loras[0].path must be a .safetensors file"),
        ({"loras": [{"path": "a/b/../../c.safetensors"}]}, "loras[0].path must be the full path"),
        ({"loras": [{"path": "a/b"}, {"path": "a/b"}]}, "loras must not contain a path twice"),
        ({"gguf": "a.gguf"}, "gguf must be the full path of a .gguf file"),
        ({"gguf": "/a.gguf", "quantize": "fp8"}, 'quantize must not be "fp8" if gguf is set'),
        ({"attention": 1}, "attention must be the name of an attention backend"),
        ({"attention": "flash_hub"}, 'attention must not be "flash_hub", because this backend downloads code'),
        ({"compile": "yes"}, "compile must be true or false"),
        ({"steps": 0}, "steps must be a whole number from 1 to 200"),
        ({"model": "Qwen/Qwen-Image-Edit-2511", "steps": 1}, "steps must be a whole number from 2 to 200"),
        ({"model": "Qwen/Qwen-Image-Edit-2511", "max_references": 0}, "max_references must be at least 1"),
        ({"guidance": "much"}, "guidance must be a number from 0 to 30"),
        ({"max_references": 11}, "max_references must be a whole number from 0 to 10"),
        ({"max_pixels": 100}, "max_pixels must be"),
        ({"cite": "picture"}, "cite must be the text"),
        ({"batch": 0}, "batch must be a whole number from 1 to 64"),
        ({"negative_prompt": 1}, "negative_prompt must be text"),
        ({"start_limit_s": 0}, "start_limit_s must be"),
    ],
)
def test_the_error_names_the_bad_option(options: dict[str, Any], message: str) -> None:
    with pytest.raises(BadOption) as error:
        Diffusers(**options)
    assert message in str(error.value)


def test_known_and_other_models_have_their_default_abilities() -> None:
    def abilities(model: str, **options: Any) -> tuple[int, int, bool]:
        engine_abilities = Diffusers(model=model, **options).abilities()
        return engine_abilities.max_references, engine_abilities.max_batch, engine_abilities.whole_series

    assert abilities(DEFAULT_MODEL) == (10, 4, True)
    assert abilities("Tongyi-MAI/Z-Image-Turbo") == (0, 4, False)
    assert abilities("some/other", max_references=0, batch=1) == (0, 1, False)
    assert Diffusers(devices=["cuda:0", "cuda:1"]).abilities().concurrency == 8
    assert Diffusers(model="qwen/qwen-image-edit-2511").options.cite == "Picture {}"


def gpu(gb: float, free_gb: float | None = None, capability: str = "8.9") -> dict[str, Any]:
    device = {"id": "cuda:0", "name": "NVIDIA Card", "memory_bytes": gb * 1e9, "capability": capability}
    return device | ({} if free_gb is None else {"free_bytes": free_gb * 1e9})


def check_gpu(device: dict[str, Any], options: dict[str, Any], **others: Any) -> HealthCheck:
    parsed = Diffusers(**options).options
    return device_memory.check_device(device, parsed, device_memory.part_sizes(parsed.defaults, {}), **others)


@pytest.mark.parametrize(
    ("gb", "options", "ok", "advice"),
    [
        (24, {}, True, ""),
        (16, {}, False, 'Set quantize = "int8".'),
        (8, {}, False, 'Set quantize = "nf4", and run: pip install bitsandbytes'),
        (5, {}, False, 'Set quantize = "nf4" and offload = "model"'),
        (2, {}, False, "Choose a smaller model"),
        (12, {"offload": "model"}, True, ""),
        (12, {"quantize": "int8"}, True, ""),
        (16, {"quantize": "fp8"}, True, ""),
        (11, {"quantize": "fp8"}, False, 'Set quantize = "int8".'),
        (5, {"quantize": "nf4"}, False, 'Set quantize = "nf4" and offload = "model"'),
        (24, {"dtype": "float32"}, False, 'Set dtype = "bfloat16"'),
        (24, {"batch": 16}, True, "Set batch = 11"),
        (48, {"model": "Qwen/Qwen-Image-Edit-2511"}, False, 'Set quantize = "int8".'),
        (80, {"model": "Qwen/Qwen-Image-Edit-2511"}, True, ""),
        (24, {"model": "some/other"}, True, ""),
    ],
)
def test_a_gpu_is_healthy_if_the_model_fits_into_its_memory(
    gb: int, options: dict[str, Any], ok: bool, advice: str
) -> None:
    check = check_gpu(gpu(gb), options, ram_bytes=64e9)
    assert check.reason.startswith(f"NVIDIA Card, {gb} GB")
    assert (check.ok, advice in check.advice, bool(check.advice)) == (ok, True, bool(advice))


def test_a_health_check_reports_an_old_gpu_and_too_little_ram() -> None:
    assert 'dtype = "float16"' in check_gpu(gpu(24, capability="7.5"), {}).advice
    too_little = check_gpu(gpu(24), {"offload": "model"}, ram_bytes=8e9)
    assert (too_little.ok, too_little.advice) == (False, "Choose a smaller model, or set quantize.")
    assert check_gpu(gpu(24), {"offload": "model", "quantize": "int8"}, ram_bytes=9e9).ok
    quantized = check_gpu(gpu(24), {"offload": "model", "quantize": "int8"}, ram_bytes=4e9)
    assert (quantized.ok, quantized.advice) == (False, "Choose a smaller model.")


def test_a_health_check_counts_the_memory_that_other_programs_use() -> None:
    check = check_gpu(gpu(24, free_gb=14), {})
    assert not check.ok
    assert "24 GB, of which other programs use 10 GB; " in check.reason
    assert "more than is free" in check.reason
    assert check.advice == 'Set quantize = "int8".'
    assert check_gpu(gpu(24, free_gb=5), {}, loaded_gb=18.5).ok, "models of this process use the rest"
    loaded = check_gpu(gpu(24, free_gb=5), {}, loaded=True)
    assert (loaded.ok, loaded.reason.endswith("and is loaded")) == (True, True)


def test_a_health_check_counts_the_other_routes_of_the_same_gpu() -> None:
    others = [("some/other", 10.0)]
    assert check_gpu(gpu(32), {}, others=others).ok
    check = check_gpu(gpu(24, free_gb=24), {}, others=others)
    assert not check.ok
    assert "does not fit together with some/other (about 10 GB) of other routes" in check.reason
    assert check.advice == 'Set quantize = "int8". Or use another device for one of them.'


@pytest.mark.parametrize(
    ("offload", "tiled", "images", "total_gb"),
    [
        (None, False, 1, 16 + 6.4 + 0.9),
        (None, True, 1, 16 + 2.4 + 0.9),
        (None, False, 4, 16 + 9.6 + 0.9),
        ("model", False, 1, 8 + 2.4 + 0.9),
        ("sequential", False, 1, 1.5 + 6.4 + 0.9),
    ],
)
def test_the_estimate_for_2k_counts_the_steps_or_the_decoding(
    offload: str | None, tiled: bool, images: int, total_gb: float
) -> None:
    parts = {"transformer": 8.0, "text_encoder": 8.0}
    combination = device_memory.Combination(None, offload)
    needs = device_memory.estimate_needs(
        parts, combination, decode_gb=1.6, images=images, pixels=2048 * 2048, tiled=tiled
    )
    assert needs.total_gb == pytest.approx(total_gb)


def test_a_health_check_counts_a_gguf_file_and_loras(tmp_path: Path) -> None:
    for name, size in (("model.gguf", 2e9), ("style.safetensors", 1e9)):
        with (tmp_path / name).open("wb") as file:
            file.truncate(int(size))
    assert "needs about 18 GB" in check_gpu(gpu(24), {}).reason
    with_gguf: dict[str, Any] = {"gguf": str(tmp_path / "model.gguf")}
    assert "needs about 12 GB" in check_gpu(gpu(24), with_gguf).reason
    with_gguf["loras"] = [{"path": str(tmp_path / "style.safetensors")}]
    assert "needs about 14 GB" in check_gpu(gpu(24), with_gguf).reason


async def test_free_memory_is_probed_again_after_some_time(
    make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: list[dict[str, Any]] = [
        {"devices": [gpu(24, free_gb=24)], "ram_bytes": 64e9},
        {"reason": "busy"},
        {"devices": [gpu(24, free_gb=1)], "ram_bytes": 64e9},
    ]
    monkeypatch.setattr(diffusers_engine, "probe", lambda *_: answers.pop(0))
    engine = make_engine(devices=["cuda:0"])
    assert [(await engine.check())[0].ok for _ in range(2)] == [True, True]
    assert len(answers) == 2
    monkeypatch.setattr(diffusers_engine, "_PROBE_AGE_S", -1)
    assert [(await engine.check())[0].ok for _ in range(2)] == [True, False]


async def test_engines_of_one_process_count_each_other_on_a_shared_gpu(
    make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        diffusers_engine, "probe", lambda *_: {"devices": [gpu(9), gpu(9) | {"id": "cuda:1"}], "ram_bytes": 64e9}
    )
    first, second = make_engine(devices=["cuda:0"]), make_engine("z_image", devices="auto")
    assert [check.ok for check in await first.check()] == [True], "each of the two needs about 4 GB"
    third = make_engine("edit_plus", devices=["cuda:0"])
    (check,) = await first.check()
    assert not check.ok
    assert "z_image (about 4 GB)" in check.reason
    assert "edit_plus (about 8 GB)" in check.reason
    assert [check.ok for check in await second.check()] == [False, True]
    await third.close()
    assert [check.ok for check in await first.check()] == [True]


def test_parameters_are_counted_by_the_headers_of_the_weight_files(tiny: Path) -> None:
    weights = find_weights(str(tiny / "klein"))
    assert weights
    assert sorted(weights.parameter_counts) == ["text_encoder", "transformer", "vae"]
    assert 10_000 < sum(weights.parameter_counts.values()) < 200_000


def test_the_process_of_a_device_sees_only_its_gpu_and_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FRAMEHOUSE_DATABASE_URL", "HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "OPENAI_API_KEY"):
        monkeypatch.setenv(name, "secret")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert "secret" not in environment_for("cuda:1").values()
    assert environment_for("cuda:1")["CUDA_VISIBLE_DEVICES"] == "1"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,GPU-5")
    assert environment_for("cuda:1")["CUDA_VISIBLE_DEVICES"] == "GPU-5"
    assert environment_for("cpu")["CUDA_VISIBLE_DEVICES"] == ""
    assert Diffusers().abilities().concurrency == 8
