"""The engine `openai_images`: its requests to each kind of server, and the result of each kind of failure."""

import asyncio
import io
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageChops

from framehouse.adapters.images.resize import resize_and_crop
from framehouse.domain.errors import Broken, Declined, Failed, Unavailable, Unknown
from framehouse.domain.expansion import Expansion, layout
from framehouse.domain.model import Model
from framehouse.domain.shot import Shot
from framehouse.domain.sizes import RATIOS, Size, size_of
from framehouse.domain.task import RequestOptions
from framehouse.engines import error_replies
from framehouse.engines.image_files import png_file
from framehouse.engines.interface import Batch, Engine, GeneratedImage, ReferenceImage, SavedElement
from framehouse.engines.openai_images import OpenAIImages
from framehouse.engines.openai_images.server_kinds import KINDS, generated_size
from framehouse.engines.option_checks import BadOption
from framehouse.engines.registry import BadRoute, open_registry
from framehouse.testing.engine_contract import EngineContract, batch, generate, images
from tests.support.eventually import eventually
from tests.support.image_files import image_base64, image_file
from tests.support.in_process_deployment import MakeDeployment
from tests.support.mask_files import photo
from tests.support.openai_server import ModelServer, serving
from tests.support.sockets import free_port
from tests.support.tasks import wait_for_task

SMALL = 256 * 256
ENGINE = "framehouse.engines.openai_images:OpenAIImages"
SELF_HOSTED = ("sglang", "vllm_omni", "xinference")


@asynccontextmanager
async def running(*servers: ModelServer, **options: Any) -> AsyncIterator[OpenAIImages]:
    """Return an engine that uses these servers. By default it sends no reference probe."""
    engine_options: dict[str, Any] = {
        "kind": servers[0].kind,
        "model": "m",
        "max_pixels": SMALL,
        "timeout_s": 20,
        "probe": False,
    } | options
    engine = OpenAIImages(base_urls=[server.url for server in servers], **engine_options)
    try:
        yield engine
    finally:
        await engine.close()


def batch_of(prompt: str, *, shots: int = 1, references: int = 0, framing: str = "", **fields: Any) -> Batch:
    all_shots = tuple(Shot(n, prompt, framing, 100 + n) for n in range(shots))
    images_sent = tuple(ReferenceImage(image_file(400 + n, 300), 400 + n, 300) for n in range(references))
    return Batch("task", all_shots, shots, Size(1024, 1024), images_sent, **fields)


class Contract(EngineContract):
    kind = ""

    @pytest.fixture
    async def engine(self) -> AsyncIterator[Engine]:
        async with serving(self.kind) as server, running(server, probe=True) as engine:
            yield engine
            assert server.max_active <= KINDS[self.kind].concurrency + 1, "more requests than the limit and one probe"


class TestSglang(Contract):
    kind = "sglang"


class TestVllmOmni(Contract):
    kind = "vllm_omni"


class TestXinference(Contract):
    kind = "xinference"


class TestOpenAI(Contract):
    kind = "openai"


# --- Requests ------------------------------------------------------------------------------------------------------

_SELF_HOSTED_FIELDS = {"model", "prompt", "n", "size", "response_format", "output_format", "seed", "generator_device"}


@pytest.mark.parametrize(
    ("kind", "generation", "edit"),
    [
        ("sglang", _SELF_HOSTED_FIELDS, _SELF_HOSTED_FIELDS),
        ("vllm_omni", _SELF_HOSTED_FIELDS, _SELF_HOSTED_FIELDS),
        (
            "xinference",
            {"model", "prompt", "n", "size", "response_format", "kwargs"},
            {"model", "prompt", "n", "size", "response_format"},
        ),
        (
            "openai",
            {"model", "prompt", "n", "size", "output_format"},
            {"model", "prompt", "n", "size", "output_format"},
        ),
    ],
)
async def test_each_kind_of_server_gets_exactly_the_fields_that_it_knows(
    kind: str, generation: set[str], edit: set[str]
) -> None:
    async with serving(kind, key="k") as server, running(server, api_key="k") as engine:
        await generate(engine, batch_of("a fox"))
        await generate(engine, batch_of("a fox like <<<image_1>>>", references=1))
        await generate(engine, batch_of("a fox"))
    first, second, third = server.posts
    assert server.paths() == ["generations", "edits", "generations"]
    assert set(first.fields) == generation
    assert set(second.fields) == edit
    assert second.files == [image_file(400, 300)]
    assert second.fields["prompt"] == "a fox like image 1"
    assert first.fields["size"] == "256x256"
    assert "cookie" not in third.headers, "the server's cookie was sent back"


async def test_the_operators_options_are_in_the_fields_of_each_kind_of_server() -> None:
    one_shot = batch_of("a fox")
    async with serving("sglang") as server, running(server, steps=4, guidance=1) as engine:
        await generate(engine, one_shot)
        assert (server.posts[0].fields["num_inference_steps"], server.posts[0].fields["guidance_scale"]) == (4, 1.0)
        assert server.posts[0].fields["seed"] == 100
    async with serving("xinference") as server, running(server, steps=4, guidance=1) as engine:
        await generate(engine, one_shot)
        kwargs = json.loads(server.posts[0].fields["kwargs"])
        assert kwargs == {"seed": 100, "num_inference_steps": 4, "guidance_scale": 1.0}
    async with serving("openai") as server, running(server, quality="high") as engine:
        await generate(engine, one_shot)
        assert server.posts[0].fields["quality"] == "high"


async def test_the_negative_prompt_is_sent_only_to_servers_that_have_a_field_for_it() -> None:
    requested = replace(batch_of("a fox"), options=RequestOptions(negative_prompt="snow"))
    for kind in (*SELF_HOSTED, "openai"):
        async with serving(kind) as server, running(server) as engine:
            await generate(engine, requested)
            await generate(engine, replace(requested, references=batch_of("a fox", references=1).references))
            supported = kind in ("sglang", "vllm_omni")
            assert engine.abilities().negative_prompts == supported
            assert [post.fields.get("negative_prompt") for post in server.posts] == ["snow" if supported else None] * 2


async def test_shots_with_the_same_prompt_and_consecutive_seeds_share_a_request() -> None:
    async with serving("sglang") as server, running(server) as engine:
        generated = images(await generate(engine, batch_of("a fox", shots=6)))
        assert [p.index for p in generated] == [0, 1, 2, 3, 4, 5]
        assert [(post.fields["n"], post.fields["seed"]) for post in server.posts] == [(4, 100), (2, 104)]
        alone = replace(batch_of("a fox"), shots=(Shot(0, "a fox", "", 103),))
        assert (images(await generate(engine, alone))[0].pixels == generated[3].pixels).all(), "seed 103 differs"
        server.posts.clear()
        gap = (Shot(0, "a fox", "", 100), Shot(2, "a fox", "", 102), Shot(3, "a fox", "close-up", 103))
        await generate(engine, replace(batch_of("a fox"), shots=gap))
        assert [(post.fields["n"], post.fields["seed"]) for post in server.posts] == [(1, 100), (1, 102), (1, 103)]
        assert server.posts[2].fields["prompt"] == "a fox. Close-up."


def test_a_size_over_the_models_limit_becomes_the_largest_size_of_the_same_ratio() -> None:
    for ratio in RATIOS:
        requested = size_of(ratio, "4k")
        size = generated_size(KINDS["openai"], "gpt-image-2", requested, KINDS["openai"].max_pixels)
        assert size.width % 16 == size.height % 16 == 0
        assert max(size) <= 3840
        assert size.width * size.height <= 3840 * 2160
        assert size.width * requested.height == size.height * requested.width
        assert generated_size(KINDS["sglang"], "m", size_of(ratio, "1k"), 2048 * 2048) == size_of(ratio, "1k")
    assert generated_size(KINDS["openai"], "gpt-image-1.5", size_of("16:9", "2k"), 10**8) == (1536, 1024)
    assert generated_size(KINDS["openai"], "gpt-image-1-mini", size_of("9:16", "1k"), 10**8) == (1024, 1536)


async def test_the_facts_contain_server_size_and_contact_sheet() -> None:
    async with serving("sglang") as server, running(server, max_references=2) as engine:
        generated = images(await generate(engine, batch_of("all of <<<image_3>>>", references=3)))[0]
    assert generated.facts == {
        "server": "sglang",
        "generated_by": "m",
        "generated_size": "256x256",
        "contact_sheet": "2 references are tiled onto image 2, because the model accepts at most 2 images",
    }
    assert len(server.posts[0].files) == 2
    assert server.posts[0].fields["prompt"] == "all of row 1, column 2 of image 2"


async def test_references_are_sent_upright_and_in_rgb() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    rotated = image_file(400, 300, "JPEG", exif=exif)
    transparent, cmyk = io.BytesIO(), io.BytesIO()
    Image.new("RGBA", (300, 300), (0, 0, 0, 0)).save(transparent, "PNG")
    Image.new("CMYK", (300, 300)).save(cmyk, "JPEG")
    contents = [rotated, transparent.getvalue(), cmyk.getvalue(), image_file(400, 300, "JPEG")]
    references = tuple(ReferenceImage(content, 300, 400) for content in contents)
    async with serving("openai") as server, running(server) as engine:
        await generate(engine, replace(batch_of("a fox"), references=references))
    received = [Image.open(io.BytesIO(content)) for content in server.posts[0].files]
    assert received[0].size == (300, 400)
    assert {image.mode for image in received} == {"RGB"}
    assert received[1].getpixel((5, 5)) == (255, 255, 255)
    assert server.posts[0].files[3] == contents[3], "an upright RGB file was changed"


async def test_an_element_is_sent_as_an_image_and_named_in_the_prompt() -> None:
    image = ReferenceImage(image_file(), 400, 300)
    bag = SavedElement("Red bag", "A red leather bag", (image,))
    async with serving("sglang") as server, running(server) as engine:
        await generate(engine, replace(batch_of("<<<element_1>>> on a table"), elements=(bag,)))
    assert server.posts[0].fields["prompt"] == "Red bag (image 1) on a table. Red bag: A red leather bag."
    assert len(server.posts[0].files) == 1


async def test_the_first_image_of_a_series_is_a_reference_for_the_later_images() -> None:
    async with serving("sglang") as server, running(server) as engine:
        assert engine.abilities().whole_series
        generated = images(await generate(engine, batch_of("a fox", shots=3, series=True)))
        assert server.paths() == ["generations", "edits", "edits"] or server.paths() == ["generations", "edits"]
        reference = Image.open(io.BytesIO(server.posts[1].files[0]))
        assert reference.tobytes() == generated[0].pixels.tobytes()
        assert "Same people, things, place and style as in image 1" in server.posts[1].fields["prompt"]
        server.posts.clear()
        frame = ReferenceImage(image_file(500, 500), 500, 500)
        await generate(engine, batch_of("a fox <<<image_1>>>", references=1, series=True, first_frame=frame))
        assert server.posts[0].files == [image_file(400, 300), frame.content]
    async with serving("sglang") as server, running(server, max_references=0) as engine:
        assert not engine.abilities().whole_series
        assert engine.abilities().max_references == 0
        await generate(engine, batch_of("a fox", series=True))
        assert server.paths() == ["generations"]


# --- Expansions ------------------------------------------------------------------------------------------------------


def expansion_of(width: int, height: int, expansion: Expansion, **fields: Any) -> Batch:
    size, box = layout(expansion, width, height)
    original = ReferenceImage(image_file(width, height), width, height, "original")
    return replace(batch_of("Continue.", **fields), size=size, box=box, references=(original,), kind="expand")


@pytest.mark.parametrize(("kind", "model"), [("openai", "m"), ("vllm_omni", "FLUX.2-klein-4B")])
async def test_an_expansion_sends_a_canvas_and_a_mask(kind: str, model: str) -> None:
    requested = expansion_of(400, 400, Expansion(left=1), shots=2)
    async with serving(kind, model=model) as server, running(server, model=model, max_pixels=800 * 400) as engine:
        assert engine.abilities().expansions
        generated = images(await generate(engine, requested))
    assert len(generated) == 2
    assert generated[0].pixels.shape == (400, 800, 3)
    assert server.paths() == ["edits"] * len(server.posts)
    assert server.posts[0].fields["prompt"] == "Continue."
    assert server.posts[0].fields["size"] == "800x400"
    (content,) = server.posts[0].files
    canvas, mask = Image.open(io.BytesIO(content)), Image.open(io.BytesIO(server.posts[0].mask))
    assert canvas.mode == "RGB"
    assert canvas.size == mask.size == (800, 400)
    original = Image.open(io.BytesIO(image_file(400, 400))).convert("RGB")
    assert canvas.crop((400, 0, 800, 400)).tobytes() == original.tobytes()
    if kind == "openai":
        assert mask.mode == "RGBA"
        opaque = mask.getchannel("A").point(lambda alpha: alpha and 255)
    else:
        assert mask.mode == "L"
        opaque = ImageChops.invert(mask)
    assert opaque.getbbox() == (408, 0, 800, 400), "the mask must overlap the expanded edge by 8 pixels"
    assert sum(opaque.histogram()[1:255]) == 0


async def test_an_expansion_has_a_size_that_the_server_allows() -> None:
    wide = expansion_of(2000, 800, Expansion(right=2))
    async with serving("openai") as server, running(server, max_pixels=10**8) as engine:
        generated = images(await generate(engine, wide))[0]
        width, height = map(int, server.posts[0].fields["size"].split("x"))
    assert max(width, height) <= 3840
    assert 2.8 < width / height < 3
    assert generated.facts["generated_size"] == f"{width}x{height}"
    old = "gpt-image-1.5"
    async with serving("openai", model=old) as server, running(server, model=old) as engine:
        await generate(engine, wide)
        assert server.posts[0].fields["size"] == "1536x1024"


MASK_AREA, EDIT_SIZE = (100, 50, 200, 250), Size(1024, 768)


def masked_edit(*, references: int = 1, size: Size = EDIT_SIZE, **fields: Any) -> Batch:
    mask = Image.new("L", (400, 300), 0)
    mask.paste(255, MASK_AREA)
    images_sent = tuple(ReferenceImage(png_file(photo(400 + n, 300)), 400 + n, 300) for n in range(references))
    return replace(
        batch_of("A hat on <<<image_1>>>.", **fields),
        size=size,
        references=images_sent,
        mask=ReferenceImage(png_file(mask), 400, 300, "mask"),
    )


@pytest.mark.parametrize(("kind", "model"), [("openai", "m"), ("vllm_omni", "FLUX.2-klein-4B")])
async def test_an_edit_with_a_mask_sends_the_image_and_the_mask(kind: str, model: str) -> None:
    async with serving(kind, model=model) as server, running(server, model=model, max_pixels=1024 * 768) as engine:
        assert engine.abilities().masks
        generated = images(await generate(engine, masked_edit(shots=2)))
    assert len(generated) == 2
    posted = server.posts[0]
    assert (server.paths()[0], posted.fields["prompt"]) == ("edits", "A hat on image 1.")
    (content,) = posted.files
    canvas, mask = Image.open(io.BytesIO(content)), Image.open(io.BytesIO(posted.mask))
    assert posted.fields["size"] == f"{canvas.width}x{canvas.height}"
    assert canvas.mode == "RGB"
    assert canvas.size == mask.size
    edited = ImageChops.invert(mask.getchannel("A")) if kind == "openai" else mask
    assert edited.mode == "L"
    assert sum(edited.histogram()[1:255]) == 0
    box, scale = edited.getbbox(), canvas.width / 400
    assert box is not None
    assert np.abs(np.array(box) - np.array(MASK_AREA) * scale).max() <= 2
    shown = np.asarray(canvas.resize((400, 300), Image.Resampling.LANCZOS)).astype(int)
    assert np.abs(shown - np.asarray(photo(400, 300))).max() < 12


async def test_further_references_follow_the_edited_image() -> None:
    async with serving("openai") as server, running(server, max_references=2) as engine:
        assert engine.abilities().masked_references == 10
        await generate(engine, masked_edit(references=3))
    first, second = (Image.open(io.BytesIO(content)) for content in server.posts[0].files)
    assert first.size == Image.open(io.BytesIO(server.posts[0].mask)).size
    assert second.width > 1000, "the other references share a contact sheet"


async def test_a_size_with_another_ratio_shows_the_centre_of_the_image_and_of_the_mask() -> None:
    old = "gpt-image-1.5"  # generates only three sizes
    wide = masked_edit(size=Size(1600, 900))
    async with serving("openai", model=old) as server, running(server, model=old) as engine:
        await generate(engine, wide)
    canvas = np.asarray(Image.open(io.BytesIO(server.posts[0].files[0])))
    alpha = np.asarray(Image.open(io.BytesIO(server.posts[0].mask)).getchannel("A"))
    assert canvas.shape[:2] == alpha.shape == (1024, 1536)
    finished = resize_and_crop(canvas, wide.size).astype(int)
    expected = resize_and_crop(np.asarray(photo(400, 300)), wide.size)
    assert np.abs(finished - expected).max() <= 6, "the image is at another place"
    mask = np.zeros((300, 400), np.uint8)
    mask[MASK_AREA[1] : MASK_AREA[3], MASK_AREA[0] : MASK_AREA[2]] = 255
    cropped, wanted = resize_and_crop(255 - alpha, wide.size), resize_and_crop(mask, wide.size)
    assert ((cropped > 127) != (wanted > 127)).mean() < 0.005


def test_only_servers_and_models_that_use_masks_expand_images() -> None:
    def expands(kind: str, model: str = "m", **options: Any) -> bool:
        engine = OpenAIImages(kind=kind, model=model, base_urls=["http://gpu"], **options)
        assert engine.abilities().masks == engine.abilities().expansions
        return engine.abilities().expansions

    assert expands("openai")
    assert not expands("openai", masks=False)
    assert not expands("openai", max_references=0)
    assert expands("vllm_omni", "black-forest-labs/FLUX.2-klein-4B")
    assert not expands("vllm_omni", "Qwen/Qwen-Image-Edit-2511")
    assert expands("vllm_omni", "other", masks=True)
    assert not expands("sglang", "FLUX.2-klein-4B")
    assert not expands("xinference", "klein")
    with pytest.raises(BadOption, match='servers of kind "sglang" do not use masks'):
        expands("sglang", masks=True)


# --- Failures --------------------------------------------------------------------------------------------------------


def moderated(code: str = "moderation_blocked") -> dict[str, Any]:
    return {"error": {"message": "Rejected by the safety system.", "type": "user_error", "code": code}}


@pytest.mark.parametrize(
    ("fault", "paid", "raised", "message"),
    [
        ("cut", True, Unknown, "the model server closed the connection"),
        ("cut", False, Unavailable, "closed the connection"),
        ("half", True, Unknown, "closed the connection"),
        ("hang", True, Unknown, "did not send a complete response within 3 s"),
        ("hang", False, Unavailable, "did not send a complete response"),
        ((500, {}, "out of memory"), True, Unknown, "HTTP 500: out of memory"),
        ((500, {}, "out of memory"), False, Unavailable, "HTTP 500: out of memory"),
        ((502, {}, ""), True, Unknown, "HTTP 502"),
        ((503, {}, ""), True, Unknown, "HTTP 503"),
        ((503, {}, ""), False, Unavailable, "busy or still loading"),
        ((503, {"Retry-After": "7"}, ""), True, Unavailable, "busy or still loading"),
        ((503, {}, "The engine is currently overloaded"), True, Unavailable, "busy or still loading"),
        ((504, {}, ""), True, Unknown, "HTTP 504"),
        ((429, {"Retry-After": "7"}, ""), True, Unavailable, "busy"),
        ((429, {}, {"error": {"message": "", "code": "insufficient_quota"}}), True, Unavailable, "quota"),
        ((401, {}, "no"), True, Unavailable, "api_key"),
        ((403, {}, "no"), False, Unavailable, "api_key"),
        ((302, {"Location": "http://127.0.0.1:9/"}, ""), True, Unavailable, "redirect"),
        ((400, {}, moderated()), True, Declined, "Rejected by the safety system."),
        ((403, {}, moderated("content_policy_violation")), True, Declined, "Rejected"),
        ((400, {}, "NSFW words are against our content policy"), False, Declined, "NSFW words"),
        ((400, {}, "Invalid\n size \x1b[31m" + "x" * 900), True, Broken, "HTTP 400: Invalid size [31mx"),
        ((404, {}, "Model not found"), True, Broken, "HTTP 404: Model not found"),
        ((413, {}, ""), False, Broken, "HTTP 413"),
        ((422, {}, {"detail": [{"loc": ["body", "n"], "msg": "too many"}]}), False, Broken, "body.n: too many"),
        ("html", True, Broken, "does not have the format of the Images API"),
        ("garbage", False, Broken, "did not return an image"),
        ("few", True, Broken, "returned 0 images instead of 1"),
        ("address", True, Broken, "returned a URL instead of an image"),
        ("huge", True, Broken, "more than"),
        ("large image", False, Broken, "too large"),
    ],
)
async def test_each_failure_raises_its_error_and_no_request_is_sent_twice(
    fault: Any, paid: bool, raised: type[Failed], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if fault == "huge":
        monkeypatch.setattr("framehouse.engines.openai_images.server_client.MAX_ANSWER_BYTES", 2_000_000)
    options = {"paid": paid, "timeout_s": 3 if fault == "hang" else 20}
    async with serving("openai", faults=[fault]) as server, running(server, **options) as engine:
        with pytest.raises(Failed) as error:
            await generate(engine, batch_of("a fox"))
    assert type(error.value) is raised, error.value
    assert message in error.value.message
    assert len(error.value.message) < 400
    assert len(server.posts) == 1
    assert server.url not in error.value.message, "callers can read the message"


async def test_a_request_goes_to_another_server_after_a_refusal_but_not_after_a_lost_answer() -> None:
    for fault, posts in (("cut", 0), ((500, {}, ""), 0), ((429, {}, ""), 1), ((503, {"Retry-After": "1"}, ""), 1)):
        async with AsyncExitStack() as stack:
            faulty = await stack.enter_async_context(serving("sglang", faults=[fault]))
            healthy = await stack.enter_async_context(serving("sglang"))
            engine = await stack.enter_async_context(running(faulty, healthy))
            if posts:
                assert len(images(await generate(engine, batch_of("a fox")))) == 1
            else:
                with pytest.raises(Unavailable, match="server 1 of 2"):
                    await generate(engine, batch_of("a fox"))
            assert (len(faulty.posts), len(healthy.posts)) == (1, posts), fault


async def test_an_unreachable_server_is_skipped_and_cools_down() -> None:
    dead_url = f"http://127.0.0.1:{free_port()}/v1"
    async with serving("sglang") as other, running(replace(other, url=dead_url), other) as engine:
        for _ in range(4):
            assert len(images(await generate(engine, batch_of("a fox")))) == 1
        checks = await engine.check()
        assert [check.ok for check in checks] == [False, True]
        assert "cannot be reached" in checks[0].reason
    async with running(replace(other, url=dead_url)) as engine:
        with pytest.raises(Unavailable, match="the model server cannot be reached"):
            await generate(engine, batch_of("a fox"))


async def test_a_cooldown_starts_after_a_failure_and_ends() -> None:
    async with serving("sglang", faults=[(500, {}, "")], health=503) as server, running(server) as engine:
        with pytest.raises(Unavailable, match="HTTP 500"):
            await generate(engine, batch_of("a fox"))
        with pytest.raises(Unavailable, match="HTTP 500"):
            await generate(engine, batch_of("a fox"))
        assert len(server.posts) == 1, "the server was used during its cooldown"
        (check,) = await engine.check()
        assert not check.ok
        server.health = 200
        (check,) = await engine.check()
        assert check.ok
        assert check.subject == server.url
        assert len(images(await generate(engine, batch_of("a fox")))) == 1, "the health check did not end the cooldown"

    async with serving("sglang", faults=["cut"]) as server, running(server) as engine:
        with pytest.raises(Unavailable):
            await generate(engine, batch_of("a fox"))

        async def generates_again() -> bool:
            try:
                return len(images(await generate(engine, batch_of("a fox")))) == 1
            except Unavailable:
                return False

        assert await eventually(generates_again, seconds=30), "the cooldown did not end"
        assert len(server.posts) == 2


async def test_a_server_is_not_used_before_its_retry_after_is_over_even_if_it_is_healthy() -> None:
    async with serving("openai", faults=[(429, {"Retry-After": "60"}, "")]) as server, running(server) as engine:
        with pytest.raises(Unavailable):
            await generate(engine, batch_of("a fox"))
        (check,) = await engine.check()
        assert not check.ok
        assert "will not be used for" in check.reason
        with pytest.raises(Unavailable):
            await generate(engine, batch_of("a fox"))
        assert len(server.posts) == 1
    gate, refusal = asyncio.Event(), (429, {"Retry-After": "60"}, "")
    async with serving("openai", faults=["", refusal], gate=gate) as server, running(server) as engine:
        earlier = asyncio.create_task(generate(engine, batch_of("a fox")))

        async def request_arrived() -> bool:
            return len(server.posts) == 1

        await eventually(request_arrived)
        server.gate = None
        with pytest.raises(Unavailable):
            await generate(engine, batch_of("a fox"))
        gate.set()
        assert len(images(await earlier)) == 1
        with pytest.raises(Unavailable):
            await generate(engine, batch_of("a fox"))
        assert len(server.posts) == 2, "the answer to an earlier request ended the pause"


async def test_a_wrong_key_is_reported_without_the_key(caplog: pytest.LogCaptureFixture) -> None:
    async with serving("openai", key="right") as server, running(server, api_key="s3cret") as engine:
        (check,) = await engine.check()
        assert (check.ok, check.advice) == (False, "Set a valid api_key in the route.")
        with pytest.raises(Unavailable, match="api_key") as error:
            await generate(engine, batch_of("a secret fox"))
    output = f"{caplog.text} {check} {error.value} {engine!r} {vars(engine)}"
    assert "s3cret" not in output
    assert "secret fox" not in output


# --- Replicas --------------------------------------------------------------------------------------------------------


async def test_requests_go_to_the_least_busy_server_and_no_server_exceeds_its_limit() -> None:
    async with AsyncExitStack() as stack:
        gate = asyncio.Event()
        servers = [await stack.enter_async_context(serving("sglang", gate=gate)) for _ in range(3)]
        engine = await stack.enter_async_context(running(*servers, concurrency=2))
        assert engine.abilities().concurrency == 6
        tasks = [asyncio.create_task(generate(engine, batch_of(f"fox {n}"))) for n in range(3)]

        async def all_arrived() -> bool:
            return sum(len(server.posts) for server in servers) == len(tasks)

        await eventually(all_arrived)
        assert [len(server.posts) for server in servers] == [1, 1, 1]
        tasks += [asyncio.create_task(generate(engine, batch_of(f"fox {n}"))) for n in range(3, 5)]
        await eventually(all_arrived)
        assert sorted(len(server.posts) for server in servers) == [1, 2, 2]
        tasks += [asyncio.create_task(generate(engine, batch_of(f"fox {n}"))) for n in range(5, 12)]

        async def all_slots_used() -> bool:
            return [server.active for server in servers] == [2, 2, 2]

        await eventually(all_slots_used)
        await asyncio.sleep(0.2)  # more requests would arrive now
        assert [server.active for server in servers] == [2, 2, 2]
        gate.set()
        await asyncio.gather(*tasks)
        assert max(server.max_active for server in servers) == 2
        assert sum(len(server.posts) for server in servers) == 12


async def test_cancelling_closes_the_connection_and_frees_the_slots_of_running_and_waiting_calls() -> None:
    async with serving("vllm_omni", gate=asyncio.Event()) as server, running(server) as engine:
        first = asyncio.create_task(generate(engine, batch_of("a fox")))

        async def request_arrived() -> bool:
            return len(server.posts) == 1

        await eventually(request_arrived)
        waiting = [asyncio.create_task(generate(engine, batch_of("a fox"))) for _ in range(3)]
        await asyncio.sleep(0.05)
        for task in (waiting[0], first):
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                async with asyncio.timeout(10):  # without the cancellation, the call ends after 20 seconds
                    await task

        async def aborted() -> bool:
            return server.aborted == 1

        await eventually(aborted)
        assert server.gate is not None
        server.gate.set()
        async with asyncio.timeout(60):
            assert len(images(await generate(engine, batch_of("a fox")))) == 1
            await asyncio.gather(*waiting[1:])
        assert server.max_active == 1


async def test_closing_the_iterator_early_frees_the_slot() -> None:
    async with serving("sglang") as server, running(server) as engine:
        async with aclosing(engine.generate(batch(shots=4))) as events:  # type: ignore[type-var]
            async for event in events:
                if isinstance(event, GeneratedImage):
                    break
        assert len(server.posts) == 1
        assert len(images(await generate(engine, batch_of("a fox")))) == 1


# --- The reference probe ---------------------------------------------------------------------------------------------


async def test_a_server_that_drops_references_is_detected_and_gets_a_contact_sheet(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with serving("sglang", max_references=1) as server, running(server, probe=True) as engine:
        (check,) = await engine.check()
        assert check.ok
        assert "drops every reference after the first" in check.reason
        assert "drops every reference after the first" in caplog.text
        assert [len(post.files) for post in server.posts] == [1, 1, 2]
        server.posts.clear()
        generated = images(await generate(engine, batch_of("a fox", references=3)))[0]
        assert len(server.posts[0].files) == 1
        assert generated.facts["contact_sheet"] == (
            "3 references are tiled onto image 1, because the model accepts at most 1 image"
        )
        await engine.check()
        assert len(server.posts) == 1, "the server was probed twice"


async def test_the_first_calls_wait_for_the_probe_and_send_as_many_references_as_it_found() -> None:
    async with serving("sglang") as server, running(server, probe=True) as engine:
        await asyncio.gather(*(generate(engine, batch_of("a fox", references=3)) for _ in range(3)))
        assert [len(post.files) for post in server.posts] == [1, 1, 2, 3, 3, 3]
        await generate(engine, batch_of("a fox"))
        (check,) = await engine.check()
        assert check.reason == "the server is healthy and accepts up to 4 references"


@pytest.mark.parametrize("answer", [(400, "not supported for T2I models"), (500, "no such ability"), (404, "")])
async def test_a_server_without_edits_gets_no_references_and_a_batch_with_references_fails(
    answer: tuple[int, str],
) -> None:
    async with serving("sglang", edit_error=answer) as server, running(server, probe=True) as engine:
        with pytest.raises(Unavailable, match=f"accepts no references .HTTP {answer[0]}"):
            await generate(engine, batch_of("a fox", references=1))
        assert len(images(await generate(engine, batch_of("a fox")))) == 1, "a prompt without references failed"
        async with serving("sglang") as with_edits, running(server, with_edits, probe=True) as both:
            assert len(images(await generate(both, batch_of("a fox", references=2)))) == 1
            assert len(with_edits.posts[-1].files) == 2
        server.edit_error = None
        (check,) = await engine.check()
        assert check.reason == "the server is healthy and accepts up to 4 references", "the probe was not repeated"


async def test_a_server_that_refuses_the_second_reference_gets_one_reference() -> None:
    faults: list[Any] = ["", "", (400, {}, "Only a single image is supported")]
    async with serving("vllm_omni", faults=faults) as server, running(server, probe=True) as engine:
        (check,) = await engine.check()
        assert "accepts only one reference (HTTP 400: Only a single image is supported)" in check.reason


async def test_a_server_that_ignores_seeds_is_not_probed_for_dropped_references() -> None:
    async with serving("xinference") as server, running(server, probe=True, max_references=3) as engine:
        (check,) = await engine.check()
        assert "may drop references" in check.reason
        assert len(server.posts) == 1
    async with serving("xinference") as server, running(server, probe=True) as engine:
        (check,) = await engine.check()
        assert "accepts up to 1 reference; for a model that accepts more references" in check.reason


async def test_a_failed_probe_is_repeated_later() -> None:
    async with serving("sglang", faults=["cut"]) as server, running(server, probe=True) as engine:
        (check,) = await engine.check()
        assert check.ok
        assert "no result yet" in check.reason
        (check,) = await engine.check()
        assert check.reason == "the server is healthy and accepts up to 4 references"


async def test_the_health_check_reports_a_model_that_the_server_does_not_have() -> None:
    async with serving("xinference", model="other") as server, running(server) as engine:
        (check,) = await engine.check()
        assert (check.ok, check.reason) == (False, 'the server has no model "m"; its models: other')
        with pytest.raises(Broken, match="Model not found: m"):
            await generate(engine, batch_of("a fox"))


async def test_openai_is_never_probed() -> None:
    async with serving("openai") as server, running(server, probe=True) as engine:
        (check,) = await engine.check()
        assert check.ok
        await generate(engine, batch_of("a fox", references=2))
        assert len(server.posts) == 1


# --- Options and whole tasks -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "comfy"}, 'kind must be one of sglang, vllm_omni, xinference, openai, compatible; it is "comfy"'),
        ({"base_urls": None}, "base_urls must be a list"),
        ({"base_urls": "http://a"}, "base_urls must be a list"),
        ({"base_urls": ["gpu-1:30000"]}, '"gpu-1:30000" must be an http or https URL'),
        ({"base_urls": ["http://me:secret@a"]}, "without a user name"),
        ({"base_urls": ["http://a", "http://a/v1/"]}, "must not contain the same URL twice"),
        ({"model": ""}, "model must be"),
        ({"api_key": "a\nb"}, "api_key must contain"),
        ({"max_references": -1}, "max_references must be a whole number from 0 to 100; it is -1"),
        ({"max_pixels": True}, "max_pixels must be"),
        ({"concurrency": 0}, "concurrency must be"),
        ({"steps": 0}, "steps must be"),
        ({"guidance": "1"}, "guidance must be"),
        ({"quality": "high"}, "quality must be one of low"),
        ({"kind": "openai", "steps": 4}, 'servers of kind "openai" do not accept steps or guidance'),
        ({"cite": "image"}, "cite must be the text"),
        ({"timeout_s": 0}, "timeout_s must be"),
        ({"paid": "no"}, "paid must be true or false"),
        ({"probe": 1}, "probe must be true or false"),
    ],
)
def test_the_error_names_the_bad_option(options: dict[str, Any], message: str) -> None:
    with pytest.raises(BadOption) as error:
        OpenAIImages(**({"kind": "sglang", "base_urls": ["http://a"], "model": "m"} | options))
    assert message in str(error.value)


def test_a_route_with_an_unknown_option_is_rejected() -> None:
    route = {"engine": ENGINE, "kind": "openai", "model": "gpt-image-2", "speed": 3}
    with pytest.raises(BadRoute, match="speed"):
        open_registry([(Model("m"), [route])])


def test_error_details_are_read_from_answers_of_any_form() -> None:
    assert error_replies.error_details(b'{"error": "plain"}') == ("plain", frozenset())
    assert error_replies.error_details(b'{"message": "plain"}') == ("plain", frozenset())
    assert (
        error_replies.error_details(b"[1]")
        == error_replies.error_details(b"<html>")
        == error_replies.error_details(b"[" * 100_000)
        == ("", frozenset())
    )


async def test_a_worker_generates_a_task_with_references_and_a_series(make_deployment: MakeDeployment) -> None:
    async with serving("sglang") as server:
        route = {"engine": ENGINE, "kind": "sglang", "base_urls": [server.url], "model": "m", "max_pixels": SMALL}
        deployment = await make_deployment(route)
        with_reference = await deployment.submit("like <<<image_1>>>", n=3, image_list=[{"image": image_base64()}])
        series = await deployment.submit("a fox", result_type="series", series_amount=3)
        deployment.start_worker()
        for ticket in (with_reference, series):
            task = await wait_for_task(deployment, ticket.task_id)
            assert task.status == "succeed", task
            assert len(task.images) == 3
        for worker, worker_task in deployment.workers:
            worker.stop()
            await worker_task
        deployment.workers.clear()
        await deployment.registry.close()


@pytest.mark.parametrize("kind", SELF_HOSTED)
def test_creating_the_engine_opens_no_client(kind: str) -> None:
    engine = OpenAIImages(kind=kind, base_urls=["http://a:1"], model="m")
    assert engine.abilities().seeds == KINDS[kind].seeds
    assert engine._client._client is None
