"""The engine `comfyui`: its jobs, the result of each kind of failure, and the workflows of the docs."""

import asyncio
import io
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from PIL import Image

from framehouse.domain.errors import Broken, Failed, Unavailable
from framehouse.domain.expansion import Expansion, layout
from framehouse.domain.shot import Shot
from framehouse.domain.sizes import Size
from framehouse.domain.task import RequestOptions
from framehouse.engines.comfyui import ComfyUI, comfyui_api, job_execution, progress_socket
from framehouse.engines.image_files import png_file
from framehouse.engines.interface import Batch, Engine, Progress, ReferenceImage
from framehouse.testing.engine_contract import EngineContract, generate, images
from tests.support.comfyui_server import WORKFLOWS, Comfy, comfyui
from tests.support.image_files import image_base64, image_file
from tests.support.in_process_deployment import MakeDeployment
from tests.support.recorded_order import RecordedOrder
from tests.support.sockets import free_port
from tests.support.tasks import wait_for_task

SECRET = "s3cret-key"


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_execution, "_FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(job_execution, "_LONGEST_PAUSE_S", 0.05)
    monkeypatch.setattr(job_execution, "_LOST_AFTER_S", 0.1)
    monkeypatch.setattr(job_execution, "_FETCH_PAUSES_S", (0.01,))


@asynccontextmanager
async def running(*servers: Comfy | str, **options: Any) -> AsyncIterator[ComfyUI]:
    """Return an engine that uses these servers with the workflows of the docs."""
    urls = [server if isinstance(server, str) else server.url for server in servers]
    engine = ComfyUI(**({"servers": urls, "max_pixels": 256 * 256, "timeout_s": 50} | WORKFLOWS | options))
    try:
        yield engine
    finally:
        await engine.close()


def batch_of(prompt: str = "a fox", *, shots: int = 1, references: int = 0, **fields: Any) -> Batch:
    all_shots = tuple(Shot(n, prompt, "", 100 + n) for n in range(shots))
    sent = tuple(ReferenceImage(image_file(400 + n, 300), 400 + n, 300) for n in range(references))
    return Batch("task", all_shots, shots, Size(1024, 1024), sent, **fields)


def text_of(nodes: dict[str, Any], class_type: str, name: str) -> list[Any]:
    """The values of an input of all nodes of a class."""
    return [node["inputs"].get(name) for node in nodes.values() if node["class_type"] == class_type]


class Contract(EngineContract):
    servers: tuple[dict[str, Any], ...] = ()

    @pytest.fixture
    async def engine(self) -> AsyncIterator[Engine]:
        async with AsyncExitStack() as stack:
            servers = [await stack.enter_async_context(comfyui(**options)) for options in self.servers]
            async with running(*servers) as engine:
                yield engine
            assert all(server.max_jobs <= 2 for server in servers), "more jobs than the limit"
            assert all(server.count("POST", "/interrupt") <= 1 for server in servers)


class TestOneServer(Contract):
    servers = ({},)


class TestTwoServersWithoutSockets(Contract):
    servers = ({"has_socket": False}, {"has_socket": False})


class TestOldServer(Contract):
    servers = ({"version": "0.3.30", "accepts_ids": False},)


# --- Workflows --------------------------------------------------------------------------------------------------------


async def test_the_workflow_for_text_gets_all_values_with_their_types() -> None:
    prompt = 'a "fox" {in} {{seed}} \\ 雪\n{{prompt}} %s $1'
    options = RequestOptions(negative_prompt='no "text" {{width}}')
    async with comfyui() as server, running(server) as engine:
        (generated,) = images(await generate(engine, batch_of(prompt, kind="generations", options=options)))
        (job,) = server.jobs()
        assert text_of(job, "CLIPTextEncode", "text") == [prompt, 'no "text" {{width}}']
        assert text_of(job, "KSampler", "seed") == [100]
        assert [text_of(job, "EmptyLatentImage", name) for name in ("width", "height")] == [[256], [256]]
        assert generated.pixels.shape == (256, 256, 3)
        assert generated.facts == {"server": "comfyui", "workflow": "workflow", "generated_size": "256x256"}
        assert engine.abilities().negative_prompts


@pytest.mark.parametrize(("references", "loaded"), [(1, 1), (2, 2), (3, 3), (5, 3)])
async def test_the_workflow_for_edits_gets_as_many_references_as_it_has_placeholders(
    references: int, loaded: int
) -> None:
    async with comfyui() as server, running(server) as engine:
        (generated,) = images(await generate(engine, batch_of("like <<<image_1>>>", references=references)))
        (job,) = server.jobs()
        assert len(text_of(job, "LoadImage", "image")) == loaded
        for number in (1, 2, 3):
            links = text_of(job, "TextEncodeQwenImageEditPlus", f"image{number}")
            assert links == ([[str(4 + number), 0]] * 2 if number <= loaded else [None, None])
        assert text_of(job, "TextEncodeQwenImageEditPlus", "prompt")[0].startswith("like image 1")
        assert ("contact_sheet" in generated.facts) == (references > 3)
        sizes = [Image.open(io.BytesIO(content)).size for key, content in server.files.items() if key[0] == "input"]
        assert sizes[:2] == [(400, 300), (401, 300)][: len(sizes)]
        assert {key[1] for key in server.files if key[0] == "input"} == {"framehouse"}


async def test_each_reference_changes_the_image_and_is_uploaded_once() -> None:
    async with comfyui() as server, running(server) as engine:
        results = [images(await generate(engine, batch_of(references=n)))[0].pixels.tobytes() for n in (1, 2, 3, 1)]
        assert len(set(results)) == 3
        assert results[0] == results[3]
        assert len([key for key in server.files if key[0] == "input"]) == 3


async def test_the_workflow_for_expansions_gets_the_canvas_and_the_mask() -> None:
    expansion = Expansion(left=0.5, right=0.5)
    size, box = layout(expansion, 400, 300)
    request = replace(
        batch_of("a beach", references=1),
        size=size,
        box=box,
        kind="expand",
        options=RequestOptions(expansion=expansion),
    )
    async with comfyui() as server, running(server) as engine:
        (generated,) = images(await generate(engine, request))
        canvas, mask = (Image.open(io.BytesIO(content)) for key, content in server.files.items() if key[0] == "input")
        assert canvas.size == mask.size == generated.pixels.shape[1::-1]
        assert (canvas.mode, mask.mode) == ("RGB", "L")
        middle = mask.height // 2
        assert [mask.getpixel((x, middle)) for x in (0, mask.width // 2, mask.width - 1)] == [255, 0, 255]


@pytest.mark.parametrize("size", [Size(1024, 768), Size(1280, 720)])
async def test_an_edit_with_a_mask_uses_the_workflow_for_expansions(size: Size) -> None:
    mask_image = Image.new("L", (400, 300), 0)
    mask_image.paste(255, (100, 75, 300, 225))
    request = replace(
        batch_of("a beach", references=1), size=size, mask=ReferenceImage(png_file(mask_image), 400, 300, "mask")
    )
    async with comfyui() as server, running(server) as engine:
        assert engine.abilities().masks
        (generated,) = images(await generate(engine, request))
        canvas, mask = (Image.open(io.BytesIO(content)) for key, content in server.files.items() if key[0] == "input")
        assert canvas.size == mask.size == generated.pixels.shape[1::-1]
        assert (canvas.mode, mask.mode) == ("RGB", "L")
        assert generated.facts["workflow"] == "expand_workflow"
        middle = mask.height // 2
        assert [mask.getpixel((x, middle)) for x in (0, mask.width // 2, mask.width - 1)] == [0, 255, 0]


async def test_later_images_of_a_series_get_the_first_image() -> None:
    async with comfyui() as server, running(server) as engine:
        events = await generate(engine, batch_of(shots=3, series=True))
        assert [image.index for image in images(events)] == [0, 1, 2]
        shares = [event.share for event in events if isinstance(event, Progress)]
        assert shares == sorted(shares)
        first, second, third = server.jobs()
        assert text_of(first, "LoadImage", "image") == []
        assert text_of(second, "LoadImage", "image") == text_of(third, "LoadImage", "image") != []
        server.requests.clear()
        frame = ReferenceImage(image_file(256, 256), 256, 256)
        missing = replace(batch_of(shots=3, series=True), first_frame=frame)
        await generate(engine, replace(missing, shots=missing.shots[1:]))
        assert [len(text_of(job, "LoadImage", "image")) for job in server.jobs()] == [1, 1]


async def test_a_route_without_a_workflow_for_text_needs_references() -> None:
    async with comfyui() as server, running(server, workflow=None) as engine:
        assert engine.abilities().needs_reference
        with pytest.raises(Unavailable, match="the route has no workflow, which generates images from text alone"):
            await generate(engine, batch_of())
    async with comfyui() as server, running(server, edit_workflow=None, expand_workflow=None) as engine:
        abilities = engine.abilities()
        assert (abilities.max_references, abilities.whole_series, abilities.expansions) == (0, False, False)
        assert not abilities.masks


async def test_the_progress_comes_from_the_websocket() -> None:
    async with comfyui() as server, running(server) as engine:
        server.gate.clear()
        async with aclosing(engine.generate(batch_of())) as events:  # type: ignore[type-var]
            shares = []
            async for event in events:
                if isinstance(event, Progress) and event.share:
                    shares.append(event.share)
                    if event.share > 0.4:  # the sampler waits for the gate, after more than half of the nodes
                        server.gate.set()
        assert shares == sorted(shares)
        assert 0.4 < shares[0] < shares[-1] <= 0.95
        assert server.connections == 1
        assert not server.sockets, "the WebSocket was not closed"


async def test_the_end_of_a_job_on_the_websocket_ends_the_pause_between_queries(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(job_execution, "_FIRST_PAUSE_S", 1000.0)
    monkeypatch.setattr(job_execution, "_LONGEST_PAUSE_WITH_SOCKET_S", 1000.0)
    async with comfyui() as server, running(server, timeout_s=2000) as engine:
        server.gate.clear()
        call = asyncio.create_task(generate(engine, batch_of()))
        await server.until(lambda: server.running and server.sockets and server.count("GET", "/queue"))
        server.gate.set()
        assert len(images(await call)) == 1


@pytest.mark.parametrize(
    ("message", "share", "ended"),
    [
        ({"type": "execution_cached", "data": {"nodes": ["1", "2"], "prompt_id": "j"}}, 0.5, False),
        ({"type": "progress", "data": {"value": 3, "max": 4, "prompt_id": "j"}}, 0.1875, False),
        ({"type": "progress", "data": {"value": 3, "max": 0, "prompt_id": "j"}}, 0.0, False),
        ({"type": "progress", "data": {"value": 3, "max": 4, "prompt_id": "other"}}, 0.0, False),
        (
            {
                "type": "progress_state",
                "data": {
                    "prompt_id": "j",
                    "nodes": {
                        "1": {"state": "finished", "value": 1, "max": 1},
                        "2": {"state": "running", "value": 1, "max": 2},
                    },
                },
            },
            0.375,
            False,
        ),
        ({"type": "executing", "data": {"node": None, "prompt_id": "j"}}, 0.0, True),
        ({"type": "execution_error", "data": {"prompt_id": "j"}}, 0.0, True),
        ({"type": "execution_success", "data": {"prompt_id": "other"}}, 0.0, False),
        ({"type": "status", "data": {"status": {}}}, 0.0, False),
        ([], 0.0, False),
    ],
)
def test_the_messages_of_the_websocket(message: Any, share: float, ended: bool) -> None:
    progress = progress_socket.JobProgress("j", 4)
    assert progress.read(json.dumps(message)) is ended
    assert progress.share == share


# --- Failures ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "raised", "message"),
    [
        (
            "error",
            Broken,
            "the ComfyUI server reported an error of KSampler: RuntimeError: mat1 and mat2 shapes cannot",
        ),
        ("oom", Unavailable, "the model server ran out of memory in KSampler"),
        ("no outputs", Broken, "generated no image; the workflow must contain a SaveImage"),
        ("two images", Broken, "generated 2 images instead of one; set batch_size to 1"),
        ("not an image", Broken, "did not return an image"),
        ("deleted", Unavailable, "the model server no longer has the image"),
    ],
)
async def test_a_job_that_fails(fault: str, raised: type[Failed], message: str) -> None:
    order = RecordedOrder()
    async with comfyui(job_faults=[fault]) as server, running(server) as engine:
        with pytest.raises(raised, match=message) as error:
            await generate(engine, batch_of(open_order=order))
        assert len(server.jobs()) == 1, "the job was repeated"
        assert "alice" not in error.value.message
        assert "private" not in error.value.message
        if raised is Unavailable:
            assert order.data == {}, "no other route could generate the batch"
        assert len(images(await generate(engine, batch_of()))) == 1


async def test_an_image_of_another_size_is_accepted() -> None:
    async with comfyui(job_faults=["small"]) as server, running(server) as engine:
        (generated,) = images(await generate(engine, batch_of()))
        assert generated.pixels.shape == (48, 64, 3)
        assert generated.facts["generated_size"] == "64x48"


async def test_a_refused_workflow_fails_with_the_words_of_the_node() -> None:
    async with comfyui(missing_files={"sd_xl_base_1.0.safetensors"}) as server, running(server) as engine:
        with pytest.raises(Broken) as error:
            await generate(engine, batch_of())
        assert error.value.message == (
            "the ComfyUI server refuses the workflow: CheckpointLoaderSimple: Value not in list (ckpt_name)"
        )
        server.missing_files.clear()
        server.missing_nodes = {"VAEDecode"}
        with pytest.raises(Broken, match="Node 'VAEDecode' not found"):
            await generate(engine, batch_of())
        assert len(server.jobs()) == 2, "a job was repeated"


@pytest.mark.parametrize(
    ("path", "fault", "message"),
    [
        ("/prompt", (503, {}), "is busy or not ready"),
        ("/prompt", (401, {}), "does not accept the api_key or the headers"),
        ("/prompt", (302, {}, {"Location": "http://127.0.0.1:1/"}), "responds with a redirect, which is not followed"),
        ("/prompt", "garbage", "no longer has the job"),
        ("/prompt", "cut", "no longer has the job"),
        ("/prompt", (500, {}), "no longer has the job"),
        ("/upload", "cut", "closed the connection"),
        ("/upload", (302, {}, {"Location": "http://127.0.0.1:1/"}), "responds with a redirect"),
        ("/upload", "garbage", "sent an invalid response to an upload"),
        ("/view", "cut", "closed the connection"),
        ("/view", (302, {}, {"Location": "http://127.0.0.1:1/"}), "responds with a redirect"),
        ("/view", (500, {}), "returned HTTP 500"),
        ("/object_info", "garbage", "sent an invalid description of a node"),
    ],
)
async def test_a_server_that_always_misbehaves_makes_the_batch_unavailable(path: str, fault: Any, message: str) -> None:
    order = RecordedOrder()
    async with comfyui(always={path: fault}) as server, running(server, api_key=SECRET) as engine:
        with pytest.raises(Unavailable, match=message) as error:
            await generate(engine, batch_of(references=1, open_order=order))
        assert order.data == {}
        assert SECRET not in error.value.message
        assert server.url not in error.value.message
        assert all(headers["authorization"] == f"Bearer {SECRET}" for headers in server.headers)


@pytest.mark.parametrize("path", ["/prompt", "/upload", "/view", "/queue", "/history", "/ws"])
@pytest.mark.parametrize("fault", ["cut", (404, {}), (500, {}), (503, {})])
async def test_a_fault_that_ends_does_not_lose_the_image(path: str, fault: Any) -> None:
    faults = {path: [fault]}
    async with comfyui(faults=faults) as first, comfyui() as second, running(first, second) as engine:
        assert len(images(await generate(engine, batch_of(references=1)))) == 1
        assert len(first.jobs()) + len(second.jobs()) <= 2


async def test_a_job_whose_response_is_lost_is_found_and_not_repeated() -> None:
    async with comfyui(faults={"POST /prompt": ["lost"]}) as server, running(server) as engine:
        assert len(images(await generate(engine, batch_of()))) == 1
        assert len(server.jobs()) == 1


async def test_an_endless_image_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comfyui_api, "MAX_ANSWER_BYTES", 2_000_000)
    async with comfyui(always={"/view": "endless"}) as server, running(server) as engine:
        with pytest.raises(Broken, match="more than 2,000,000 bytes"):
            await generate(engine, batch_of())


async def test_an_endless_queue_counts_as_an_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comfyui_api, "_MAX_JSON_BYTES", 2_000_000)
    monkeypatch.setattr(job_execution, "_MAX_OUTAGE_S", 0.1)
    async with comfyui(always={"GET /queue": "endless"}) as server, running(server) as engine:
        with pytest.raises(Unavailable, match="sent a response that is too long"):
            await generate(engine, batch_of())


async def test_a_server_that_is_down_is_skipped() -> None:
    down = f"http://127.0.0.1:{free_port()}"
    async with comfyui() as server, running(down, server) as engine:
        for _ in range(3):
            assert len(images(await generate(engine, batch_of()))) == 1
    async with running(down) as engine:
        with pytest.raises(Unavailable, match="the model server cannot be reached") as error:
            await generate(engine, batch_of())
        assert down not in error.value.message
        (check,) = await engine.check()
        assert not check.ok
        assert check.subject == down


async def test_a_silent_server_is_left_after_its_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_execution, "_MAX_OUTAGE_S", 0.1)
    monkeypatch.setattr(comfyui_api, "_ANSWER_TIMEOUT_S", 0.2)
    for always in ({"POST /prompt": "hang", "GET /queue": "hang"}, {"GET /queue": "hang"}):
        async with comfyui(always=always) as silent, running(silent) as engine:
            with pytest.raises(Unavailable, match="did not send a complete response"):
                await generate(engine, batch_of())


async def test_a_job_that_takes_too_long_is_cancelled_at_the_server() -> None:
    async with comfyui(job_faults=["hang"]) as server, running(server, timeout_s=0.3) as engine:
        with pytest.raises(Unavailable, match=r"did not finish the job within 0\.3 s"):
            await generate(engine, batch_of())
        await server.until(lambda: server.running is None)
        (entry,) = server.history.values()
        assert entry["status"]["messages"][-1][0] == "execution_interrupted"


async def test_a_job_that_another_user_interrupts_is_generated_later() -> None:
    async with comfyui(job_faults=["hang"]) as server, running(server) as engine:
        call = asyncio.create_task(generate(engine, batch_of()))
        await server.until(lambda: server.running)
        assert server.running
        server.running.interrupted.set()
        with pytest.raises(Unavailable, match="interrupted the job"):
            await call


async def test_a_job_without_its_websocket_is_still_finished() -> None:
    async with comfyui() as server, running(server) as engine:
        server.gate.clear()
        call = asyncio.create_task(generate(engine, batch_of()))
        await server.until(lambda: server.running and server.sockets)
        server.drop_sockets()
        server.gate.set()
        assert len(images(await call)) == 1
        assert server.connections == 1


async def test_a_server_that_goes_down_during_a_job_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_execution, "_MAX_OUTAGE_S", 0.1)
    async with comfyui() as first, comfyui() as second, running(first, second) as engine:
        first.gate.clear()
        order = RecordedOrder()
        call = asyncio.create_task(generate(engine, batch_of(open_order=order)))
        await first.until(lambda: first.running)
        first.always[""] = "cut"
        first.drop_sockets()
        assert len(images(await call)) == 1
        assert (len(first.jobs()), len(second.jobs())) == (1, 1)
        assert [saved.get("server") for saved in order.saved] == [first.url, None, second.url]


async def test_the_websocket_follows_no_redirect() -> None:
    async with comfyui() as other:
        redirect: Any = (302, {}, {"Location": f"{other.url.replace('http', 'ws')}/ws"})
        async with comfyui(always={"/ws": redirect}) as server, running(server, api_key=SECRET) as engine:
            assert len(images(await generate(engine, batch_of()))) == 1
            assert server.count("GET", "/ws") == 1
        assert other.requests == []


async def test_a_job_that_a_restarted_server_forgot_is_placed_again() -> None:
    async with comfyui(job_faults=["restart"]) as server, running(server) as engine:
        assert len(images(await generate(engine, batch_of()))) == 1
        assert len(server.jobs()) == 2
    async with comfyui(job_faults=["restart"] * 9) as server, running(server) as engine:
        with pytest.raises(Unavailable, match="no longer has the job"):
            await generate(engine, batch_of())
        assert len(server.jobs()) == 2


# --- Open orders ------------------------------------------------------------------------------------------------------


async def test_the_record_is_saved_before_the_job_is_placed() -> None:
    async with comfyui() as server, running(server) as engine:
        order = RecordedOrder()

        class Watched(RecordedOrder):
            async def save(self, data: Mapping[str, Any]) -> None:
                assert server.jobs() == []
                await order.save(data)

        await generate(engine, batch_of(open_order=Watched()))
        (saved,) = order.saved
        assert saved == {"server": server.url, "job": next(iter(server.history)), "shot": 0}


@pytest.mark.parametrize("ended", [False, True])
async def test_the_next_worker_finds_the_job_of_a_worker_that_died(ended: bool) -> None:
    async with comfyui() as server:
        order = RecordedOrder()
        server.gate.clear()
        async with running(server) as engine:
            call = asyncio.create_task(generate(engine, batch_of(open_order=order)))
            await server.until(lambda: server.running)
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
        assert server.running, "the job was interrupted, although the images are still needed"
        if ended:
            server.gate.set()
            await server.until(lambda: server.history)
        async with running(server) as engine:
            call = asyncio.create_task(generate(engine, batch_of(open_order=RecordedOrder(order.data))))
            await server.until(lambda: server.connections == 2)
            server.gate.set()
            assert len(images(await call)) == 1
        assert len(server.jobs()) == 1


async def test_a_job_that_was_saved_but_not_placed_is_placed() -> None:
    async with comfyui() as server, running(server) as engine:
        order = RecordedOrder({"server": server.url, "job": "7d9e6c1c-6a25-4e6f-9d2a-000000000000", "shot": 0})
        assert len(images(await generate(engine, batch_of(open_order=order)))) == 1
        assert len(server.jobs()) == 1


@pytest.mark.parametrize("shot", [0, 7])
async def test_a_record_that_is_no_longer_valid_is_removed(shot: int) -> None:
    """The server is no longer configured, or the image of the job is already stored."""
    async with comfyui() as server, running(server) as engine:
        url = "http://127.0.0.1:1" if shot == 0 else server.url
        order = RecordedOrder({"server": url, "job": "old", "shot": shot})
        assert len(images(await generate(engine, batch_of(open_order=order)))) == 1
        assert order.saved[0] == {}
        assert server.count("GET", "/history/old") == 0


async def test_an_old_server_that_chooses_the_id_itself_is_found_by_this_id() -> None:
    async with comfyui(accepts_ids=False) as server, running(server) as engine:
        order = RecordedOrder()
        assert len(images(await generate(engine, batch_of(open_order=order)))) == 1
        assert order.data["job"] == next(iter(server.history))


# --- Several servers and several clients ------------------------------------------------------------------------------


async def test_jobs_go_to_the_server_with_the_shortest_queue() -> None:
    async with comfyui() as busy, comfyui() as idle, running(busy, idle) as engine:
        busy.gate.clear()
        foreign = [busy.add_foreign_job() for _ in range(3)]
        await asyncio.gather(*(generate(engine, batch_of()) for _ in range(2)))
        assert (len(busy.jobs()), len(idle.jobs())) == (0, 2)
        assert len(foreign) == 3


async def test_ten_jobs_of_two_workers_share_two_servers() -> None:
    async with comfyui() as one, comfyui() as two, running(one, two) as first, running(one, two) as second:
        calls = [generate(engine, batch_of(f"fox {n}")) for n in range(5) for engine in (first, second)]
        results = await asyncio.gather(*calls)
        assert [len(images(events)) for events in results] == [1] * 10
        assert len(one.jobs()) + len(two.jobs()) == 10
        assert min(len(one.jobs()), len(two.jobs())) >= 2
        assert max(one.max_jobs, two.max_jobs) <= 4


async def test_a_cancelled_job_in_the_queue_is_deleted_and_no_other_job() -> None:
    async with comfyui() as server, running(server) as engine:
        server.gate.clear()
        before = server.add_foreign_job()
        await server.notify()
        await server.until(lambda: server.running)
        order = RecordedOrder()
        call = asyncio.create_task(generate(engine, batch_of(open_order=order)))
        await server.until(lambda: server.pending)
        after = server.add_foreign_job()
        order.wanted = False
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        await server.until(lambda: [job.id for job in server.pending] == [after])
        await engine.close()
        assert server.running
        assert server.running.id == before
        assert not server.running.interrupted.is_set()
        assert server.count("POST", "/interrupt") == 0


@pytest.mark.parametrize("version", ["0.9.2", "0.3.30", "unknown"])
async def test_a_cancelled_running_job_is_interrupted_if_the_server_can_interrupt_only_this_job(version: str) -> None:
    async with comfyui(version=version if version != "unknown" else "0.0.0") as server, running(server) as engine:
        server.gate.clear()
        order = RecordedOrder()
        call = asyncio.create_task(generate(engine, batch_of(open_order=order)))
        await server.until(lambda: server.running)
        assert server.running
        foreign, job = server.add_foreign_job(), server.running
        order.wanted = False
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        await engine.close()
        assert job.interrupted.is_set() == (version == "0.9.2")
        assert [b for m, p, b in server.requests if p == "/interrupt"] in ([], [{"prompt_id": job.id}])
        server.gate.set()
        await server.until(lambda: foreign in server.history)
        assert server.history[foreign]["status"]["status_str"] == "success"


async def test_a_job_that_is_cancelled_while_it_is_placed_is_also_cancelled_at_the_server() -> None:
    async with comfyui(faults={"POST /prompt": ["wait"]}) as server, running(server) as engine:
        server.gate.clear()
        order = RecordedOrder()
        call = asyncio.create_task(generate(engine, batch_of(open_order=order)))
        await server.until(lambda: server.jobs())
        order.wanted = False
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        server.released.set()
        await engine.close()
        await server.until(lambda: server.history or not (server.pending or server.running))
        assert all(entry["status"]["status_str"] == "error" for entry in server.history.values())


# --- Health -----------------------------------------------------------------------------------------------------------


async def test_the_health_check_finds_missing_nodes_and_models_and_the_server_is_skipped() -> None:
    lacking = {"missing_nodes": {"InpaintModelConditioning"}, "missing_files": {"sd_xl_base_1.0.safetensors"}}
    async with comfyui(**lacking) as first, comfyui() as second, running(first, second) as engine:
        bad, good = await engine.check()
        assert not bad.ok
        assert 'workflow: node 1 (CheckpointLoaderSimple): ckpt_name "sd_xl_base_1.0.safetensors" is not' in bad.reason
        assert "expand_workflow: node 9 (InpaintModelConditioning): the server has no node" in bad.reason
        assert good.ok
        assert good.reason == "the server is healthy (ComfyUI 0.9.2)"
        for _ in range(3):
            await generate(engine, batch_of())
        assert (len(first.jobs()), len(second.jobs())) == (0, 3)
        first.missing_nodes, first.missing_files = set(), set()
        recovering, _ = await engine.check()
        assert "lacks nodes or models" in recovering.reason
        requests = len(second.requests)
        await engine.check()
        assert len(second.requests) == requests + 1, "the nodes of a healthy server were checked again"


@pytest.mark.parametrize("fault", ["garbage", (401, {}), (404, {}), "cut"])
async def test_the_health_check_reports_a_server_that_is_not_usable(fault: Any) -> None:
    async with comfyui(always={"/system_stats": fault}) as server, running(server) as engine:
        (check,) = await engine.check()
        assert not check.ok
        assert check.advice


# --- Whole tasks ------------------------------------------------------------------------------------------------------


async def test_a_worker_generates_tasks_of_all_kinds(make_deployment: MakeDeployment) -> None:
    async with comfyui() as server:
        route = {"engine": "comfyui", "servers": [server.url]} | WORKFLOWS
        deployment = await make_deployment(route)
        tickets = [
            await deployment.submit("a fox", n=2),
            await deployment.submit("like <<<image_1>>>", image_list=[{"image": image_base64()}]),
            await deployment.submit("a fox", result_type="series", series_amount=2),
        ]
        deployment.start_worker()
        for ticket in tickets:
            task = await wait_for_task(deployment, ticket.task_id)
            assert task.status == "succeed", task
            for image in task.images:
                content = await deployment.storage.get(image.key)
                assert content
                assert b"class_type" not in content, "the file contains the workflow"
        for worker, worker_task in deployment.workers:
            worker.stop()
            await worker_task
        deployment.workers.clear()
        await deployment.registry.close()


async def test_the_second_worker_continues_the_job_of_the_first_worker(make_deployment: MakeDeployment) -> None:
    async with comfyui() as server:
        server.gate.clear()
        route = {"engine": "comfyui", "servers": [server.url], "max_pixels": 256 * 256} | WORKFLOWS
        deployment = await make_deployment(route)
        ticket = await deployment.submit("a fox")
        worker = deployment.worker(stop_s=0)
        first = asyncio.create_task(worker.run())
        await server.until(lambda: server.running)
        worker.stop()
        await first
        assert server.running
        deployment.start_worker()
        await server.until(lambda: server.count("GET", "/ws") == 2)
        server.gate.set()
        task = await wait_for_task(deployment, ticket.task_id)
        assert task.status == "succeed", task
        assert len(server.jobs()) == 1
        for other, worker_task in deployment.workers:
            other.stop()
            await worker_task
        deployment.workers.clear()
        await deployment.registry.close()
