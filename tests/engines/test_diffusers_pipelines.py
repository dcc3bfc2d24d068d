"""The engine `diffusers` with many pipeline classes: their abilities, their arguments, and tiny models of them."""

import asyncio
import difflib
import importlib.util
import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from framehouse.cli.model_commands import _settings_text
from framehouse.domain.errors import Unavailable
from framehouse.engines.diffusers import Diffusers
from framehouse.engines.diffusers.child import environment_for
from framehouse.engines.diffusers.model_defaults import KNOWN_MODELS
from framehouse.engines.diffusers.pipeline_classes import FILE, PipelineClass, from_json, known_classes
from framehouse.engines.diffusers.process import crop_to_ratio
from framehouse.engines.interface import Engine
from framehouse.engines.option_checks import BadOption
from framehouse.testing.engine_contract import EngineContract, batch, generate, images
from tests.support.fork_server import ForkServer, fork_server
from tests.support.pipeline_tables import START, tables
from tests.support.system_packages import skip_missing_extra

pytestmark = pytest.mark.xdist_group("diffusers-pipelines")

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "engines" / "diffusers-pipelines.md"
CONTRACT_MODELS = (
    "klein_kv",
    "qwen_image",
    "z_image",
    "krea2",
    "ovis",
    "ernie",
    "flux",
    "kontext",
    "sd",
    "sdxl",
)
TINY: dict[str, Any] = {"devices": ["cpu"], "dtype": "float32", "steps": 2, "max_pixels": 40_000}


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkServer]:
    """Start a fork server that has imported diffusers."""
    if importlib.util.find_spec("torch") is None:
        skip_missing_extra()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("PYTHONPATH", str(ROOT))
        preloaded = ["diffusers.pipelines.auto_pipeline", "tests.support.sent_arguments"]
        with fork_server(tmp_path_factory.mktemp("fork"), preloaded, environment_for("cpu")) as server:
            yield server


def run(command: list[str], text: str = "") -> str:
    done = subprocess.run(command, cwd=ROOT, input=text, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory, program: ForkServer) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    run(program.command("tests.support.tiny_pipelines", str(folder), *CONTRACT_MODELS))
    return folder


@pytest.fixture(scope="module")
def engine_of(tiny: Path, program: ForkServer) -> Iterator[Callable[..., Diffusers]]:
    """Return a function that returns the engine of a tiny model. All tests of the model share the engine."""

    @cache
    def create(name: str) -> Diffusers:
        engine = Diffusers(model=str(tiny / name), **TINY)
        engine._command = program.command("framehouse.engines.diffusers.process")
        engines.append(engine)
        return engine

    engines: list[Diffusers] = []
    yield create
    for engine in engines:
        asyncio.run(engine.close())


# --- The abilities of the installed library --------------------------------------------------------------------------


def test_the_file_contains_the_abilities_of_the_installed_library(program: ForkServer) -> None:
    inspected = json.loads(run(program.command("tests.support.inspected_pipelines")))
    written, installed = FILE.read_text().splitlines(), inspected["text"].splitlines()
    difference = "\n".join(difflib.unified_diff(written, installed, FILE.name, "installed diffusers", lineterm="", n=0))
    update = "python -m framehouse.engines.diffusers.pipeline_inspection"
    assert not difference, f"the pipelines of diffusers have changed; check the change and run {update}:\n{difference}"
    assert inspected["needless_corrections"] == []


def test_the_page_contains_the_tables() -> None:
    page = PAGE.read_text()
    introduction = page.partition(START)[0]
    current = introduction + tables()
    if page != current:
        PAGE.write_text(current)
        raise AssertionError(f"{PAGE.name} was out of date. It has been updated: check the change and commit it.")


def test_the_abilities_survive_json() -> None:
    for described in known_classes().values():
        assert from_json(json.loads(json.dumps(described.to_json()))) == described
    assert from_json({"references": "one", "added_later": 1}) == PipelineClass(references="one")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Flux2KleinPipeline", {"references": "several", "needs_reference": False, "negative_prompts": False}),
        ("QwenImageEditPlusPipeline", {"references": "several", "needs_reference": True, "several_prompts": False}),
        ("QwenImageEditPipeline", {"references": "one", "needs_reference": True, "needs_negative_prompt": True}),
        ("QwenImage21Pipeline", {"references": "several", "needs_reference": False}),
        ("FluxKontextPipeline", {"references": "one", "needs_reference": False, "negative_prompts": False}),
        ("FluxFillPipeline", {"needs_mask": True, "inpaint_pipeline": "FluxFillPipeline"}),
        ("JoyImageEditPipeline", {"references": "one", "needs_reference": False}),
        ("JoyImageEditPlusPipeline", {"image_argument": "images", "images_per_prompt": False}),
        ("GlmImagePipeline", {"one_image_per_call": True, "references": "several"}),
        ("Krea2Pipeline", {"guidance_threshold": 0.0, "distilled": True, "references": "none"}),
        ("ZImagePipeline", {"guidance_threshold": 0.0, "inpaint_pipeline": "ZImageInpaintPipeline"}),
        ("OmniGenPipeline", {"image_argument": "input_images", "references": "several"}),
        ("HunyuanImagePipeline", {"guidance_argument": "distilled_guidance_scale", "negative_prompts": False}),
        ("StableDiffusionXLImg2ImgPipeline", {"varies_reference": True, "needs_reference": True}),
        ("StableDiffusionControlNetPipeline", {"unusable": "needs a control image"}),
        ("BriaFiboEditPipeline", {"unusable": "accepts only JSON as a prompt"}),
    ],
)
def test_classes_have_their_abilities(name: str, expected: dict[str, Any]) -> None:
    described = known_classes()[name]
    assert {field: getattr(described, field) for field in expected} == expected


def test_pipelines_for_videos_and_sounds_are_omitted() -> None:
    assert not [name for name in known_classes() if name.startswith(("Wan", "LTX", "AudioLDM", "Marigold", "ShapE"))]


# --- Arguments -------------------------------------------------------------------------------------------------------

SHARED = {
    "prompt": "a",
    "width": 1024,
    "height": 768,
    "output_type": "np",
    "num_images_per_prompt": 1,
    "generator": [0],
}
PROGRESS = {"callback_on_step_end": "function"}
STANDARD = SHARED | PROGRESS
IMAGES = ["image of width 64", "image of width 128"]


def case(model: str, pipeline: str, **fields: Any) -> dict[str, Any]:
    defaults = {
        "config": {},
        "transformer": {},
        "options": {},
        "references": 0,
        "prompts": ["a"],
        "negative_prompt": "",
        "height": 768,
    }
    return defaults | {"model": model, "pipeline": pipeline} | fields


def arguments(steps: int, **others: Any) -> list[dict[str, Any]]:
    return [STANDARD | {"num_inference_steps": steps} | others]


NEGATIVE_2512 = KNOWN_MODELS["Qwen/Qwen-Image-2512"].negative_prompt
CASES: list[tuple[dict[str, Any], Any]] = [
    (
        case("krea/Krea-2-Turbo", "Krea2Pipeline", config={"is_distilled": True}),
        arguments(8, guidance_scale=0.0),
    ),
    (case("krea/Krea-2-Raw", "Krea2Pipeline", config={"is_distilled": False}), arguments(28, guidance_scale=4.5)),
    (case("my/krea", "Krea2Pipeline", config={"is_distilled": True}), arguments(8, guidance_scale=0.0)),
    (case("my/krea", "Krea2Pipeline"), arguments(28, guidance_scale=4.5)),
    (case("Tongyi-MAI/Z-Image", "ZImagePipeline"), arguments(50, guidance_scale=5.0)),
    (case("Tongyi-MAI/Z-Image-Turbo", "ZImagePipeline"), arguments(9, guidance_scale=0.0)),
    (
        case("Qwen/Qwen-Image-2512", "QwenImagePipeline"),
        arguments(50, true_cfg_scale=4.0, negative_prompt=NEGATIVE_2512),
    ),
    (
        case("Qwen/Qwen-Image", "QwenImagePipeline", prompts=["a", "b"], negative_prompt="snow"),
        arguments(50, true_cfg_scale=4.0, negative_prompt=["snow"] * 2, prompt=["a", "b"], generator=[0, 1]),
    ),
    (
        case("my/qwen", "QwenImagePipeline", options={"negative_prompt": "fog"}, negative_prompt="snow"),
        arguments(50, true_cfg_scale=4.0, negative_prompt="fog, snow"),
    ),
    (
        case("Qwen/Qwen-Image-Edit-2511", "QwenImageEditPlusPipeline", references=2),
        arguments(40, true_cfg_scale=4.0, negative_prompt=" ", image=IMAGES),
    ),
    (
        case("Qwen/Qwen-Image-Edit", "QwenImageEditPipeline", references=1),
        arguments(50, true_cfg_scale=4.0, negative_prompt=" ", image=IMAGES[0]),
    ),
    (case("Qwen/Qwen-Image-Edit", "QwenImageEditPipeline"), "Qwen/Qwen-Image-Edit generates only from references"),
    (
        case("Qwen/Qwen-Image-2.1", "QwenImage21Pipeline", references=2),
        arguments(40, true_cfg_scale=1.0, negative_prompt=" ", image=IMAGES),
    ),
    (
        case("my/qwen-turbo", "QwenImage21Pipeline", config={"sample_sigmas": [1.0, 0.75, 0.5, 0.25]}),
        arguments(4, true_cfg_scale=1.0, negative_prompt=" "),
    ),
    (
        case("my/qwen-turbo", "QwenImage21Pipeline", config={"sample_sigmas": [1.0, 0.5]}, options={"steps": 9}),
        "my/qwen-turbo has a fixed schedule of 2 steps; set steps = 2",
    ),
    (
        case("black-forest-labs/FLUX.2-dev", "Flux2Pipeline", references=2),
        arguments(50, guidance_scale=4.0, image=IMAGES),
    ),
    (
        case(
            "black-forest-labs/FLUX.2-klein-9b-kv", "Flux2KleinKVPipeline", config={"is_distilled": True}, references=1
        ),
        arguments(4, image=IMAGES[:1]),
    ),
    (
        case("black-forest-labs/FLUX.2-klein-9b-kv", "Flux2KleinKVPipeline", options={"guidance": 2}),
        "black-forest-labs/FLUX.2-klein-9b-kv has no guidance scale; remove the option guidance",
    ),
    (case("my/klein", "Flux2KleinPipeline", config={"is_distilled": True}), arguments(4, guidance_scale=1.0)),
    (case("my/klein", "Flux2KleinPipeline", config={"is_distilled": False}), arguments(50, guidance_scale=4.0)),
    (case("baidu/ERNIE-Image", "ErnieImagePipeline"), arguments(50, guidance_scale=4.0, use_pe=False)),
    (case("baidu/ERNIE-Image-Turbo", "ErnieImagePipeline"), arguments(8, guidance_scale=1.0, use_pe=False)),
    (
        case("zai-org/GLM-Image", "GlmImagePipeline", prompts=["a", "a"], references=2, height=720),
        arguments(50, guidance_scale=1.5, image=IMAGES, height=736)
        + arguments(50, guidance_scale=1.5, image=IMAGES, height=736, generator=[1]),
    ),
    (
        case("jdopensource/JoyAI-Image-Edit-Diffusers", "JoyImageEditPipeline", references=1),
        arguments(40, guidance_scale=4.0, image=IMAGES[0]),
    ),
    (
        case("black-forest-labs/FLUX.1-schnell", "FluxPipeline"),
        arguments(4, guidance_scale=0.0, max_sequence_length=256),
    ),
    (
        case("black-forest-labs/FLUX.1-Kontext-dev", "FluxKontextPipeline", references=1),
        arguments(28, guidance_scale=2.5, image=IMAGES[0], max_area=1024 * 768),
    ),
    (
        case("my/kontext", "FluxKontextPipeline", references=2),
        "my/kontext accepts one input image per call",
    ),
    (case("my/ideogram", "Ideogram4Pipeline"), arguments(48)),
    (
        case("my/ideogram", "Ideogram4Pipeline", options={"steps": 20, "guidance": 5}),
        arguments(20, guidance_scale=5.0, guidance_schedule=None),
    ),
    (
        case("my/ideogram", "Ideogram4Pipeline", options={"steps": 20}),
        "my/ideogram needs the option guidance if the option steps is set",
    ),
    (
        case("my/omni", "OmniGenPipeline", references=2, prompts=["join <img><|image_2|></img>"]),
        arguments(
            50, guidance_scale=2.5, input_images=IMAGES, prompt="<img><|image_1|></img> join <img><|image_2|></img>"
        ),
    ),
    (
        case("my/sdxl", "StableDiffusionXLImg2ImgPipeline", references=1),
        [
            {name: value for name, value in STANDARD.items() if name not in ("width", "height")}
            | {"num_inference_steps": 50, "guidance_scale": 5.0, "image": "image of width 1024"}
        ],
    ),
    (case("my/schnell", "FluxPipeline", transformer={"guidance_embeds": False}), arguments(4, guidance_scale=0.0)),
    (case("my/dev", "FluxPipeline", transformer={"guidance_embeds": True}), arguments(28, guidance_scale=3.5)),
    (case("my/flux", "FluxPipeline", references=1), "my/flux generates only from text"),
    (
        case("my/control", "FluxControlPipeline"),
        "my/control cannot be used: FluxControlPipeline needs a control image",
    ),
    (
        case("my/flux", "FluxPipeline", config={}, options={"negative_prompt": "snow"}),
        arguments(28, guidance_scale=3.5, negative_prompt="snow"),
    ),
    (
        case("my/klein", "Flux2KleinPipeline", options={"negative_prompt": "snow"}),
        "my/klein accepts no negative prompt; remove the option negative_prompt",
    ),
]


@pytest.fixture(scope="module")
def sent(program: ForkServer) -> list[Any]:
    """The arguments that the pipelines receive in all CASES. One process determines them, which takes a second."""
    cases = json.dumps([described for described, _ in CASES])
    results: list[Any] = json.loads(run(program.command("tests.support.sent_arguments"), cases))
    return results


@pytest.mark.parametrize("number", range(len(CASES)), ids=[f"{n}-{c['model']}" for n, (c, _) in enumerate(CASES)])
def test_pipelines_receive_the_arguments_of_the_model_card(sent: list[Any], number: int) -> None:
    assert sent[number] == CASES[number][1]


def test_joy_receives_the_references_once_per_image(program: ForkServer) -> None:
    plus = case(
        "jdopensource/JoyAI-Image-Edit-Plus-Diffusers", "JoyImageEditPlusPipeline", references=2, prompts=["a", "a"]
    )
    ((call,),) = json.loads(run(program.command("tests.support.sent_arguments"), json.dumps([plus])))
    assert (call["images"], call["prompt"], call["num_inference_steps"]) == ([IMAGES, IMAGES], ["a", "a"], 30)
    assert "num_images_per_prompt" not in call


@pytest.mark.parametrize(
    ("size", "expected"), [((64, 64), (36, 64)), ((96, 54), (54, 96)), ((64, 32), (32, 57)), ((16, 9), (9, 16))]
)
def test_images_of_other_aspect_ratios_are_cropped(size: tuple[int, int], expected: tuple[int, int]) -> None:
    image = np.zeros((size[1], size[0], 3), np.float32)
    assert crop_to_ratio(image, 1280, 720).shape == (*expected, 3)


# --- The abilities of a route ----------------------------------------------------------------------------------------


def abilities(model: str) -> tuple[int, int, bool]:
    route = Diffusers(model=model)
    return route.abilities().max_references, route.options.max_input_images, route.abilities().negative_prompts


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("krea/Krea-2-Turbo", (0, 0, False)),
        ("krea/Krea-2-Raw", (0, 0, True)),
        ("Tongyi-MAI/Z-Image", (0, 0, True)),
        ("Qwen/Qwen-Image-2512", (0, 0, True)),
        ("Qwen/Qwen-Image-2.1", (10, 10, False)),
        ("black-forest-labs/FLUX.2-dev", (10, 6, False)),
        ("jdopensource/JoyAI-Image-Edit-Plus-Diffusers", (10, 5, True)),
        ("black-forest-labs/FLUX.1-Kontext-dev", (10, 1, False)),
        ("black-forest-labs/FLUX.1-Fill-dev", (0, 0, False)),
    ],
)
def test_known_models_have_abilities_before_they_are_loaded(model: str, expected: tuple[int, int, bool]) -> None:
    assert abilities(model) == expected


def test_every_known_model_has_a_licence_and_steps() -> None:
    assert [name for name, model in KNOWN_MODELS.items() if not model.licence or not model.steps] == []


def test_the_settings_of_every_known_model_can_be_listed() -> None:
    assert _settings_text("black-forest-labs/FLUX.2-klein-9b-kv") == "4 steps, no guidance, 4 references"
    assert _settings_text("krea/Krea-2-Raw") == "28 steps, guidance 4.5, no references"
    assert all(map(_settings_text, KNOWN_MODELS))


def test_references_above_the_limit_of_the_pipeline_are_a_bad_option() -> None:
    with pytest.raises(BadOption, match="max_references must be at most 0: krea/Krea-2-Raw generates only from text"):
        Diffusers(model="krea/Krea-2-Raw", max_references=1)
    with pytest.raises(BadOption, match=r"max_references must be at most 1: .* accepts one input image per call"):
        Diffusers(model="black-forest-labs/FLUX.1-Kontext-dev", max_references=2)


def write_index(folder: Path, pipeline: str) -> None:
    folder.mkdir(parents=True)
    (folder / "model_index.json").write_text(json.dumps({"_class_name": pipeline}))


def test_a_folder_with_the_name_of_a_known_model_has_its_settings(tmp_path: Path) -> None:
    write_index(tmp_path / "z-image-turbo", "ZImagePipeline")
    write_index(tmp_path / "mine" / "Z-Image-Turbo", "FluxPipeline")
    assert Diffusers(model=str(tmp_path / "z-image-turbo")).options.steps == 9
    assert Diffusers(model=str(tmp_path / "mine" / "Z-Image-Turbo")).options.steps is None


def test_weights_that_are_pulled_later_change_the_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    route, limited = Diffusers(model="my/model"), Diffusers(model="my/model", max_references=2, cite="picture {}")
    assert route.abilities().max_references == 10
    repository = tmp_path / "models--my--model"
    write_index(repository / "snapshots" / "abc", "QwenImage21Pipeline")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc")
    assert (route.options.max_input_images, route.options.cite) == (10, "<image{}>")
    assert (limited.options.max_input_images, limited.options.cite) == (2, "picture {}")


@pytest.fixture
def unlisted(tiny: Path, tmp_path: Path) -> Path:
    """A model whose pipeline is part of the library, but is not in the file, because the library has deprecated it."""
    folder = shutil.copytree(tiny / "sd", tmp_path / "unlisted")
    index = json.loads((folder / "model_index.json").read_text()) | {"_class_name": "StableDiffusionPanoramaPipeline"}
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


async def test_a_class_that_is_not_in_the_file_is_inspected_when_it_is_loaded(
    unlisted: Path, program: ForkServer
) -> None:
    engine = Diffusers(model=str(unlisted), max_references=4, **TINY)
    engine._command = program.command("framehouse.engines.diffusers.process")
    try:
        assert engine.abilities().max_references == 10
        series = replace(batch(shots=3), series=True)
        first = images(await generate(engine, series))
        generated = {image.index: image.pixels for image in first}
        assert sorted(generated) == [0, 1, 2]
        assert not any("series_similarity" in image.facts for image in first)
        found = engine.abilities()
        assert (found.max_references, found.whole_series, found.expansions) == (0, False, False)
        again = {image.index: image.pixels for image in images(await generate(engine, series))}
        assert all(np.array_equal(generated[index], again[index]) for index in generated)
    finally:
        await engine.close()


async def test_a_reference_for_an_unknown_class_that_accepts_only_text_is_left_to_the_next_route(
    unlisted: Path, program: ForkServer
) -> None:
    engine = Diffusers(model=str(unlisted), **TINY)
    engine._command = program.command("framehouse.engines.diffusers.process")
    try:
        with pytest.raises(Unavailable, match="unlisted generates only from text"):
            await generate(engine, batch(references=1))
        assert engine.abilities().max_references == 0
    finally:
        await engine.close()


async def test_a_model_that_only_expands_leaves_other_tasks_to_the_next_route() -> None:
    with pytest.raises(Unavailable, match=r"FLUX\.1-Fill-dev only expands images and edits images with a mask"):
        await generate(Diffusers(model="black-forest-labs/FLUX.1-Fill-dev"), batch())


# --- Tiny models -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", CONTRACT_MODELS)
class TestPipelines(EngineContract):
    @pytest.fixture
    def engine(self, model: str, engine_of: Callable[[str], Diffusers]) -> Engine:
        return engine_of(model)


@pytest.mark.parametrize("model", CONTRACT_MODELS)
async def test_different_prompts_in_one_call_give_the_same_images_as_alone(
    model: str, engine_of: Callable[[str], Diffusers]
) -> None:
    """The batches of `batch` have the same prompt, but different framings."""
    engine = engine_of(model)
    task = batch(shots=3)
    together = images(await generate(engine, task))
    alone = [images(await generate(engine, replace(task, shots=(shot,))))[0] for shot in task.shots]
    assert {image.facts["batch"] for image in together} == {3}
    for image, single in zip(sorted(together, key=lambda image: image.index), alone, strict=True):
        assert np.abs(image.pixels.astype(int) - single.pixels).max() <= 1
