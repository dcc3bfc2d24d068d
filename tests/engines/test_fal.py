"""The engine `fal`: its requests, the result of each kind of failure, and that no request is ever submitted twice."""

import asyncio
import io
import json
import logging
import subprocess
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from framehouse.adapters.postgres.pool import Database
from framehouse.adapters.storage import open_storage
from framehouse.domain.errors import Broken, Declined, Failed, Unavailable, Unknown
from framehouse.domain.model import Model
from framehouse.domain.shot import Shot
from framehouse.domain.sizes import Size, size_of
from framehouse.domain.task import RequestOptions
from framehouse.engines.fal import Fal
from framehouse.engines.fal.fal_arguments import fill_in, placeholder_values
from framehouse.engines.interface import Batch, BatchLost, Engine, GeneratedImage, Progress, ReferenceImage
from framehouse.engines.option_checks import BadOption
from framehouse.engines.registry import BadRoute, open_registry
from framehouse.testing.engine_contract import EngineContract, generate, images
from tests.support.command_line import FRAMEHOUSE, environment
from tests.support.eventually import eventually
from tests.support.fal_server import FalServer, serving
from tests.support.image_files import encoded, image_base64, image_file
from tests.support.in_process_deployment import MakeDeployment, build_deployment
from tests.support.recorded_order import RecordedOrder
from tests.support.sockets import free_port, listening, refuse_tls
from tests.support.tasks import wait_for_task

KEY = "id-1:s3cret"
MODEL, EDIT_MODEL = "fal-ai/flux-2", "fal-ai/flux-2/edit"
PROMPT = "a violet fox 狐狸"
WITH_NEGATIVE = {"prompt": "{prompt}", "negative_prompt": "{negative_prompt}", "image_urls": "{image_urls}"}


class FalRecord(RecordedOrder):
    """A record of an order at fal."""

    @property
    def request_id(self) -> str:
        return str(self.data.get("order", {}).get("request_id", ""))


@asynccontextmanager
async def running(server: FalServer, **options: Any) -> AsyncIterator[Fal]:
    defaults: dict[str, Any] = {
        "model": MODEL,
        "edit_model": EDIT_MODEL,
        "api_key": KEY,
        "queue_url": server.url,
        "storage_url": server.url,
        "answer_s": 20,
    }
    engine = Fal(**(defaults | options))
    try:
        yield engine
    finally:
        await engine.close()


def batch_of(prompt: str = PROMPT, *, shots: int = 1, references: int = 0, **fields: Any) -> Batch:
    all_shots = tuple(Shot(n, prompt, "", 100 + n) for n in range(shots))
    images_sent = tuple(ReferenceImage(image_file(400 + n, 300), 400 + n, 300) for n in range(references))
    order = {"open_order": FalRecord()} | fields
    return Batch("task", all_shots, shots, Size(1024, 1024), images_sent, prompt=prompt, **order)


def only(step: str, *faults: Any) -> Callable[[str], Any]:
    """The faults of a step, one after another. Without further faults, the server works."""
    remaining = iter(faults)
    return lambda current: next(remaining, "") if current == step else ""


def always(step: str, fault: Any) -> Callable[[str], Any]:
    return lambda current: fault if current == step else ""


class TestFal(EngineContract):
    @pytest.fixture
    async def engine(self) -> AsyncIterator[Engine]:
        async with serving() as server, running(server) as engine:
            yield engine


# --- Requests --------------------------------------------------------------------------------------------------------


async def test_a_request_contains_the_arguments_of_the_model() -> None:
    async with serving() as server, running(server) as engine:
        requested = replace(batch_of("<<<image_2>>> 狐狸 like <<<image_1>>>", references=2), size=size_of("16:9", "2k"))
        (generated,) = images(await generate(engine, requested))
        await generate(engine, batch_of())
    first, second = server.requests.values()
    assert first.model == EDIT_MODEL
    assert first.files == [image_file(400, 300), image_file(401, 300)]
    first.arguments.pop("image_urls")
    assert first.arguments == {
        "prompt": "image 2 狐狸 like image 1",
        "image_size": {"width": 2560, "height": 1440},
        "num_images": 1,
        "seed": 100,
    }
    assert second.model == MODEL
    assert "image_urls" not in second.arguments
    assert generated.pixels.shape == (1440, 2560, 3)
    assert generated.facts == {"generated_by": EDIT_MODEL}


async def test_the_arguments_are_filled_in_and_arguments_without_a_value_are_omitted() -> None:
    arguments = {
        "prompt": "{prompt}",
        "negative_prompt": "{negative_prompt}",
        "aspect_ratio": "{aspect_ratio}",
        "resolution": "{resolution}",
        "size": "{width}x{height}",
        "image": {"url": "{image_url}"},
        "list": ["{image_url}", {"seed": "{seed}"}],
        "steps": 4,
        "safe": False,
    }
    text = placeholder_values(
        prompt="a {seed}", negative_prompt="", size=size_of("21:9", "2k"), count=2, seed=2**40 + 5, urls=[]
    )
    assert fill_in(arguments, text) == {
        "prompt": "a {seed}",
        "aspect_ratio": "21:9",
        "resolution": "2K",
        "size": "3136x1344",
        "image": {},
        "list": [{"seed": 5}],
        "steps": 4,
        "safe": False,
    }
    edit = placeholder_values(prompt="a", negative_prompt="b", size=Size(1024, 1024), count=1, seed=1, urls=["u", "v"])
    assert fill_in(arguments, edit) | {"prompt": ""} == {
        "prompt": "",
        "negative_prompt": "b",
        "aspect_ratio": "1:1",
        "resolution": "1K",
        "size": "1024x1024",
        "image": {"url": "u"},
        "list": ["u", {"seed": 1}],
        "steps": 4,
        "safe": False,
    }


async def test_the_negative_prompt_is_sent_only_if_the_arguments_contain_it() -> None:
    requested = replace(batch_of(), options=RequestOptions(negative_prompt="snow"))
    async with serving() as server, running(server, arguments=WITH_NEGATIVE) as engine:
        assert engine.abilities().negative_prompts
        assert engine.abilities().max_batch == 1
        await generate(engine, requested)
    assert server.arguments == [{"prompt": PROMPT, "negative_prompt": "snow"}]
    async with serving() as server, running(server) as engine:
        assert not engine.abilities().negative_prompts
        await generate(engine, replace(requested, open_order=FalRecord()))
        assert "negative_prompt" not in server.arguments[0]


async def test_large_files_are_uploaded_without_the_key_and_small_files_are_sent_inline() -> None:
    large = encoded(Image.effect_noise((600, 600), 90).convert("RGB"), "PNG")
    references = (ReferenceImage(large, 600, 600), ReferenceImage(image_file(), 400, 300))
    async with serving() as server, running(server, upload_above_bytes=100_000) as engine:
        await generate(engine, replace(batch_of(), references=references))
    (request,) = server.requests.values()
    assert request.files == [large, image_file()]
    assert list(server.uploads) == ["https://v3.fal.media/0-1.png"]
    assert server.upload_headers[0]["content-type"] == "image/png"
    assert "authorization" not in server.upload_headers[0] | server.image_headers[0]


@pytest.mark.parametrize(
    ("step", "fault", "message"),
    [
        ("initiate", "cut", "fal's storage closed the connection"),
        ("initiate", (500, {}, b""), "fal's storage returned HTTP 500"),
        ("initiate", (413, {}, {"detail": "too large"}), "refused a reference: fal returned HTTP 413: too large"),
        ("initiate", (401, {}, b""), "fal's storage does not accept the api_key"),
        ("initiate", (200, {}, {"upload_url": "file:///etc/passwd", "file_url": "https://a/b"}), "no valid URL"),
        ("initiate", "html", "no valid URL"),
        ("initiate", "endless", "the response has more than"),
        ("put", "cut", "fal's storage closed the connection"),
        ("put", (403, {}, b"<Error/>"), "refused a reference (HTTP 403)"),
    ],
)
async def test_nothing_is_ordered_if_an_upload_fails(step: str, fault: Any, message: str) -> None:
    order = FalRecord()
    async with serving(fault=always(step, fault)) as server, running(server, upload_above_bytes=0) as engine:
        with pytest.raises(Unavailable) as failure:
            await generate(engine, batch_of(references=1, open_order=order))
    assert message in failure.value.message
    assert (server.submits, order.saved) == (0, [])


async def test_shots_with_the_same_prompt_share_a_request() -> None:
    async with serving() as server, running(server) as engine:
        assert engine.abilities().max_batch == 4
        generated = images(await generate(engine, batch_of(shots=6)))
        assert [image.index for image in generated] == [0, 1, 2, 3, 4, 5]
        assert [arguments["num_images"] for arguments in server.arguments] == [4, 2]
        other = (Shot(0, "a fox", "", 1), Shot(1, "a fox", "close-up", 2))
        await generate(engine, replace(batch_of(), shots=other))
        assert [arguments["prompt"] for arguments in server.arguments[2:]] == ["a fox", "a fox. Close-up."]


async def test_the_first_image_of_a_series_is_a_reference_for_the_later_images() -> None:
    order = FalRecord()
    async with serving() as server, running(server) as engine:
        generated = images(await generate(engine, batch_of(shots=3, series=True, open_order=order)))
        assert [request.model for request in server.requests.values()] == [MODEL, EDIT_MODEL]
        (file,) = list(server.requests.values())[1].files
        assert Image.open(io.BytesIO(file)).tobytes() == generated[0].pixels.tobytes()
        assert "as in image 1" in server.arguments[1]["prompt"]
    ids = [data.get("order", {}).get("request_id") for data in order.saved]
    assert ids == ["", "0f6c-0", None, "", "0f6c-2"], "a complete order was not removed"


async def test_a_model_that_only_edits_gets_no_tasks_without_references() -> None:
    async with serving() as server, running(server, model="") as engine:
        assert engine.abilities().needs_reference
        await generate(engine, batch_of(references=1))
    async with serving() as server, running(server, edit_model="") as engine:
        assert engine.abilities().max_references == 0
        assert not engine.abilities().whole_series


async def test_the_urls_of_the_queue_are_used_only_if_they_belong_to_it() -> None:
    async with serving(foreign_urls=True) as server, running(server, model="fal-ai/flux-2/pro") as engine:
        order = FalRecord()
        assert len(images(await generate(engine, batch_of(open_order=order)))) == 1
    assert order.data["order"]["status_url"] == "https://queue.fal.example/fal-ai/flux-2/requests/0f6c-0/status"


async def test_the_request_contains_the_callback_url() -> None:
    async with serving() as server, running(server) as engine:
        callback = "https://me.example/v1/wake?id=a&b=ü"
        await generate(engine, batch_of(open_order=FalRecord(callback_url=callback)))
        await generate(engine, batch_of())
    assert [request.webhook for request in server.requests.values()] == [callback, ""]


# --- Orders ----------------------------------------------------------------------------------------------------------


async def test_an_order_is_saved_before_it_is_sent_and_its_id_before_waiting() -> None:
    order, seen = FalRecord(), []

    def record(step: str) -> str:
        seen.append((step, len(order.saved), order.request_id))
        return ""

    async with serving(fault=record) as server, running(server) as engine:
        await generate(engine, batch_of(open_order=order))
    assert seen[0] == ("submit", 1, "")
    assert seen[1] == ("status", 2, "0f6c-0")
    assert order.data["order"] == {
        "shots": [0],
        "model": MODEL,
        "request_id": "0f6c-0",
        "status_url": f"{server.url}/fal-ai/flux-2/requests/0f6c-0/status",
        "response_url": f"{server.url}/fal-ai/flux-2/requests/0f6c-0",
        "cancel_url": f"{server.url}/fal-ai/flux-2/requests/0f6c-0/cancel",
    }


async def test_no_request_is_submitted_for_a_lost_batch() -> None:
    order = FalRecord()
    order.lost_at = 1
    async with serving() as server, running(server) as engine:
        with pytest.raises(BatchLost):
            await generate(engine, batch_of(open_order=order))
    assert server.submits == 0


LOST = [
    ("cut", "fal closed the connection"),
    ("late cut", "fal closed the connection"),
    ("half", "fal closed the connection"),
    ("hang", "fal did not send a complete response within 2 s"),
    ("html", "no valid request id"),
    ("list", "no valid request id"),
    ("endless", "fal returned no request id: the response has more than"),
    ((200, {}, {"status": "IN_QUEUE"}), "no valid request id"),
    ((200, {}, {"request_id": "../../admin"}), "no valid request id"),
    ((500, {}, b""), "fal returned HTTP 500"),
    ((500, {}, {"detail": "Internal Server Error"}), "fal returned HTTP 500: Internal Server Error"),
    ((502, {}, b"<html>"), "fal returned HTTP 502"),
    ((503, {}, b""), "fal returned HTTP 503"),
    ((504, {}, {"detail": "Request timed out", "error_type": "request_timeout"}), "fal returned HTTP 504"),
    ((408, {}, b""), "fal returned HTTP 408"),
]


@pytest.mark.parametrize(("fault", "message"), LOST)
async def test_a_lost_answer_is_unknown_and_excludes_the_route(fault: Any, message: str) -> None:
    order = FalRecord()
    async with (
        serving(fault=always("submit", fault)) as server,
        running(server, answer_s=2 if fault == "hang" else 20) as engine,
    ):
        with pytest.raises(Unknown) as failure:
            await generate(engine, batch_of(open_order=order))
    assert message in failure.value.message
    assert order.given_up == failure.value.message
    assert order.data == {}
    assert server.submits == 1
    assert server.url not in failure.value.message, "callers can read the message"


@pytest.mark.parametrize(
    ("fault", "raised", "message", "seconds"),
    [
        ((401, {}, {"detail": "no"}), Unavailable, "does not accept the api_key", 300),
        ((403, {}, {"detail": "Forbidden"}), Unavailable, "does not accept the api_key", 300),
        ((403, {}, {"detail": "User is locked. Reason: Exhausted balance. Top up"}), Unavailable, "balance", 300),
        ((403, {}, {"detail": "User is locked. Reason: Admin lock."}), Unavailable, "account is locked", 300),
        ((402, {}, b""), Unavailable, "balance of the account is used up", 300),
        ((404, {}, {"detail": "Application 'x' not found"}), Unavailable, "no such model", 300),
        ((429, {}, b""), Unavailable, "is busy (HTTP 429)", 0),
        ((429, {"Retry-After": "50"}, b""), Unavailable, "is busy (HTTP 429)", 50),
        ((503, {"Retry-After": "50"}, b""), Unavailable, "is busy or still loading", 50),
        ((307, {"Location": "http://127.0.0.1:9/"}, b""), Unavailable, "redirect", 0),
        ((400, {}, {"detail": "Invalid JSON"}), Broken, "fal returned HTTP 400: Invalid JSON", None),
        (
            (422, {}, {"detail": [{"loc": ["body", "seed"], "msg": "bad", "type": "int"}]}),
            Broken,
            "body.seed: bad",
            None,
        ),
        ((413, {}, b""), Broken, "HTTP 413", None),
        (
            (422, {}, {"detail": [{"loc": ["body"], "msg": "flagged", "type": "content_policy_violation"}]}),
            Declined,
            "body: flagged",
            None,
        ),
    ],
)
async def test_a_refused_request_is_not_open_and_may_go_to_another_route(
    fault: Any, raised: type[Failed], message: str, seconds: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    order, cooldowns = FalRecord(), []
    async with serving(fault=always("submit", fault)) as server, running(server) as engine:
        start = engine._account.start_cooldown

        def record(error: Any) -> None:
            cooldowns.append(error.cooldown_s)
            start(error)

        monkeypatch.setattr(engine._account, "start_cooldown", record)
        with pytest.raises(Failed) as failure:
            await generate(engine, batch_of(open_order=order))
        if raised is Unavailable:
            with pytest.raises(Unavailable):
                await generate(engine, batch_of())
    assert type(failure.value) is raised
    assert message in failure.value.message
    assert (order.data, order.given_up) == ({}, "")
    assert server.submits == 1, "the account was used during its cooldown"
    assert cooldowns == ([] if seconds is None else [seconds])


async def test_nothing_is_sent_if_fal_cannot_be_reached() -> None:
    async with serving() as server, listening(refuse_tls) as without_tls:
        for url in (f"http://127.0.0.1:{free_port()}", without_tls.replace("http", "https")):
            order = FalRecord()
            async with running(server, queue_url=url) as engine:
                with pytest.raises(Unavailable, match="fal cannot be reached"):
                    await generate(engine, batch_of(open_order=order))
                assert (order.data, order.given_up) == ({}, "")
                (check,) = await engine.check()
                assert not check.ok
    assert server.submits == 0


# --- Waiting ---------------------------------------------------------------------------------------------------------

FAILED_QUERIES = [
    "cut",
    "half",
    "html",
    "list",
    (500, {}, b""),
    (502, {}, b"<html>"),
    (503, {}, b""),
    (429, {"Retry-After": "1"}, b""),
    (401, {}, {"detail": "no"}),
    (403, {}, {"detail": "User is locked. Reason: Exhausted balance."}),
    (404, {}, {"detail": "Request not found"}),
    (302, {"Location": "http://127.0.0.1:9/"}, b""),
    (200, {}, {"queue_position": 1}),
]


@pytest.mark.parametrize("step", ["status", "result"])
@pytest.mark.parametrize("fault", FAILED_QUERIES)
async def test_a_failed_query_does_not_fail_the_task(step: str, fault: Any) -> None:
    if (step, fault) == ("result", FAILED_QUERIES[-1]):
        pytest.skip("a result without images is broken")
    async with serving(fault=only(step, fault, fault)) as server, running(server) as engine:
        assert len(images(await generate(engine, batch_of()))) == 1
    assert server.submits == 1


@pytest.mark.parametrize("step", ["status", "result"])
async def test_an_order_stays_open_while_fal_cannot_be_queried(step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("framehouse.engines.fal.fal_steps._MAX_OUTAGE_S", 0.1)
    order = FalRecord()
    async with serving(fault=always(step, (502, {}, b""))) as server, running(server) as engine:
        with pytest.raises(Unknown, match="HTTP 502"):
            await generate(engine, batch_of(open_order=order))
        assert order.request_id == "0f6c-0"
        server.fault = lambda step: ""
        assert len(images(await generate(engine, batch_of(open_order=FalRecord(order.data))))) == 1
    assert server.submits == 1


async def test_an_endless_status_is_a_failed_query() -> None:
    async with serving(fault=only("status", "endless")) as server, running(server) as engine:
        assert len(images(await generate(engine, batch_of()))) == 1


async def test_the_progress_shows_that_a_request_left_the_queue() -> None:
    async with serving(polls=3) as server, running(server) as engine:
        events = await generate(engine, batch_of())
    assert [event.share for event in events if isinstance(event, Progress)] == [0.0, 0.0, 0.5]


async def test_another_engine_object_continues_the_same_request() -> None:
    order = FalRecord()
    async with serving() as server:
        async with running(server) as engine:
            three_shots = batch_of(shots=3, open_order=order)
            async with aclosing(engine.generate(three_shots)) as events:  # type: ignore[type-var]
                async for event in events:
                    if isinstance(event, GeneratedImage):
                        break
        async with running(server) as engine:
            remaining = replace(three_shots, shots=three_shots.shots[1:], open_order=FalRecord(order.data))
            generated = images(await generate(engine, remaining))
    assert [image.index for image in generated] == [1, 2]
    assert (server.submits, server.cancels) == (1, [])


async def test_an_order_without_a_request_id_is_never_submitted_again() -> None:
    order = FalRecord({"order": {"shots": [0], "model": MODEL, "request_id": ""}})
    async with serving() as server, running(server) as engine:
        with pytest.raises(Unknown, match="ended before it received the response"):
            await generate(engine, batch_of(open_order=order))
    assert (order.data, server.submits) == ({}, 0)
    assert "ended before" in order.given_up


@pytest.mark.parametrize("wanted", [True, False])
async def test_cancelling_cancels_exactly_this_request_if_its_images_are_not_wanted(wanted: bool) -> None:
    gate = asyncio.Event()
    async with serving(gate=gate) as server, running(server) as engine:
        other_order, order = FalRecord(), FalRecord()
        order.wanted = wanted
        other = asyncio.create_task(generate(engine, batch_of(open_order=other_order)))

        async def other_accepted() -> str:
            return other_order.request_id

        await eventually(other_accepted)
        generating = asyncio.create_task(generate(engine, batch_of(open_order=order)))

        async def accepted() -> str:
            return order.request_id

        await eventually(accepted)
        generating.cancel()
        with pytest.raises(asyncio.CancelledError):
            await generating

        async def cancelled() -> bool:
            return not engine._background_tasks

        await eventually(cancelled)
        assert server.cancels == ([] if wanted else [order.request_id])
        gate.set()
        assert len(images(await other)) == 1


@pytest.mark.parametrize("wanted", [True, False])
async def test_a_call_that_is_cancelled_during_the_submit_still_saves_the_request_id(wanted: bool) -> None:
    gate, order = asyncio.Event(), FalRecord()
    order.wanted = wanted
    async with serving(submit_gate=gate) as server, running(server) as engine:
        generating = asyncio.create_task(generate(engine, batch_of(open_order=order)))

        async def sent() -> bool:
            return server.submits == 1

        await eventually(sent)
        generating.cancel()
        gate.set()
        with pytest.raises(asyncio.CancelledError):
            await generating

        async def finished() -> bool:
            return bool(order.request_id) and not engine._background_tasks

        await eventually(finished)
        assert server.cancels == ([] if wanted else [order.request_id])


async def test_nothing_is_sent_if_the_call_is_cancelled_while_the_order_is_saved() -> None:
    order = FalRecord()
    order.may_save.clear()
    async with serving() as server, running(server) as engine:
        generating = asyncio.create_task(generate(engine, batch_of(open_order=order)))
        await order.saving.wait()
        generating.cancel()
        await asyncio.sleep(0)  # the cancellation reaches the call before the order is saved
        order.may_save.set()
        with pytest.raises(asyncio.CancelledError):
            await generating
    assert (server.submits, order.data) == (0, {})


@pytest.mark.parametrize("fault", ["cut", "hang", (400, {}, {"status": "ALREADY_COMPLETED"}), (404, {}, b"")])
async def test_a_failed_cancellation_is_ignored(fault: Any, caplog: pytest.LogCaptureFixture) -> None:
    order = FalRecord()
    order.wanted = False
    async with serving(gate=asyncio.Event(), fault=always("cancel", fault)) as server, running(server) as engine:
        generating = asyncio.create_task(generate(engine, batch_of(open_order=order)))

        async def accepted() -> str:
            return order.request_id

        await eventually(accepted)
        generating.cancel()
        with pytest.raises(asyncio.CancelledError):
            await generating
    assert "exception" not in caplog.text.lower()


# --- Results ---------------------------------------------------------------------------------------------------------


def detail(type_: str, msg: str = "bad") -> dict[str, Any]:
    return {"detail": [{"loc": ["body", "prompt"], "msg": msg, "type": type_, "input": PROMPT}]}


@pytest.mark.parametrize(
    ("fault", "raised", "message"),
    [
        ((422, {}, detail("content_policy_violation", "flagged")), Declined, "body.prompt: flagged"),
        ((400, {}, {"detail": "NSFW content detected"}), Declined, "NSFW content detected"),
        ((422, {}, detail("value_error", "too long")), Broken, "fal returned HTTP 422: body.prompt: too long"),
        ((422, {}, detail("image_too_small")), Broken, "HTTP 422"),
        ((422, {}, detail("no_media_generated")), Broken, "HTTP 422"),
        ((400, {}, {"detail": "Bad arguments"}), Broken, "HTTP 400: Bad arguments"),
        ((500, {}, detail("internal_server_error")), Unavailable, "could not process the request (internal_server"),
        ((504, {}, detail("generation_timeout")), Unavailable, "generation_timeout"),
        ((422, {}, detail("downstream_service_error")), Unavailable, "downstream_service_error"),
        ((503, {}, {"detail": "gone", "error_type": "runner_disconnected"}), Unavailable, "runner_disconnected"),
        ((504, {"X-Fal-Error-Type": "startup_timeout"}, b""), Unavailable, "startup_timeout"),
        ((500, {}, {"detail": "Internal Server Error"}), Unavailable, "HTTP 500: Internal Server Error"),
        ("endless", Broken, "the response has more than 2,000,000 bytes"),
    ],
)
async def test_the_final_result_of_a_request_is_not_queried_again(
    fault: Any, raised: type[Failed], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("framehouse.engines.fal.fal_queue.MAX_ANSWER_BYTES", 2_000_000)
    order, results = FalRecord(), []

    def count(step: str) -> Any:
        if step == "result":
            results.append(step)
            return fault
        return ""

    async with serving(fault=count) as server, running(server) as engine:
        with pytest.raises(Failed) as failure:
            await generate(engine, batch_of(open_order=order))
    assert type(failure.value) is raised, failure.value
    assert message in failure.value.message
    assert PROMPT not in failure.value.message
    assert (len(results), server.submits) == (1, 1)
    assert bool(order.given_up) == (raised is Unavailable), "a failed request must not be sent to fal again"


def data_url(content: bytes) -> str:
    return f"data:image/png;base64,{b64encode(content).decode()}"


@pytest.mark.parametrize(
    ("change", "raised", "message", "generated"),
    [
        (lambda result: result | {"images": result["images"][:1]}, Broken, "fal returned 1 of 2 images", 1),
        (lambda result: result | {"images": []}, Broken, "without images", 0),
        (lambda result: {"video": {"url": "https://v3.fal.media/a.mp4"}}, Broken, "without images", 0),
        (lambda result: result | {"images": "none"}, Broken, "without images", 0),
        (lambda result: result | {"images": [{"url": None}, {"url": ""}]}, Broken, "without images", 0),
        (lambda result: result | {"has_nsfw_concepts": [False, True]}, Declined, "not safe for work", 1),
        (lambda result: result | {"has_nsfw_concepts": [True, True]}, Declined, "not safe for work", 0),
        (lambda result: result | {"images": [{"url": "data:image/png;base64,%%"}] * 2}, Broken, "not valid base64", 0),
        (lambda result: result | {"images": [{"url": "data:image/png,abc"}] * 2}, Broken, "not valid base64", 0),
        (lambda result: result | {"images": [data_url(b"no image")] * 2}, Broken, "did not return an image", 0),
        (lambda result: result | {"images": ["file:///etc/passwd"] * 2}, Broken, "not http or https", 0),
        (lambda result: result | {"images": ["http://10.0.0.1/a.png"] * 2}, Broken, "private or special address", 0),
        (lambda result: result | {"images": ["http://localhost/a.png"] * 2}, Broken, "private or special address", 0),
    ],
)
async def test_a_bad_result_raises_its_error_after_the_good_images(
    change: Any, raised: type[Failed], message: str, generated: int
) -> None:
    received = []
    async with serving(change=change) as server, running(server) as engine:
        with pytest.raises(Failed) as failure:
            async for event in engine.generate(batch_of(shots=2)):
                received += [event] if isinstance(event, GeneratedImage) else []
    assert type(failure.value) is raised, failure.value
    assert message in failure.value.message
    assert len(received) == generated
    assert server.submits == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda result: {"image": result["images"][0]},
        lambda result: {"images": [image["url"] for image in result["images"]]},
        lambda result: {"images": [{"url": data_url(image_file())}], "has_nsfw_concepts": False},
        lambda result: result | {"images": result["images"] * 3, "has_nsfw_concepts": None},
    ],
)
async def test_each_form_of_a_result_is_understood(change: Any) -> None:
    async with serving(change=change) as server, running(server) as engine:
        assert len(images(await generate(engine, batch_of()))) == 1


async def test_an_image_of_another_size_is_returned_unchanged() -> None:
    small = {"images": [data_url(image_file(640, 480))]}
    async with serving(change=lambda result: small) as server, running(server) as engine:
        (generated,) = images(await generate(engine, batch_of()))
    assert generated.pixels.shape == (480, 640, 3)


@pytest.mark.parametrize("fault", ["cut", "half", (404, {}, b""), (503, {}, b""), (200, {}, b"no image"), "endless"])
async def test_a_failed_download_is_repeated_without_another_request(
    fault: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("framehouse.engines.fal.fal_steps.MAX_ANSWER_BYTES", 2_000_000)
    async with serving(fault=only("image", fault, fault)) as server, running(server) as engine:
        assert len(images(await generate(engine, batch_of()))) == 1
    assert server.submits == 1


@pytest.mark.parametrize(
    ("fault", "raised", "message"),
    [
        ((404, {}, b""), Broken, "image 1 from fal returned HTTP 404"),
        ((410, {}, b""), Broken, "image 1 from fal returned HTTP 410"),
        ((200, {}, image_file(400, 300, "JPEG")[:-300]), Broken, "did not return an image"),
        ("endless", Broken, "is too large: it has more than 2,000,000 bytes"),
        ((302, {"Location": "http://10.0.0.1/"}, b""), Broken, "private or special address"),
        ((503, {}, b""), Unknown, "image 1 from fal returned HTTP 503"),
        ("cut", Unknown, "image 1 from fal could not be reached"),
    ],
)
async def test_an_image_that_cannot_be_fetched_fails_the_task_or_stays_open(
    fault: Any, raised: type[Failed], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("framehouse.engines.fal.fal_steps.MAX_ANSWER_BYTES", 2_000_000)
    order = FalRecord()
    async with serving(fault=always("image", fault)) as server, running(server) as engine:
        with pytest.raises(Failed) as failure:
            await generate(engine, batch_of(open_order=order))
    assert type(failure.value) is raised, failure.value
    assert message in failure.value.message
    assert (order.request_id, server.submits) == ("0f6c-0", 1)


async def test_messages_and_logs_never_contain_the_prompt_or_the_key(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    prompt = "refuse a violet fox 狐狸"
    texts = []
    async with serving() as server, running(server) as engine:
        with pytest.raises(Declined, match="could not be processed: …") as declined:
            await generate(engine, batch_of(prompt))
        texts.append(f"{declined.value} {engine!r} {engine._options!r}")
        for step in ("submit", "result"):
            server.fault = always(step, (422, {}, {"detail": f"bad prompt '{prompt}' for the key {KEY}"}))
            with pytest.raises(Broken, match="bad prompt '…' for the key …") as broken:
                await generate(engine, batch_of(prompt))
            texts.append(str(broken.value))
        server.fault = always("submit", (401, {}, {"detail": KEY}))
        with pytest.raises(Unavailable) as unavailable:
            await generate(engine, batch_of(prompt))
        (check,) = await engine.check()
        texts.append(f"{unavailable.value} {check}")
    text = " ".join([*texts, caplog.text])
    assert prompt not in text
    assert KEY not in text


# --- The account -----------------------------------------------------------------------------------------------------


async def test_no_more_requests_are_open_than_the_limit_and_resumed_requests_do_not_wait() -> None:
    gate = asyncio.Event()
    async with serving(gate=gate) as server, running(server, concurrency=2) as engine:
        assert engine.abilities().concurrency == 2
        orders = [FalRecord() for _ in range(5)]
        calls = [asyncio.create_task(generate(engine, batch_of(open_order=order))) for order in orders]

        async def two_submitted() -> bool:
            return sum(bool(order.request_id) for order in orders) == 2

        await eventually(two_submitted)
        await asyncio.sleep(0.1)  # more requests would arrive now
        assert server.submits == 2
        resumed = FalRecord(next(order.data for order in orders if order.request_id))
        calls.append(asyncio.create_task(generate(engine, batch_of(open_order=resumed))))
        gate.set()
        assert [len(images(events)) for events in await asyncio.gather(*calls)] == [1] * 6
    assert server.submits == 5


async def test_the_health_check_costs_nothing_and_reports_problems() -> None:
    async with serving() as server, running(server) as engine:
        (check,) = await engine.check()
        assert (check.ok, check.reason, check.subject) == (True, "the queue of fal responds", f"{MODEL} at 127.0.0.1")
        for fault, reason in (
            ((403, {}, {"detail": "User is locked. Reason: Exhausted balance."}), "balance"),
            ((503, {}, b""), "HTTP 503"),
            ("endless", "more than 1,000,000 bytes"),
        ):
            server.fault = always("status", fault)
            (check,) = await engine.check()
            assert not check.ok
            assert reason in check.reason
        assert server.submits == 0
    async with serving() as server, running(server, api_key="wrong") as engine:
        (check,) = await engine.check()
        assert not check.ok
        assert "does not accept the api_key" in check.reason


# --- Options and whole tasks -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": ""}, "needs the option model, the option edit_model, or both"),
        ({"model": "flux"}, 'model must be the name of a model on fal, such as "fal-ai/flux/dev"'),
        ({"model": "fal-ai/../x"}, "model must be the name"),
        ({"model": 1}, "model must be the name"),
        ({"api_key": "s3cret key"}, "api_key must be the key"),
        ({"arguments": []}, "arguments must be a table"),
        ({"arguments": {"text": "fox"}}, "arguments must contain the placeholder {prompt}"),
        ({"arguments": {"prompt": "{prompt}", "n": ["{number}"]}}, "the unknown placeholder {number}"),
        ({"edit_model": EDIT_MODEL, "arguments": {"prompt": "{prompt}"}}, "edit_model needs arguments that contain"),
        ({"max_references": 1}, "max_references must be 0 if there is no edit_model"),
        ({"edit_model": EDIT_MODEL, "max_references": 0}, "max_references is 0, but must be from 1 to 100"),
        (
            {"edit_model": EDIT_MODEL, "max_references": 2, "arguments": {"a": "{prompt}", "b": "{image_url}"}},
            "max_references is 2, but must be from 1 to 1",
        ),
        ({"max_images": 0}, "max_images must be"),
        ({"max_pixels": 1}, "max_pixels must be"),
        ({"concurrency": 0}, "concurrency must be"),
        ({"cite": "image"}, "cite must be the text"),
        ({"upload_above_bytes": -1}, "upload_above_bytes must be"),
        ({"answer_s": 0}, "answer_s must be"),
        ({"queue_url": "queue.fal.run"}, "queue_url must be an http or https URL"),
        ({"storage_url": "https://a/#b"}, "storage_url must not contain a query"),
        ({"allow_private_addresses": 1}, "allow_private_addresses must be true or false"),
        ({"convert_colours": 1}, "convert_colours must be true or false"),
    ],
)
def test_the_error_names_the_bad_option(options: dict[str, Any], message: str) -> None:
    with pytest.raises(BadOption) as failure:
        Fal(**({"model": MODEL, "api_key": KEY} | options))
    assert message in str(failure.value)
    assert "s3cret" not in str(failure.value)


def test_a_route_names_the_engine_and_opens_no_connection() -> None:
    with pytest.raises(BadRoute, match='fal has no option "speed"'):
        open_registry([(Model("m"), [{"engine": "fal", "model": MODEL, "api_key": KEY, "speed": 3}])])
    engine = Fal(model=MODEL, api_key=KEY)
    assert engine.abilities().paid
    assert engine._queue._client is None


def route_to(server: FalServer) -> dict[str, object]:
    return {
        "engine": "fal",
        "model": MODEL,
        "edit_model": EDIT_MODEL,
        "api_key": KEY,
        "queue_url": server.url,
        "storage_url": server.url,
    }


async def test_a_worker_generates_tasks_and_continues_a_request_after_a_restart(
    make_deployment: MakeDeployment,
) -> None:
    gate = asyncio.Event()
    gate.set()
    async with serving(gate=gate) as server:
        deployment = await make_deployment(route_to(server))
        deployment.start_worker(stop_s=0)
        several = await deployment.submit("like <<<image_1>>>", n=3, image_list=[{"image": image_base64()}])
        task = await wait_for_task(deployment, several.task_id)
        assert task.status == "succeed", task
        assert len(task.images) == 3
        assert server.submits == 1
        gate.clear()
        waiting = await deployment.submit(PROMPT)

        async def polled() -> bool:
            return any(request.polls <= 0 for request in list(server.requests.values())[1:])

        await eventually(polled)
        (worker, worker_task) = deployment.workers.pop()
        worker.stop()
        await worker_task
        gate.set()
        deployment.start_worker()
        task = await wait_for_task(deployment, waiting.task_id)
        assert task.status == "succeed", task
        assert (server.submits, server.cancels) == (2, [])


async def test_a_task_with_a_lost_answer_fails_and_is_not_sent_again(make_deployment: MakeDeployment) -> None:
    async with serving(fault=always("submit", "late cut")) as server:
        deployment = await make_deployment(route_to(server))
        deployment.start_worker()
        task = await wait_for_task(deployment, (await deployment.submit(PROMPT)).task_id)
        assert task.status == "failed"
        assert "is not sent again" in task.status_message
        assert server.submits == 1


@contextmanager
def worker_process(folder: Path, database_url: str, route: dict[str, object]) -> Iterator[subprocess.Popen[bytes]]:
    """A real worker process, which is killed at the end of the context."""
    variables = {
        "FRAMEHOUSE_DATABASE_URL": database_url,
        "FRAMEHOUSE_STORAGE_URL": (folder / "files").as_uri(),
        "FRAMEHOUSE_MODELS": json.dumps({"kling-v3-omni": {"routes": [route]}}),
    }
    command = [*FRAMEHOUSE, "worker", "--data-dir", str(folder / "data")]
    with (folder / "worker.log").open("ab") as log:
        process = subprocess.Popen(command, env=environment(**variables), stdout=log, stderr=log)
        try:
            yield process
        finally:
            process.kill()
            process.wait(timeout=60)


@pytest.mark.long
@pytest.mark.parametrize("at", ["submit", "wait"])
async def test_a_worker_that_is_killed_never_causes_a_second_request(
    at: str, database_url: str, tmp_path: Path
) -> None:
    storage = open_storage((tmp_path / "files").as_uri())
    db = Database(database_url, size=2)
    await db.open()
    gate = asyncio.Event()
    async with serving(**{"submit_gate" if at == "submit" else "gate": gate}) as server:
        deployment = await build_deployment(db, storage, route_to(server))
        ticket = await deployment.submit(PROMPT)

        async def reached() -> bool:
            if at == "submit":
                return server.submits == 1
            return any(request.polls <= 0 for request in server.requests.values())

        with worker_process(tmp_path, database_url, route_to(server)):
            await eventually(reached)
        gate.set()
        with worker_process(tmp_path, database_url, route_to(server)):
            task = await wait_for_task(deployment, ticket.task_id)
        assert server.submits == 1
        if at == "wait":
            assert task.status == "succeed", task
        else:
            assert task.status == "failed"
            assert "ended before it received the response" in task.status_message
        await deployment.close()
    await db.close()
