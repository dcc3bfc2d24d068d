"""The engine `openai_images` with the kind `compatible`: the recipes in docs/engines, and all failures."""

import base64
import io
import logging
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import pytest
from PIL import Image

from framehouse.domain.errors import Broken, Declined, Failed, Unavailable, Unknown
from framehouse.domain.expansion import Expansion, layout
from framehouse.domain.shot import Shot
from framehouse.domain.sizes import RATIOS, Size, size_of
from framehouse.engines.interface import Batch, Engine, GeneratedImage, ReferenceImage, SavedElement
from framehouse.engines.openai_images import OpenAIImages
from framehouse.engines.openai_images.compatible_requests import nearest_ratio_name, nearest_size
from framehouse.engines.option_checks import BadOption
from framehouse.testing.engine_contract import EngineContract, generate, images
from tests.support.compatible_server import KEY, PAGES, SERVICES, CompatibleServer, recipe, serving
from tests.support.image_files import image_file
from tests.support.in_process_deployment import MakeDeployment
from tests.support.sockets import free_port
from tests.support.tasks import wait_for_task

ENGINE = "framehouse.engines.openai_images:OpenAIImages"


@asynccontextmanager
async def running(name: str, server: CompatibleServer, **options: Any) -> AsyncIterator[OpenAIImages]:
    engine = OpenAIImages(**(recipe(name, server.url) | {"timeout_s": 20} | options))
    try:
        yield engine
    finally:
        await engine.close()


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("framehouse.engines.openai_images.returned_images._FIRST_PAUSE_S", 0.001)


def batch_of(prompt: str = "a fox", *, shots: int = 1, references: int = 0, **fields: Any) -> Batch:
    all_shots = tuple(Shot(n, prompt, "", 100 + n) for n in range(shots))
    sent = tuple(ReferenceImage(image_file(400 + n, 300), 400 + n, 300) for n in range(references))
    return Batch("task", all_shots, shots, Size(1024, 1024), sent, **fields)


def series_of(shots: int, *, references: int = 0, **fields: Any) -> Batch:
    framed = tuple(Shot(n, "a fox", ("wide shot", "close-up")[n % 2], 100 + n) for n in range(shots))
    return replace(batch_of(references=references, **fields), shots=framed, image_count=shots, series=True)


class _CompatibleContract(EngineContract):
    service = ""

    @pytest.fixture
    async def engine(self) -> AsyncIterator[Engine]:
        async with serving(self.service) as server, running(self.service, server) as engine:
            yield engine
            assert server.max_active <= 4


class TestPlain(_CompatibleContract):
    service = "plain"


class TestSeedream(_CompatibleContract):
    service = "seedream"


# --- The recipes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PAGES)
async def test_each_recipe_generates_images_of_every_size_with_and_without_references(name: str) -> None:
    async with serving(name) as server, running(name, server) as engine:
        abilities = engine.abilities()
        assert abilities.paid == (name != "aquiles")
        assert (abilities.max_references == 0) == (name == "zhipu")
        for ratio in RATIOS:
            for resolution in ("1k", "2k", "4k"):
                await generate(engine, replace(batch_of(), size=size_of(ratio, resolution)))
        generated = images(await generate(engine, batch_of(shots=abilities.max_batch)))
        assert len(generated) == abilities.max_batch
        assert generated[0].facts["server"] == "compatible"
        if abilities.max_references:
            server.requests.clear()
            await generate(engine, batch_of("like <<<image_1>>>", references=1))
            await generate(engine, batch_of(references=2))
            await generate(engine, batch_of(references=10))
            limit = {"xai": 3, "aquiles": 4}.get(name, 10)
            assert [len(request.references) for request in server.requests] == [1, 2, limit]
            assert server.requests[0].references == [image_file(400, 300)]
            assert server.requests[0].fields["prompt"] == "like image 1"
        (check,) = await engine.check()
        assert check.ok, check.reason


async def test_each_recipe_sends_the_fields_and_paths_of_its_service() -> None:
    sent: dict[str, tuple[list[str], dict[str, Any]]] = {}
    for name in PAGES:
        async with serving(name) as server, running(name, server) as engine:
            await generate(engine, replace(batch_of(), size=size_of("21:9", "2k")))
            if name != "zhipu":
                await generate(engine, batch_of(references=2))
            sent[name] = server.paths(), server.requests[0].fields
    base = {"model": "m", "prompt": "a fox"}
    assert sent == {
        "seedream": (
            ["/images/generations", "/images/generations"],
            base
            | {"size": "3136x1344", "response_format": "b64_json", "watermark": False}
            | {"sequential_image_generation": "disabled"},
        ),
        "azure": (
            ["/images/generations", "/images/edits"],
            base | {"size": "1536x1024", "output_format": "png", "quality": "high"},
        ),
        "xai": (
            ["/images/generations", "/images/edits"],
            base | {"aspect_ratio": "20:9", "resolution": "2k", "response_format": "b64_json"},
        ),
        "zhipu": (["/images/generations"], base | {"size": "1728x960"}),
        "litellm": (
            ["/images/generations", "/images/edits"],
            base | {"size": "1536x1024", "output_format": "png"},
        ),
        "aquiles": (
            ["/images/generations", "/images/edits"],
            base | {"size": "1024x1024", "response_format": "b64_json"},
        ),
    }


async def test_azure_expands_an_image_with_a_mask() -> None:
    size, box = layout(Expansion(left=1), 400, 400)
    original = ReferenceImage(image_file(400, 400), 400, 400, "original")
    batch = replace(batch_of(), size=size, box=box, references=(original,), kind="expand")
    async with serving("azure") as server, running("azure", server) as engine:
        assert engine.abilities().expansions
        await generate(engine, batch)
    (request,) = server.requests
    assert request.fields["size"] == "1536x1024"
    assert Image.open(io.BytesIO(request.mask)).mode == "RGBA"
    assert Image.open(io.BytesIO(request.references[0])).size == (1536, 1024)


def test_masks_are_used_only_if_the_route_says_so() -> None:
    engine = OpenAIImages(kind="compatible", base_urls=["http://a"], model="FLUX.2-klein-4B", max_references=1)
    assert not engine.abilities().expansions


async def test_references_can_be_sent_as_base64_in_a_field_of_any_name() -> None:
    options = {"references_as": "base64", "reference_field": "input_images"}
    async with serving("plain") as server, running("plain", server, **options) as engine:
        with pytest.raises(Broken, match="unknown fields: input_images"):
            await generate(engine, batch_of(references=2))
    sent = server.requests[0].fields["input_images"]
    assert [base64.b64decode(entry) for entry in sent] == [image_file(400, 300), image_file(401, 300)]


async def test_extra_fields_of_a_form_are_written_as_json() -> None:
    extra = {"watermark": False, "style": "vivid", "options": {"mode": "fast"}}
    async with serving("plain") as server, running("plain", server, extra=extra) as engine:
        with pytest.raises(Broken, match="unknown fields"):
            await generate(engine, batch_of(references=1))
    fields = server.requests[0].fields
    assert (fields["watermark"], fields["style"], fields["options"]) == ("false", "vivid", '{"mode": "fast"}')


def test_the_nearest_size_has_the_nearest_aspect_ratio_and_covers_the_requested_size() -> None:
    sizes = [Size(2048, 2048), Size(2848, 1600), Size(1600, 2848), Size(5504, 3040), Size(4096, 4096)]
    assert nearest_size(sizes, size_of("16:9", "1k")) == (2848, 1600)
    assert nearest_size(sizes, size_of("16:9", "2k")) == (2848, 1600)
    assert nearest_size(sizes, size_of("16:9", "4k")) == (5504, 3040)
    assert nearest_size(sizes, size_of("9:16", "4k")) == (1600, 2848)
    assert nearest_size(sizes, size_of("1:1", "4k")) == (4096, 4096)
    assert nearest_size(sizes, size_of("4:3", "1k")) == (2048, 2048)
    ratios = {"1:1": 1.0, "20:9": 20 / 9, "2:1": 2.0}
    assert nearest_ratio_name(ratios, size_of("21:9", "1k")) == "20:9"


# --- Series ----------------------------------------------------------------------------------------------------------


async def test_seedream_generates_a_series_in_one_request() -> None:
    async with serving("seedream") as server, running("seedream", server) as engine:
        assert engine.abilities().whole_series
        generated = images(await generate(engine, series_of(4, references=2)))
        assert [image.index for image in generated] == [0, 1, 2, 3]
        (request,) = server.requests
        assert request.fields["sequential_image_generation"] == "auto"
        assert request.fields["sequential_image_generation_options"] == {"max_images": 4}
        assert request.fields["prompt"].startswith("a fox\nA series of 4 images with the same people")
        assert "frame 1: wide shot; frame 2: close-up" in request.fields["prompt"]
        server.requests.clear()
        different = replace(
            series_of(2, references=1), shots=(Shot(0, "a fox", "wide shot", 1), Shot(1, "<<<image_1>>> sleeps", "", 2))
        )
        await generate(engine, different)
        assert "Frame 1 (wide shot): a fox\nFrame 2: image 1 sleeps" in server.requests[0].fields["prompt"]


async def test_missing_images_of_a_series_are_generated_from_the_first_image() -> None:
    blocked = {"error": {"code": "OutputImageSensitiveContentDetected", "message": "blocked"}}
    for fault, order, framings in (
        (lambda data: data[:2], [0, 1, 2, 3], "frame 1: wide shot; frame 2: close-up"),
        (lambda data: [data[0], blocked, data[2], blocked], [0, 2, 1, 3], "frame 1: close-up; frame 2: close-up"),
    ):
        async with serving("seedream", faults=[fault]) as server, running("seedream", server) as engine:
            generated = images(await generate(engine, series_of(4, references=1)))
            assert [image.index for image in generated] == order
            assert framings in server.requests[1].fields["prompt"]
            assert [options["max_images"] for options in server.fields("sequential_image_generation_options")] == [4, 2]
            given, first_frame = server.requests[1].references
            assert given == image_file(400, 300)
            assert Image.open(io.BytesIO(first_frame)).tobytes() == generated[0].pixels.tobytes()
            assert "Same people, things, place and style as in image 2" in server.requests[1].fields["prompt"]


async def test_the_last_missing_image_of_a_series_is_requested_alone() -> None:
    async with serving("seedream", faults=[lambda data: data[:3]]) as server, running("seedream", server) as engine:
        assert len(images(await generate(engine, series_of(4)))) == 4
        assert server.fields("sequential_image_generation") == ["auto", "disabled"]
        assert len(server.requests[1].references) == 1
        assert server.requests[1].fields["prompt"].startswith("a fox. Close-up.")


async def test_a_series_that_continues_shows_its_first_frame_in_the_first_request() -> None:
    frame = ReferenceImage(image_file(500, 500), 500, 500)
    shots = series_of(4).shots[1:]
    async with serving("seedream") as server, running("seedream", server) as engine:
        generated = images(await generate(engine, replace(series_of(4, first_frame=frame), shots=shots)))
    assert [image.index for image in generated] == [1, 2, 3]
    assert server.requests[0].references == [frame.content]
    assert server.requests[0].fields["sequential_image_generation_options"] == {"max_images": 3}


async def test_inputs_and_images_of_a_series_are_at_most_15_per_request() -> None:
    element = SavedElement("bag", "", tuple(ReferenceImage(image_file(400, 300), 400, 300) for _ in range(3)))
    async with serving("seedream") as server, running("seedream", server) as engine:
        assert len(images(await generate(engine, series_of(9, references=8, elements=(element,))))) == 9
        assert len(images(await generate(engine, series_of(2, references=10, elements=(element, element))))) == 2
    for request in server.requests:
        options = request.fields.get("sequential_image_generation_options", {"max_images": 1})
        assert len(request.references) + options["max_images"] <= 15
    assert len(server.requests) == 5


async def test_a_series_without_any_image_fails_and_is_not_ordered_again() -> None:
    blocked = {"error": {"code": "OutputImageSensitiveContentDetected", "message": "The image is sensitive."}}
    failing = {"error": {"code": "InternalServiceError", "message": "out of memory"}}
    for data, raised, message in (
        ([], Broken, "returned no image"),
        ([failing, blocked], Declined, "The image is sensitive."),
        ([failing, failing], Broken, "returned an error instead of an image: out of memory"),
    ):
        async with serving("seedream", faults=[lambda _, data=data: data]) as server:
            async with running("seedream", server) as engine:
                with pytest.raises(raised, match=message):
                    await generate(engine, series_of(3))
            assert len(server.requests) == 1


async def test_a_series_keeps_its_images_if_the_service_fails_later() -> None:
    faults = [lambda data: data[:2], (500, {}, {"error": {"message": "out of memory"}})]
    indexes: list[int] = []
    async with serving("seedream", faults=faults) as server, running("seedream", server) as engine:
        events = engine.generate(series_of(4))
        with pytest.raises(Unknown):
            while True:
                event = await anext(events)
                indexes += [event.index] if isinstance(event, GeneratedImage) else []
    assert indexes == [0, 1]


# --- Images in responses ---------------------------------------------------------------------------------------------


def _with_line_breaks(data: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"b64_json": re.sub("(.{76})", r"\1\r\n", item["b64_json"])} for item in data]


def _url_safe_without_padding(data: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"b64_json": i["b64_json"].replace("+", "-").replace("/", "_").rstrip("=")} for i in data]


def _data_url(head: str, name: str) -> Callable[[list[dict[str, Any]]], list[dict[str, Any]]]:
    return lambda data: [{name: f"{head},{item['b64_json']}"} for item in data]


@pytest.mark.parametrize(
    "change",
    [
        _with_line_breaks,
        _url_safe_without_padding,
        _data_url("data:image/png;base64", "url"),
        _data_url("DATA:application/octet-stream;charset=utf-8;name=a.bin;BASE64", "url"),
        _data_url("data:;base64", "b64_json"),
        lambda data: [{"url": "data:image/png," + "".join(f"%{b:02x}" for b in base64.b64decode(data[0]["b64_json"]))}],
        lambda data: [data[0] | {"revised_prompt": None, "url": None, "error": None}],
        lambda data: data * 3,
    ],
)
async def test_an_image_in_any_form_is_decoded(change: Any) -> None:
    async with serving("plain", faults=[change]) as server, running("plain", server) as engine:
        generated = images(await generate(engine, batch_of()))
    assert [image.pixels.shape for image in generated] == [(1024, 1024, 3)]


async def test_missing_images_of_a_request_are_requested_again() -> None:
    async with serving("plain", faults=[lambda data: data[1:]]) as server, running("plain", server, max_n=4) as engine:
        assert len(images(await generate(engine, batch_of(shots=4)))) == 4
    assert server.fields("n") == [4, None]


def _address(url: str) -> Any:
    return lambda data: [{"url": url} for _ in data]


async def test_an_image_is_downloaded_from_its_url() -> None:
    for url in ("{}/files/0.png", "/files/0.png", "../../files/0.png", "//{host}/files/0.png"):
        async with serving("plain") as server:
            server.files["/files/0.png"] = 200, image_file(64, 64)
            host = urlsplit(server.url).netloc
            server.faults.append(_address(url.format(f"http://{host}", host=host)))
            async with running("plain", server, response_format="url") as engine:
                assert images(await generate(engine, batch_of()))[0].pixels.shape == (64, 64, 3), url
            assert server.downloads == ["/files/0.png"]


@pytest.mark.parametrize("paid", [True, False])
@pytest.mark.parametrize(
    ("url", "status", "message", "downloads"),
    [
        ("/files/0.png", 404, "returned an image whose URL returned HTTP 404", 4),
        ("/files/0.png", 403, "returned an image whose URL returned HTTP 403", 1),
        ("/files/0.png", 503, "returned an image whose URL returned HTTP 503", 4),
        ("http://127.0.0.2/a.png", 0, "private or special address", 0),
        ("http://169.254.169.254/latest", 0, "private or special address", 0),
        ("ftp://example.com/a.png", 0, "not http or https", 0),
        ("http://[::1", 0, "whose URL is not valid", 0),
        ("/files/huge.png", 200, "is too large", 1),
        ("/files/text.png", 200, "did not return an image", 1),
    ],
)
async def test_an_image_that_cannot_be_downloaded_is_not_ordered_again(
    url: str, status: int, message: str, downloads: int, paid: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("framehouse.engines.openai_images.returned_images.MAX_ANSWER_BYTES", 100_000)
    async with serving("plain", faults=[_address(url)]) as server, running("plain", server, paid=paid) as engine:
        server.files["/files/0.png"] = status, b"{}"
        server.files["/files/huge.png"] = status, b"x" * 200_000
        server.files["/files/text.png"] = status, b"<html>Welcome</html>"
        with pytest.raises(Failed) as error:
            await generate(engine, batch_of())
        assert message in error.value.message
        assert url not in error.value.message, "callers can read the message"
        final = Broken if status == 200 and "text" in url else Unknown
        assert type(error.value) is (final if paid else Unavailable if status == 503 else Broken), error.value
        assert len(server.downloads) == downloads
        assert len(server.requests) == 1


async def test_an_image_is_downloaded_again_after_a_failure() -> None:
    async with serving("zhipu", file_faults=[404, 503]) as server, running("zhipu", server) as engine:
        assert len(images(await generate(engine, batch_of()))) == 1
        assert server.downloads == ["/files/0.png"] * 3
        assert len(server.requests) == 1


# --- Errors ----------------------------------------------------------------------------------------------------------


def _error(code: str | None, message: str, **fields: Any) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, **fields}}


_AZURE_FILTER = _error(
    "content_policy_violation",
    "Your request was rejected as a result of our safety system.",
    type="invalid_request_error",
    inner_error={"code": "ResponsibleAIPolicyViolation", "revised_prompt": "a secret fox"},
)
_AZURE_INNER = _error(None, "The request was rejected.", innererror={"code": "ResponsibleAIPolicyViolation"})
_LITELLM_FILTER = _error(
    "400",
    "litellm.BadRequestError: litellm.ContentPolicyViolationError: AzureException - rejected",
    type=None,
    provider_specific_fields={"innererror": {"code": "ResponsibleAIPolicyViolation"}},
)
_ZHIPU_FILTER = _error("1301", "系统检测到输入或生成内容可能包含不安全或敏感内容") | {
    "contentFilter": [{"level": 1, "role": "user"}]
}
_XAI_FILTER = {
    "code": "The caller does not have permission to execute the specified operation",
    "error": "Content violates usage guidelines. Failed check: SAFETY_CHECK_TYPE_BIO",
}
_XAI_MODERATED = {
    "code": "Client specified an invalid argument",
    "error": "Generated image rejected by content moderation.",
}
_XAI_KEY = {"code": "Client specified an invalid argument", "error": f"Incorrect API key provided: {KEY}."}
_AZURE_BLOCKED = _error(
    "Forbidden",
    "Your resource has been temporarily blocked because we detected behavior that may violate our content policy.",
)


@pytest.mark.parametrize(
    ("status", "body", "raised", "message"),
    [
        (400, _error("InputTextSensitiveContentDetected", "The input text is sensitive."), Declined, "input text"),
        (400, _error("OutputImageSensitiveContentDetected", "The image is sensitive."), Declined, "The image is"),
        (400, _error("InputImageSensitiveContentDetected.PrivacyInformation", "A person."), Declined, "A person."),
        (400, _error("SensitiveContentDetected.Violence", "Violent."), Declined, "Violent."),
        (400, _error("InputTextRiskDetection", "Sensitive."), Declined, "Sensitive."),
        (400, _error("InvalidParameter", "size is invalid"), Broken, "HTTP 400: size is invalid"),
        (403, _error("AccountOverdueError", "overdue"), Unavailable, "account cannot pay"),
        (429, _error("SetLimitExceeded", "limit"), Unavailable, "quota is used up"),
        (429, _error("RateLimitExceeded.EndpointRPMExceeded", "slow down"), Unavailable, "busy"),
        (400, _AZURE_FILTER, Declined, "rejected as a result of our safety system"),
        (400, _AZURE_INNER, Declined, "The request was rejected."),
        (400, _error("contentFilter", "Filtered."), Declined, "Filtered."),
        (403, _AZURE_BLOCKED, Unavailable, "has blocked the account"),
        (400, _LITELLM_FILTER, Declined, "ContentPolicyViolationError"),
        (400, _error("400", "Budget has been exceeded! Current cost: 11", type="budget_exceeded"), Unavailable, "pay"),
        (429, _error("429", "No deployments available, Try again in 5 seconds"), Unavailable, "busy"),
        (400, _error("400", "No connected db.", type="no_db_connection"), Unavailable, "does not accept the api_key"),
        (400, _ZHIPU_FILTER, Declined, "系统检测到"),
        (429, _error("1113", "您的账户已欠费，请充值后重试。"), Unavailable, "account cannot pay"),
        (429, _error("1302", "您的账户已达到速率限制"), Unavailable, "busy"),
        (401, _error("1002", "Authorization Token非法"), Unavailable, "api_key"),
        (403, _XAI_FILTER, Declined, "violates usage guidelines"),
        (400, _XAI_MODERATED, Declined, "content moderation"),
        (400, _XAI_KEY, Unavailable, "does not accept the api_key"),
        (403, {"code": "personal-team-blocked:spending-limit", "error": "limit"}, Unavailable, "account cannot pay"),
        (422, {"detail": [{"loc": ["body", "prompt"], "msg": "too long"}]}, Broken, "body.prompt: too long"),
        (422, {"detail": [{"loc": None, "msg": 1}]}, Broken, "HTTP 422"),
        (400, {"error": [1], "message": None}, Broken, "HTTP 400"),
        (400, {"error": {"code": {"a": 1}, "message": ["x"]}}, Broken, "HTTP 400"),
    ],
)
async def test_the_errors_of_each_service_are_recognized(
    status: int, body: Any, raised: type[Failed], message: str
) -> None:
    async with serving("plain", faults=[(status, {}, body)]) as server, running("plain", server) as engine:
        with pytest.raises(Failed) as error:
            await generate(engine, batch_of("a secret fox"))
        assert type(error.value) is raised, error.value
        assert message in error.value.message
        assert "secret" not in error.value.message
        assert KEY not in error.value.message
        assert len(server.requests) == 1


async def test_an_image_that_xai_has_blocked_is_declined() -> None:
    blocked = {"url": "", "respect_moderation": False}
    async with serving("xai", faults=[lambda _: [blocked]]) as server, running("xai", server) as engine:
        with pytest.raises(Declined, match="has blocked the image"):
            await generate(engine, batch_of())


async def test_no_request_is_sent_before_retry_after_or_the_account_cooldown_is_over() -> None:
    faults: list[Any] = [(429, {"Retry-After": "60"}, {}), (403, {}, _error("AccountOverdueError", "overdue"))]
    for fault in faults:
        async with serving("seedream", faults=[fault]) as server, running("seedream", server) as engine:
            for _ in range(2):
                with pytest.raises(Unavailable):
                    await generate(engine, batch_of())
            (check,) = await engine.check()
            assert not check.ok
            assert "will not be used for the next" in check.reason
            assert len(server.requests) == 1


@pytest.mark.parametrize("name", ["azure", "seedream"])
async def test_neither_the_key_nor_the_prompt_nor_the_query_is_in_messages_or_logs(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "framehouse")
    quoted = _error("bad", f"the prompt 'a  secret\nfox' of {KEY} at ?api-version=2025-04-01-preview&code=t0ken is bad")
    key_query = "?api-version=2025-04-01-preview&code=t0ken"
    async with serving(name, faults=[(400, {}, quoted), (500, {}, quoted)]) as server:
        base = server.url.partition("?")[0] + key_query
        async with running(name, server, base_urls=[base]) as engine:
            messages = []
            for _ in range(2):
                with pytest.raises(Failed) as error:
                    await generate(engine, batch_of("a secret fox"))
                messages.append(error.value.message)
            (check,) = await engine.check()
    assert check.subject == base.partition("?")[0]
    assert "the prompt '[prompt]' of [api_key]" in messages[0]
    for text in (KEY, "t0ken", "secret"):
        assert text not in f"{messages} {check} {engine!r} {vars(engine)} {caplog.text}"


# --- Health ----------------------------------------------------------------------------------------------------------


async def test_a_health_check_is_sent_only_if_the_route_has_a_health_path() -> None:
    async with serving("litellm", health=503) as server, running("litellm", server) as engine:
        (check,) = await engine.check()
        assert not check.ok
        server.health = 200
        (check,) = await engine.check()
        assert check.ok
        assert server.health_requests == ["/health/liveliness"] * 2
    async with serving("seedream") as server, running("seedream", server) as engine:
        await engine.check()
        assert server.health_requests == []


async def test_without_a_health_path_the_check_reports_the_state_of_the_last_request() -> None:
    bad: Any = (400, {}, _error("InvalidParameter", "size is invalid"))
    declined: Any = (400, {}, _error("InputTextSensitiveContentDetected", "sensitive"))
    async with serving("seedream", faults=[bad, declined, None]) as server, running("seedream", server) as engine:

        async def state() -> tuple[bool, str]:
            (check,) = await engine.check()
            return check.ok, check.reason

        assert await state() == (True, "no request has been sent yet; the route has no health_path")
        with pytest.raises(Broken):
            await generate(engine, batch_of())
        ok, reason = await state()
        assert not ok
        assert "the last request failed: the model server returned HTTP 400: size is invalid" in reason
        with pytest.raises(Declined):
            await generate(engine, batch_of())
        assert await state() == (True, "the server has responded to the last request; the route has no health_path")
        await generate(engine, batch_of())
        assert await state() == (True, "the server has responded to the last request; the route has no health_path")
    dead = f"http://127.0.0.1:{free_port()}/api/v3"
    async with serving("seedream") as server, running("seedream", server, base_urls=[dead]) as engine:
        with pytest.raises(Unavailable):
            await generate(engine, batch_of())
        (check,) = await engine.check()
        assert not check.ok
        assert "cannot be reached" in check.reason


# --- Options and whole tasks -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"base_urls": None}, "base_urls must be a list"),
        ({"base_urls": ["ark.example.com/api"]}, '"ark.example.com/api" must be an http or https URL'),
        ({"base_urls": ["https://me:pw@a/v1"]}, "without a user name"),
        ({"base_urls": ["https://a/v1", "https://a/v1/"]}, "same URL twice"),
        ({"api_key_header": "a b"}, "api_key_header must be the name of a header"),
        ({"api_key_header": "Host"}, "api_key_header must be the name of a header"),
        ({"api_key_header": "Authorization"}, "omit this option"),
        ({"response_format": "png"}, 'response_format must be "b64_json", "url" or ""; it is "png"'),
        ({"sizes": []}, "sizes must be a list of sizes"),
        ({"sizes": "1024x1024"}, "sizes must be a list of sizes"),
        ({"sizes": ["1024x1024", "16:9"]}, "sizes must be a list of sizes"),
        ({"sizes": ["2K"]}, "sizes must be a list of sizes"),
        ({"sizes": ["0:9"]}, "sizes must be a list of sizes"),
        ({"max_n": 0}, "max_n must be a whole number from 1 to 10; it is 0"),
        ({"references_as": "url"}, "references_as must be one of form, data_urls, base64, objects; it is"),
        ({"reference_field": ""}, "reference_field must be"),
        ({"references_as": "objects", "reference_field": "x"}, "reference_field is not allowed"),
        ({"extra": "x"}, "extra must be a table"),
        ({"extra": {"model": "x", "prompt": "y"}}, "extra must not contain model, prompt"),
        ({"extra": {"a": {"b": float("nan")}}}, "nan is not allowed"),
        ({"extra": {"a": [b"x"]}}, "extra must contain only values that JSON can express"),
        ({"native_series": "yes", "max_references": 1}, "native_series must be true or false"),
        ({"native_series": True}, "native_series needs max_references of at least 1"),
        (
            {"native_series": True, "max_references": 1, "extra": {"sequential_image_generation": "auto"}},
            "extra must not contain sequential_image_generation",
        ),
        ({"health_path": "health"}, 'health_path must be a path such as "/health"'),
        ({"masks": True, "references_as": "data_urls"}, 'masks needs references_as = "form"'),
        ({"steps": 4}, 'servers of kind "compatible" do not accept steps'),
        ({"quality": "high"}, 'for kind "compatible", use extra'),
        ({"kind": "openai", "sizes": ["1024x1024"]}, 'sizes is allowed only for kind "compatible"'),
        ({"kind": "sglang", "max_n": 2}, 'max_n is allowed only for kind "compatible"'),
        ({"kind": "sglang", "extra": {}}, 'extra is allowed only for kind "compatible"'),
    ],
)
def test_the_error_names_the_bad_option(options: dict[str, Any], message: str) -> None:
    with pytest.raises(BadOption) as error:
        OpenAIImages(**({"kind": "compatible", "base_urls": ["http://a"], "model": "m"} | options))
    assert message in str(error.value)


def test_the_error_for_a_bad_url_does_not_contain_its_query() -> None:
    with pytest.raises(BadOption) as error:
        OpenAIImages(kind="compatible", base_urls=["https://a/v1?code=t0ken#x"], model="m")
    assert "t0ken" not in str(error.value)


async def test_the_base_url_is_used_exactly() -> None:
    assert set(PAGES) < set(SERVICES)
    async with serving("azure") as server, running("azure", server, base_urls=[server.url]) as engine:
        await generate(engine, batch_of())
        assert server.requests[0].headers["api-key"] == KEY
        assert "authorization" not in server.requests[0].headers
    async with serving("zhipu") as server, running("zhipu", server, base_urls=[f"{server.url}/"]) as engine:
        assert len(images(await generate(engine, batch_of()))) == 1


async def test_a_worker_generates_a_series_with_seedream(make_deployment: MakeDeployment) -> None:
    async with serving("seedream", faults=[lambda data: data[:2]]) as server:
        route = {"engine": ENGINE} | recipe("seedream", server.url)
        deployment = await make_deployment(route)
        ticket = await deployment.submit("a fox", result_type="series", series_amount=3)
        deployment.start_worker()
        task = await wait_for_task(deployment, ticket.task_id)
        assert task.status == "succeed", task
        assert len(task.images) == 3
        assert server.fields("sequential_image_generation") == ["auto", "disabled"]
        for worker, worker_task in deployment.workers:
            worker.stop()
            await worker_task
        deployment.workers.clear()
        await deployment.registry.close()
