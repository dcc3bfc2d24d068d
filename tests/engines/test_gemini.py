"""The engine `gemini`: its requests, the result of each kind of failure, and that no paid request is repeated."""

import asyncio
import io
import json
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from framehouse.domain.errors import Broken, Declined, Failed, Unavailable, Unknown
from framehouse.domain.model import Model
from framehouse.domain.shot import Shot
from framehouse.domain.sizes import Size, size_of
from framehouse.engines.gemini import Gemini
from framehouse.engines.gemini.gemini_answers import error_from_gemini
from framehouse.engines.gemini.gemini_requests import reduced
from framehouse.engines.http_exchange import NotAccepted, Reply
from framehouse.engines.interface import Batch, Engine, ReferenceImage, SavedElement
from framehouse.engines.option_checks import BadOption
from framehouse.engines.registry import BadRoute, open_registry
from framehouse.testing.engine_contract import EngineContract, generate, images
from tests.support.eventually import eventually
from tests.support.gemini_server import GeminiServer, error, image_part, serving
from tests.support.image_files import encoded, image_base64, image_file
from tests.support.in_process_deployment import MakeDeployment
from tests.support.sockets import free_port, listening, refuse_tls
from tests.support.tasks import wait_for_task

KEY = "k-3y"
OLD_MODEL = "gemini-2.5-flash-image"
PROMPT = "a violet fox 狐狸"


@asynccontextmanager
async def running(server: GeminiServer, **options: Any) -> AsyncIterator[Gemini]:
    defaults: dict[str, Any] = {"base_url": server.url, "api_key": KEY, "model": server.model, "timeout_s": 20}
    engine = Gemini(**(defaults | options))
    try:
        yield engine
    finally:
        await engine.close()


def batch_of(prompt: str = PROMPT, *, shots: int = 1, references: int = 0, **fields: Any) -> Batch:
    all_shots = tuple(Shot(n, prompt, "", 100 + n) for n in range(shots))
    images_sent = tuple(ReferenceImage(image_file(400 + n, 300), 400 + n, 300) for n in range(references))
    return Batch("task", all_shots, shots, Size(1024, 1024), images_sent, prompt=prompt, **fields)


class TestGemini(EngineContract):
    @pytest.fixture
    async def engine(self) -> AsyncIterator[Engine]:
        async with serving() as server, running(server) as engine:
            yield engine
            assert server.max_active <= 8, "more requests than the limit"


# --- Requests --------------------------------------------------------------------------------------------------------


async def test_a_request_contains_the_references_before_the_prompt_and_the_size() -> None:
    async with serving() as server, running(server) as engine:
        requested = replace(batch_of("<<<image_2>>> 狐狸 like <<<image_1>>>", references=2), size=size_of("16:9", "2k"))
        (generated,) = images(await generate(engine, requested))
        await generate(engine, batch_of())
    first, second = server.posts
    assert first.prompt == "image 2 狐狸 like image 1"
    assert first.files == [image_file(400, 300), image_file(401, 300)]
    assert first.image_config == {"aspectRatio": "16:9", "imageSize": "2K"}
    assert second.image_config == {"aspectRatio": "1:1", "imageSize": "1K"}
    assert "cookie" not in second.headers, "the server's cookie was sent back"
    assert generated.pixels.shape == (1536, 2752, 3)
    assert generated.facts == {"generated_by": "gemini-3-pro-image-preview", "tokens": 1298}


@pytest.mark.parametrize(
    ("resolution", "limit", "sent"), [("4k", "4k", "4K"), ("4k", "2k", "2K"), ("2k", "4k", "2K"), ("4k", "1k", None)]
)
async def test_the_resolution_is_the_requested_one_up_to_the_limit_of_the_model(
    resolution: str, limit: str, sent: str | None
) -> None:
    async with serving() as server, running(server, max_resolution=limit) as engine:
        await generate(engine, replace(batch_of(), size=size_of("1:1", resolution)))
    assert server.posts[0].image_config.get("imageSize") == sent


async def test_a_model_of_one_resolution_gets_no_image_size_and_at_most_three_images() -> None:
    async with serving(model=OLD_MODEL) as server, running(server) as engine:
        requested = replace(batch_of("<<<image_4>>>", references=5), size=size_of("21:9", "4k"))
        (generated,) = images(await generate(engine, requested))
    assert server.posts[0].image_config == {"aspectRatio": "21:9"}
    assert len(server.posts[0].files) == 3
    assert server.posts[0].prompt == "row 1, column 2 of image 3"
    assert "3 references are tiled onto image 3" in str(generated.facts["contact_sheet"])


async def test_references_are_sent_upright_and_in_rgb() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    contents = [
        image_file(400, 300, "JPEG", exif=exif),
        encoded(Image.new("RGBA", (300, 300), (0, 0, 0, 0)), "PNG"),
        image_file(400, 300, "WEBP"),
    ]
    references = tuple(ReferenceImage(content, 300, 400) for content in contents)
    async with serving() as server, running(server) as engine:
        await generate(engine, replace(batch_of(), references=references))
    received = [Image.open(io.BytesIO(content)) for content in server.posts[0].files]
    assert received[0].size == (300, 400)
    assert received[1].getpixel((5, 5)) == (255, 255, 255)
    assert {image.format for image in received} <= {"PNG", "JPEG"}


async def test_large_references_are_reduced_to_the_limit_of_a_request() -> None:
    noise = Image.fromarray(np.random.default_rng(1).integers(0, 256, (1600, 1600, 3), np.uint8))
    large = encoded(noise, "PNG", compress_level=0)
    references = (ReferenceImage(large, 1600, 1600),) * 2 + (ReferenceImage(image_file(), 400, 300),)
    async with serving() as server, running(server) as engine:
        assert len(images(await generate(engine, replace(batch_of(), references=references)))) == 1
    assert 2 * len(large) > 14_000_000 > sum(map(len, server.posts[0].files))
    assert server.posts[0].files[2] == image_file(), "a small reference was changed"
    assert Image.open(io.BytesIO(reduced(large, 1000))).size == (1024, 1024)


async def test_the_first_image_of_a_series_is_a_reference_for_the_later_images() -> None:
    bag = SavedElement("Bag", "A red bag", (ReferenceImage(image_file(), 400, 300),))
    async with serving() as server, running(server) as engine:
        assert engine.abilities().whole_series
        generated = images(await generate(engine, batch_of(shots=3, series=True, elements=(bag,))))
        assert [image.index for image in generated] == [0, 1, 2]
        assert [len(post.files) for post in server.posts] == [1, 2, 2]
        assert Image.open(io.BytesIO(server.posts[2].files[1])).tobytes() == generated[0].pixels.tobytes()
        assert "Same people, things, place and style as in image 2" in server.posts[1].prompt
    async with serving() as server, running(server, max_references=0) as engine:
        assert (engine.abilities().whole_series, engine.abilities().max_references) == (False, 0)
        await generate(engine, batch_of(shots=2, series=True))
        assert [post.files for post in server.posts] == [[], []]


# --- Answers ---------------------------------------------------------------------------------------------------------


def parts(*values: dict[str, Any]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def change(answer: dict[str, Any]) -> dict[str, Any]:
        answer["candidates"][0]["content"]["parts"] = list(values)
        return answer

    return change


def finished(reason: str, message: str = "") -> Callable[[dict[str, Any]], dict[str, Any]]:
    candidate = {"finishReason": reason, "index": 0} | ({"finishMessage": message} if message else {})
    return lambda answer: {"candidates": [candidate], "usageMetadata": {"promptTokenCount": 8}}


def blocked(reason: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda answer: {"promptFeedback": {"blockReason": reason, "safetyRatings": []}}


async def test_thoughts_and_drafts_are_ignored() -> None:
    draft, final = image_file(500, 500), image_file(600, 600)
    answer = parts(
        {"text": "I plan a fox.", "thought": True},
        image_part(draft),
        image_part(final),
        {"text": "Here it is."},
        image_part(draft, thought=True),
    )
    async with serving(faults=[answer]) as server, running(server) as engine:
        (generated,) = images(await generate(engine, batch_of()))
    assert generated.pixels.shape == (600, 600, 3)


RETRY_INFO = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.07s"}
DAILY = {
    "@type": "type.googleapis.com/google.rpc.QuotaFailure",
    "violations": [{"quotaId": "GenerateRequestsPerDayPerProjectPerModel"}],
}


@pytest.mark.parametrize(
    ("fault", "raised", "message"),
    [
        ("cut", Unknown, "Gemini closed the connection"),
        ("half", Unknown, "Gemini closed the connection"),
        ("hang", Unknown, "Gemini did not send a complete response within 2 s"),
        ((500, {}, error(500, "INTERNAL", "An internal error has occurred")), Unknown, "HTTP 500: An internal error"),
        ((500, {}, b""), Unknown, "HTTP 500"),
        ((502, {}, b"<html>"), Unknown, "HTTP 502"),
        ((503, {}, b""), Unknown, "HTTP 503"),
        ((503, {}, error(503, "UNAVAILABLE", "The model is overloaded.")), Unavailable, "busy or still loading"),
        ((503, {"Retry-After": "7"}, b""), Unavailable, "busy or still loading"),
        ((504, {}, error(504, "DEADLINE_EXCEEDED", "Too slow")), Unknown, "HTTP 504: Too slow"),
        ((499, {}, error(499, "CANCELLED", "")), Unknown, "HTTP 499"),
        ((408, {}, b""), Unknown, "HTTP 408"),
        ((429, {}, b""), Unavailable, "is busy (HTTP 429)"),
        ((429, {"Retry-After": "7"}, b""), Unavailable, "is busy (HTTP 429)"),
        ((429, {}, error(429, "RESOURCE_EXHAUSTED", "Quota", RETRY_INFO)), Unavailable, "is busy (HTTP 429)"),
        ((429, {}, error(429, "RESOURCE_EXHAUSTED", "Quota", DAILY, RETRY_INFO)), Unavailable, "daily quota"),
        ((400, {}, [error(400, "INVALID_ARGUMENT", "API key expired")]), Unavailable, "api_key"),
        ((401, {}, error(401, "UNAUTHENTICATED", "no")), Unavailable, "api_key"),
        ((403, {}, error(403, "PERMISSION_DENIED", "no")), Unavailable, "api_key"),
        ((402, {}, error(402, "RESOURCE_EXHAUSTED", "Prepay")), Unavailable, "balance of the account is used up"),
        ((400, {}, error(400, "FAILED_PRECONDITION", "no free tier here")), Unavailable, "enable billing"),
        ((404, {}, error(404, "NOT_FOUND", "no model")), Unavailable, "no such model"),
        ((302, {"Location": "http://127.0.0.1:9/"}, b""), Unavailable, "redirect"),
        ((204, {}, b""), Unknown, "HTTP 204"),
        ((400, {}, error(400, "INVALID_ARGUMENT", "Unable to process\n input")), Broken, "HTTP 400: Unable to process"),
        ((413, {}, b""), Broken, "HTTP 413"),
        ((400, {}, error(400, "INVALID_ARGUMENT", "It violates our content policy")), Declined, "content policy"),
        ((400, {}, {"error": "plain"}), Broken, "HTTP 400: plain"),
        ("html", Broken, "did not return valid JSON"),
        ("list", Broken, "returned no image"),
        ("endless", Broken, "the response has more than 2,000,000 bytes"),
        (blocked("SAFETY"), Declined, "declined the prompt: the content violates the safety rules (SAFETY)"),
        (blocked("PROHIBITED_CONTENT"), Declined, "the content is prohibited (PROHIBITED_CONTENT)"),
        (blocked("OTHER"), Declined, "declined the prompt"),
        (blocked("BRAND_NEW"), Declined, "(BRAND_NEW)"),
        (
            finished("IMAGE_SAFETY", "Filtered."),
            Declined,
            "the image violates the safety rules (IMAGE_SAFETY): Filtered.",
        ),
        (finished("SAFETY"), Declined, "(SAFETY)"),
        (finished("PROHIBITED_CONTENT"), Declined, "(PROHIBITED_CONTENT)"),
        (finished("IMAGE_PROHIBITED_CONTENT"), Declined, "(IMAGE_PROHIBITED_CONTENT)"),
        (finished("RECITATION"), Declined, "too similar to protected content (RECITATION)"),
        (finished("BLOCKLIST"), Declined, "(BLOCKLIST)"),
        (finished("SPII"), Declined, "(SPII)"),
        (finished("NO_IMAGE"), Declined, "(NO_IMAGE)"),
        (finished("MAX_TOKENS"), Broken, "returned no image (MAX_TOKENS)"),
        (parts({"text": f"I will not generate {PROMPT}."}), Declined, "answered with text instead of an image"),
        (parts({"text": "hm", "thought": True}), Broken, "returned no image (STOP)"),
        (parts(image_part(image_file(), thought=True)), Broken, "returned no image (STOP)"),
        (parts(), Broken, "returned no image (STOP)"),
        (lambda answer: {}, Broken, "returned no image (no reason)"),
        (lambda answer: {"candidates": [{"content": None}]}, Broken, "returned no image"),
        (parts({"inlineData": {"data": "%%%"}}), Broken, "not valid base64"),
        (parts({"inlineData": {"data": 7}}), Broken, "not valid base64"),
        (parts(image_part(b"not an image")), Broken, "did not return an image"),
        (parts(image_part(image_file(400, 300, "JPEG")[:-300])), Broken, "did not return an image"),
        (parts(image_part(encoded(Image.new("L", (10_000, 9_000)), "PNG"))), Broken, "too large"),
    ],
)
async def test_each_failure_raises_its_error_and_no_request_is_sent_twice(
    fault: Any, raised: type[Failed], message: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    if fault == "endless":
        monkeypatch.setattr("framehouse.engines.gemini.gemini_engine.MAX_ANSWER_BYTES", 2_000_000)
    async with serving(faults=[fault]) as server, running(server, timeout_s=2 if fault == "hang" else 20) as engine:
        with pytest.raises(Failed) as failure:
            await generate(engine, batch_of())
    assert type(failure.value) is raised, failure.value
    assert message in failure.value.message
    assert len(failure.value.message) < 450
    assert len(server.posts) == 1
    assert PROMPT not in failure.value.message + caplog.text
    assert server.url not in failure.value.message, "callers can read the message"


async def test_messages_never_contain_the_prompt_or_the_key(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    quoting = f"The prompt '{PROMPT}' and the key {KEY} are bad"
    faults: list[Any] = [(400, {}, error(400, "INVALID_ARGUMENT", quoting)), finished("IMAGE_SAFETY", quoting)]
    for fault in faults:
        async with serving(faults=[fault]) as server, running(server) as engine:
            with pytest.raises(Failed, match="The prompt '…' and the key … are bad") as failure:
                await generate(engine, batch_of())
            text = f"{failure.value} {caplog.text} {engine!r}"
            assert PROMPT not in text
            assert KEY not in text


async def test_nothing_is_sent_if_the_service_cannot_be_reached() -> None:
    async with serving() as server, listening(refuse_tls) as without_tls:
        for url in (f"http://127.0.0.1:{free_port()}", without_tls.replace("http", "https")):
            async with running(server, base_url=url) as engine:
                with pytest.raises(Unavailable, match="Gemini cannot be reached"):
                    await generate(engine, batch_of())
                (check,) = await engine.check()
                assert not check.ok
                assert "cannot be reached" in check.reason
    assert server.posts == []


# --- The account -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "headers", "body", "seconds"),
    [
        (401, {}, {}, 300),
        (402, {}, {}, 300),
        (429, {}, {}, 0),
        (429, {"retry-after": "50"}, {}, 50),
        (429, {}, error(429, "RESOURCE_EXHAUSTED", "", RETRY_INFO), 34.07),
        (429, {"retry-after": "50"}, error(429, "RESOURCE_EXHAUSTED", "", RETRY_INFO), 50),
        (429, {}, error(429, "RESOURCE_EXHAUSTED", "", DAILY), 300),
        (503, {}, error(503, "UNAVAILABLE", "", RETRY_INFO), 34.07),
    ],
)
def test_the_cooldown_lasts_as_long_as_the_answer_specifies(
    status: int, headers: dict[str, str], body: Any, seconds: float
) -> None:
    failure = error_from_gemini(Reply(status, headers, json.dumps(body).encode()), ())
    assert isinstance(failure, NotAccepted)
    assert failure.cooldown_s == seconds


async def test_the_account_is_not_used_during_its_cooldown_even_if_the_service_is_healthy() -> None:
    gate = asyncio.Event()
    faults: list[Any] = ["", (429, {}, error(429, "RESOURCE_EXHAUSTED", "", RETRY_INFO))]
    async with serving(faults=faults, gate=gate) as server, running(server) as engine:
        earlier = asyncio.create_task(generate(engine, batch_of()))

        async def request_arrived() -> bool:
            return len(server.posts) == 1

        await eventually(request_arrived)
        server.gate = None
        with pytest.raises(Unavailable):
            await generate(engine, batch_of())
        gate.set()
        assert len(images(await earlier)) == 1
        (check,) = await engine.check()
        assert not check.ok
        assert "will not be used for the next" in check.reason
        with pytest.raises(Unavailable, match="is busy"):
            await generate(engine, batch_of())
        assert len(server.posts) == 2, "the answer to an earlier request or the health check ended the cooldown"


async def test_a_cooldown_after_a_failure_ends_with_the_next_health_check() -> None:
    async with serving(faults=["cut"], health=(503, b"")) as server, running(server) as engine:
        with pytest.raises(Unknown):
            await generate(engine, batch_of())
        (check,) = await engine.check()
        assert not check.ok
        server.health = None
        (check,) = await engine.check()
        assert check.ok
        assert check.subject == "gemini-3-pro-image-preview at 127.0.0.1"
        assert len(images(await generate(engine, batch_of()))) == 1


@pytest.mark.parametrize(
    ("options", "reason"),
    [({"api_key": "wrong"}, "does not accept the api_key"), ({"model": "gemini-0"}, "no such model")],
)
async def test_the_health_check_reports_a_wrong_key_and_a_wrong_model(options: dict[str, str], reason: str) -> None:
    async with serving() as server, running(server, **options) as engine:
        (check,) = await engine.check()
        assert not check.ok
        assert reason in check.reason
        assert "wrong" not in check.reason
        with pytest.raises(Unavailable, match=reason):
            await generate(engine, batch_of())
        assert server.posts == []


async def test_cancelling_closes_the_connection_and_frees_the_slot() -> None:
    gate = asyncio.Event()
    async with serving(gate=gate) as server, running(server, concurrency=1) as engine:
        first = asyncio.create_task(generate(engine, batch_of()))

        async def request_arrived() -> bool:
            return len(server.posts) == 1

        await eventually(request_arrived)
        second = asyncio.create_task(generate(engine, batch_of()))
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first

        async def aborted() -> bool:
            return server.aborted == 1

        await eventually(aborted)
        gate.set()
        assert len(images(await second)) == 1
        assert len(server.posts) == 2


# --- Options and whole tasks -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": ""}, "model must be the name"),
        ({"model": "../files"}, "model must be the name"),
        ({"api_key": ""}, "api_key must be the key"),
        ({"api_key": "s3cret key"}, "api_key must be the key"),
        ({"base_url": "example.com"}, "base_url must be an http or https URL"),
        ({"base_url": "https://example.com/?key=s3cret"}, "base_url must not contain a query"),
        ({"base_url": 1}, "base_url must be text; it is 1"),
        ({"max_references": -1}, "max_references must be a whole number"),
        ({"max_resolution": "8k"}, 'max_resolution must be 1k, 2k or 4k; it is "8k"'),
        ({"concurrency": 0}, "concurrency must be"),
        ({"cite": "image"}, "cite must be the text"),
        ({"timeout_s": 0}, "timeout_s must be"),
        ({"convert_colours": 1}, "convert_colours must be true or false"),
    ],
)
def test_the_error_names_the_bad_option(options: dict[str, Any], message: str) -> None:
    with pytest.raises(BadOption) as failure:
        Gemini(**({"model": OLD_MODEL, "api_key": KEY} | options))
    assert message in str(failure.value)
    assert "s3cret" not in str(failure.value)


def test_a_route_names_the_engine_and_opens_no_connection() -> None:
    with pytest.raises(BadRoute, match='gemini has no option "speed"'):
        open_registry([(Model("m"), [{"engine": "gemini", "model": OLD_MODEL, "api_key": KEY, "speed": 3}])])
    engine = Gemini(model=OLD_MODEL, api_key=KEY)
    assert engine.abilities().paid
    assert engine._client is None


async def test_a_worker_generates_tasks_and_a_lost_answer_fails_the_task(make_deployment: MakeDeployment) -> None:
    async with serving() as server:
        route = {"engine": "gemini", "base_url": server.url, "model": server.model, "api_key": KEY}
        deployment = await make_deployment(route)
        deployment.start_worker()
        several = await deployment.submit("like <<<image_1>>>", n=3, image_list=[{"image": image_base64()}])
        task = await wait_for_task(deployment, several.task_id)
        assert task.status == "succeed", task
        assert len(task.images) == len(server.posts) == 3
        server.faults.append("cut")
        lost = await wait_for_task(deployment, (await deployment.submit(PROMPT)).task_id)
        assert lost.status == "failed"
        assert "is not sent again" in lost.status_message
        assert len(server.posts) == 4
