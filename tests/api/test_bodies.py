"""Large request bodies over real HTTP: they follow the same rules as small ones and leave no temporary files."""

import asyncio
import base64
import contextlib
import gzip
import itertools
import json
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from starlette.requests import Request

from framehouse.domain.errors import Refused
from framehouse.entrypoints.api.request_body import BodyReader
from tests.support.api_answers import BODY, error
from tests.support.api_server import PATH, Api, serving
from tests.support.eventually import eventually
from tests.support.image_files import image_file
from tests.support.in_process_deployment import MakeDeployment


def large_png(seed: int = 1, side: int = 700) -> bytes:
    """A PNG file without compression: three bytes per pixel."""
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    with tempfile.SpooledTemporaryFile() as file:
        Image.fromarray(pixels).save(file, "PNG", compress_level=0)
        file.seek(0)
        return file.read()


def image_input(content: bytes) -> dict[str, str]:
    return {"image": base64.b64encode(content).decode()}


async def stored_references(api: Api, task: dict[str, Any]) -> list[bytes | None]:
    """The stored files of a task's references, in their order."""
    rows = await api.deployment.db.rows(
        "select key from task_references where task_id::text = $1 order by index", task["task_id"]
    )
    return [await api.deployment.storage.get(row["key"]) for row in rows]


async def test_large_and_small_images_are_stored_in_every_base64_form(api: Api) -> None:
    files = [large_png(seed) for seed in range(3)]
    images = [
        image_input(files[0]),
        {"image": "data:image/png;base64," + base64.encodebytes(files[1]).decode()},
        image_input(image_file()),
        {"image": base64.b64encode(files[2]).decode().rstrip("=")},
        image_input(files[0]),
    ]
    task = await api.create("<<<image_5>>>", image_list=images)
    assert await stored_references(api, task) == [files[0], files[1], image_file(), files[2], files[0]]
    assert await api.deployment.db.value("select count(*) from stored_references") == 4, (
        "the same content is stored once"
    )
    slashed = json.dumps(BODY | {"image_list": [image_input(files[1])]}).replace("/", "\\/")
    answer = await api.alice.post(PATH, content=slashed, headers={"Content-Type": "application/json"})
    assert await stored_references(api, answer.json()["data"]) == [files[1]]


async def test_long_strings_in_fields_that_are_not_images(api: Api) -> None:
    long = "ä" * 80_000
    unknown: dict[str, Any] = {
        "mode": "x" * 5_000_000,
        "k" * 100_000: 1,
        "nested": [{"image": image_input(large_png())}],
    }
    assert (await api.alice.post(PATH, json=BODY | unknown)).status_code == 200
    message = error(
        await api.alice.post(
            PATH,
            json=unknown
            | {
                "model_name": "kling-v3-omni",
                "prompt": long,
                "resolution": long,
                "n": "9" * 70_000,
                "callback_url": long,
            }
            | {"external_task_id": long, "watermark_info": long, "element_list": [{"element_id": long}]}
            | {"image_list": [{"image": "http://example.com/" + long}, {"image": [long]}, {"image": long}]},
        ),
        400,
        1201,
    )
    assert len(message) < 2500
    for part in (
        "prompt has 80000 characters; at most 2500 are allowed",
        'resolution must be one of 1k, 2k, 4k, not "ää',
        "n must be an integer from 1 to 9, not",
        "callback_url has 80000 characters; at most 8192 are allowed",
        "external_task_id has 80000 characters; at most 255",
        "watermark_info must be",
        "element_list[0].element_id must be a positive integer",
        "image_list[0].image is a URL of 80019 characters",
        "image_list[1].image must be a URL or base64 string",
        "image_list[2].image is neither an http(s) URL nor valid base64",
    ):
        assert part in message
    assert "model_name has 80000 characters" in error(
        await api.alice.post(PATH, json=BODY | {"model_name": long}), 400, 1201
    )


async def test_all_problems_of_large_images_are_in_one_message(api: Api) -> None:
    text = base64.b64encode(b"not an image" * 20_000).decode()
    images = [
        image_input(large_png()),
        {"image": base64.b64encode(bytes(10_000_001)).decode()},
        {"image": text},
        {"image": "data:image/png," + text},
        {"image": text[:-2] + "!!"},
        image_input(large_png(side=299)),
    ]
    message = error(await api.alice.post(PATH, json=BODY | {"image_list": images, "n": 99}), 400, 1201)
    for part in (
        "n must be from 1 to 9",
        "image_list[1].image has 10,000,001 bytes; at most 10,000,000 are allowed",
        "image_list[2].image is a text; accepted types: jpg, png, webp, avif, heic",
        "image_list[3].image is a text; accepted types: jpg, png, webp, avif, heic",
        "image_list[4].image is neither",
        "image_list[5].image is 299x299 px",
    ):
        assert part in message
    assert "image_list[0]" not in message
    assert await api.deployment.db.value("select count(*) from stored_references") == 0


@pytest.mark.parametrize(
    "content",
    [
        b'{"a": "' + b"A" * 100_000,
        b'{"a": "' + b"A" * 100_000 + b'"',
        b'{"a": "' + b"A" * 100_000 + b'\n"}',
        b'{"a": "' + b"A" * 100_000 + b'\\x"}',
        b'{"a": "' + b"A" * 100_000 + b'\\ud800"}',
        b'{"a": "' + b"A" * 100_000 + b'\xff"}',
        b"[" * 100_000,
    ],
)
async def test_large_bodies_that_are_not_json_are_refused(api: Api, content: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    assert "not JSON" in error(await api.alice.post(PATH, content=content, headers=headers), 400, 1200)


async def test_a_large_body_is_refused_as_soon_as_it_is_too_large(make_deployment: MakeDeployment) -> None:
    async def endless() -> AsyncIterator[bytes]:
        yield b'{"a": "'
        for _ in range(100):
            yield b"A" * 100_000

    async with serving(await make_deployment(), max_body_bytes=1_000_000) as api:
        headers = {"Content-Type": "application/json"}
        error(await api.alice.post(PATH, content=endless(), headers=headers), 413, 1200)
        declared = {"Content-Type": "application/json", "Content-Length": "1000001"}
        async with asyncio.timeout(60):
            reader, writer = await asyncio.open_connection("127.0.0.1", httpx.URL(api.url).port)
            key = api.alice.headers["authorization"]
            head = "".join(f"{name}: {value}\r\n" for name, value in (declared | {"Authorization": key}).items())
            writer.write(f"POST {PATH} HTTP/1.1\r\nHost: x\r\n{head}\r\n".encode())
            assert b" 413 " in await reader.readline(), "refused before the client sends any of the body"
            writer.close()
            await writer.wait_closed()
    async with serving(await make_deployment()) as api:
        no_images = b'{"a": [' + b"1," * 600_000 + b"1]}"
        assert "without its images" in error(await api.alice.post(PATH, content=no_images, headers=headers), 413, 1200)


async def test_a_repeated_large_body_is_recognized_by_its_bytes(api: Api) -> None:
    body = BODY | {"image_list": [image_input(large_png())]}
    headers = {"Idempotency-Key": "k1"}
    first = (await api.alice.post(PATH, json=body, headers=headers)).json()["data"]
    again = await api.alice.post(PATH, json=body, headers=headers)
    assert (again.json()["data"], again.headers["idempotency-replayed"]) == (first, "true")
    other = BODY | {"image_list": [image_input(large_png(2))]}
    assert "another body" in error(await api.alice.post(PATH, json=other, headers=headers), 400, 1201)


def spool_files() -> int:
    """The number of open files of this process that have no name."""
    files = list(Path("/proc/self/fd").iterdir()) if Path("/proc/self/fd").exists() else []
    return sum("(deleted)" in str(file.readlink()) for file in files if file.is_symlink())


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
async def test_a_disconnected_client_leaves_no_temporary_file(api: Api) -> None:
    before = spool_files()
    sent = asyncio.Event()

    async def half_body() -> AsyncIterator[bytes]:
        yield b'{"image_list": [{"image": "'
        for _ in range(30):
            yield b"A" * 100_000
        sent.set()
        await asyncio.sleep(60)

    async def has_file() -> bool:
        return spool_files() > before

    async def has_none() -> bool:
        return spool_files() == before

    posting = asyncio.create_task(
        api.alice.post(PATH, content=half_body(), headers={"Content-Type": "application/json"})
    )
    await sent.wait()
    await eventually(has_file)
    posting.cancel()
    await asyncio.gather(posting, return_exceptions=True)
    await eventually(has_none)
    await api.create(image_list=[image_input(large_png())])
    await eventually(has_none)


async def test_a_full_disk_is_a_server_error(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    body = BODY | {"image_list": [image_input(large_png())]}
    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "tempdir", "/nowhere/to/be/found")
        error(await api.alice.post(PATH, json=body), 503, 5001)
    assert (await api.alice.post(PATH, json=body)).status_code == 200


async def test_a_body_that_stops_arriving_frees_its_slot() -> None:
    def request(*pieces: bytes) -> Request:
        remaining = list(pieces)

        async def receive() -> dict[str, Any]:
            if not remaining:
                await asyncio.sleep(60)
            return {"type": "http.request", "body": remaining.pop(0), "more_body": remaining != []}

        async def receive_part() -> dict[str, Any]:
            return {**await receive(), "more_body": True}

        return Request({"type": "http", "headers": []}, receive if pieces[-1].endswith(b"}") else receive_part)

    begin = b'{"a": "' + b"A" * 100_000
    bodies = BodyReader(max_bytes=10**6, max_large=1, stall_timeout_s=0.05)
    for piece in (begin, b"{"):
        with pytest.raises(Refused, match="no bytes of the body arrived"):
            async with bodies.read(request(piece)):
                raise AssertionError("the body is incomplete")
    async with bodies.read(request(begin, b'"}')) as body:
        assert body.value["a"].characters == 100_000


async def test_time_in_the_queue_does_not_count_as_slow_sending(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("framehouse.entrypoints.api.request_body._MIN_BYTES_PER_S", 10**7)
    bodies = BodyReader(max_bytes=10**6, max_large=1, stall_timeout_s=0.1)
    async with asyncio.TaskGroup() as group:
        async with bodies.read(complete_request()):
            waiting = group.create_task(read_as(bodies, 2))
            await asyncio.sleep(0.3)
        assert await waiting == 100_000


async def test_one_account_gets_at_most_half_of_the_slots_for_large_bodies() -> None:
    bodies = BodyReader(max_bytes=10**6, max_large=4)
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(2):
            await stack.enter_async_context(bodies.read(complete_request(), account_id=1))
        third = asyncio.create_task(read_as(bodies, 1))
        await asyncio.sleep(0.05)
        assert await asyncio.wait_for(read_as(bodies, 2), 60) == 100_000
        assert not third.done()
    assert await third == 100_000


def complete_request(characters: int = 100_000) -> Request:
    """A request with a large body that arrives without delay in pieces of 100,000 bytes."""
    body = b'{"a": "' + b"A" * characters + b'"}'
    pieces = [body[at : at + 100_000] for at in range(0, len(body), 100_000)]

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": pieces.pop(0), "more_body": pieces != []}

    return Request({"type": "http", "headers": []}, receive)


async def read_as(bodies: BodyReader, account_id: int, characters: int = 100_000) -> int:
    """Read a large body for an account. Returns the number of characters of its long string."""
    async with bodies.read(complete_request(characters), account_id=account_id) as body:
        return int(body.value["a"].characters)


async def test_several_large_bodies_leave_most_of_the_time_to_other_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """While four bodies are read, each decodes for 1 ms and pauses for 12. A single body does not pause."""
    pauses: list[float] = []
    sleep = asyncio.sleep

    async def record(delay: float) -> None:
        pauses.append(delay)
        await sleep(0)

    ticks = itertools.count()  # decoding a piece takes one millisecond
    clock = SimpleNamespace(monotonic=time.monotonic, perf_counter=lambda: next(ticks) / 1000)
    monkeypatch.setattr("framehouse.entrypoints.api.request_body.time", clock)
    bodies = BodyReader(max_bytes=10**6, max_large=8)
    monkeypatch.setattr(asyncio, "sleep", record)
    for waiting, expected in ((0, 0), (3, 0.012)):
        async with contextlib.AsyncExitStack() as stack:
            for account in range(waiting):
                await stack.enter_async_context(bodies.read(complete_request(), account_id=account))
            pauses.clear()
            await read_as(bodies, 9, characters=600_000)
            assert pauses == [pytest.approx(expected)] * 2


async def test_a_body_that_arrives_too_slowly_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pause between two bytes is too long, but the whole body would take a day."""
    seconds = itertools.count()  # one second passes between two bytes
    clock = SimpleNamespace(monotonic=lambda: float(next(seconds)))
    monkeypatch.setattr("framehouse.entrypoints.api.request_body.time", clock)

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b" ", "more_body": True}

    with pytest.raises(Refused, match="too slowly"):
        async with BodyReader(max_bytes=10**6, stall_timeout_s=5).read(
            Request({"type": "http", "headers": []}, receive)
        ):
            raise AssertionError("the body is incomplete")
    assert next(seconds) < 10, "the body was not refused soon after the first five seconds"


async def test_the_number_of_large_bodies_that_are_read_at_the_same_time_is_limited(api: Api) -> None:
    bodies = [BODY | {"image_list": [image_input(large_png(n))]} for n in range(12)]
    before, max_files = spool_files(), 0

    async def watch() -> None:
        nonlocal max_files
        while True:
            max_files = max(max_files, spool_files())
            await asyncio.sleep(0.001)

    watching = asyncio.create_task(watch())
    answers = await asyncio.gather(*(api.alice.post(PATH, json=body) for body in bodies))
    watching.cancel()
    assert {answer.status_code for answer in answers} == {200}
    assert 1 < max_files - before <= 4, "half of the slots, because all bodies belong to one account"


@pytest.mark.parametrize("large", [False, True])
async def test_a_byte_order_mark_before_the_body_is_ignored(api: Api, large: bool) -> None:
    body = BODY | ({"image_list": [image_input(large_png())]} if large else {})
    content = b"\xef\xbb\xbf" + json.dumps(body).encode()
    answer = await api.alice.post(PATH, content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("members", [1, 3])
async def test_a_body_that_is_compressed_with_gzip_is_read(api: Api, large: bool, members: int) -> None:
    body = BODY | ({"image_list": [image_input(large_png())]} if large else {})
    text = json.dumps(body).encode()
    step = len(text) // members + 1
    content = b"".join(gzip.compress(text[start : start + step]) for start in range(0, len(text), step))
    headers = {"Content-Type": "application/json", "Content-Encoding": "GZip", "Idempotency-Key": f"k{members}{large}"}
    answer = await api.alice.post(PATH, content=content, headers=headers)
    assert answer.status_code == 200, answer.text
    headers.pop("Content-Encoding")
    repeated = await api.alice.post(PATH, content=text, headers=headers)
    assert repeated.json()["data"]["task_id"] == answer.json()["data"]["task_id"], "the same body, not compressed"


@pytest.mark.parametrize(
    ("encoding", "content", "status", "message"),
    [
        ("br", b"x", 415, 'the Content-Encoding must be gzip or identity, not "br"'),
        ("gzip", b"{}", 400, "the body is not valid gzip data"),
        ("gzip", gzip.compress(b"{}")[:-3], 400, "the body ended too early: its gzip data is not complete"),
        ("gzip", b"", 400, "the body ended too early: its gzip data is not complete"),
        (
            "gzip",
            gzip.compress(b'{"prompt": "' + b"A" * 200_000_000),
            413,
            "the body is too large; at most 150,000,000 bytes",
        ),
        ("gzip", gzip.compress(b" " * 20_000_000), 413, "the body without its images is too large"),
    ],
    ids=["br", "no gzip", "truncated", "empty", "bomb", "spaces"],
)
async def test_a_wrongly_compressed_body_is_refused(
    api: Api, encoding: str, content: bytes, status: int, message: str
) -> None:
    headers = {"Content-Type": "application/json", "Content-Encoding": encoding}
    answer = await api.alice.post(PATH, content=content, headers=headers)
    assert message in error(answer, status, 1200)


@pytest.mark.parametrize("encoding", ["identity", "", "none"])
async def test_a_body_without_compression_may_say_so(api: Api, encoding: str) -> None:
    answer = await api.alice.post(PATH, json=BODY, headers={"Content-Encoding": encoding})
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"prompt": "a \ud83d"}, "prompt"),
        ({"prompt": "\udd8a fox"}, "prompt"),
        ({"image_list": [{"image": "\ud83d"}]}, "image_list[0].image"),
        ({"a": [{"b": ["\ud83d"]}]}, "a[0].b[0]"),
    ],
)
@pytest.mark.parametrize("large", [False, True])
async def test_half_of_a_character_is_refused_with_the_name_of_its_field(
    api: Api, fields: dict[str, Any], name: str, large: bool
) -> None:
    body = BODY | fields | ({"image_tail": "A" * 100_000} if large else {})
    answer = await api.alice.post(PATH, content=json.dumps(body).encode(), headers={"Content-Type": "application/json"})
    expected = f"{name} contains half of an emoji or of another character; send complete characters"
    assert error(answer, 400, 1201) == expected
