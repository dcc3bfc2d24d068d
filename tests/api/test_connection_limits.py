"""Slow clients, endless requests and too many connections, on real sockets."""

import asyncio
import contextlib
import gc
import resource
import select
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from framehouse.adapters.storage import StorageUnavailable
from framehouse.domain.signed_urls import Links
from framehouse.entrypoints.api import connection_limits
from framehouse.entrypoints.api.connection_limits import MAX_HEAD_BYTES, ConnectionLimits, limits_for
from tests.support.api_server import PATH, Api, serving
from tests.support.eventually import eventually
from tests.support.in_process_deployment import MakeDeployment
from tests.support.raw_connections import connected, refusal, until_closed

HEALTH = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
LINKS = Links("secret")  # the same key as in `serving`
SHORT = ConnectionLimits(head_s=2.0, unread_s=1.0, linger_s=0.3, check_s=0.05)


@pytest.fixture
async def impatient_api(make_deployment: MakeDeployment) -> AsyncIterator[Api]:
    async with serving(await make_deployment(), connections=SHORT) as api:
        yield api


async def drip(writer: asyncio.StreamWriter) -> None:
    """Send an endless head slowly, one header every 0.5 s."""
    with contextlib.suppress(ConnectionError):
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n")
        while not writer.is_closing():
            writer.write(b"X-Drip: a\r\n")
            await writer.drain()
            await asyncio.sleep(0.5)


async def test_five_hundred_slow_clients_delay_no_other_client_and_are_cut_off(impatient_api: Api) -> None:
    async with contextlib.AsyncExitStack() as stack:
        silent = []
        for _ in range(20):
            reader, writer = await stack.enter_async_context(connected(impatient_api))
            writer.write(b"GET /healthz HTTP/1.1\r\n")
            silent.append(asyncio.create_task(until_closed(reader)))
        slow = [await stack.enter_async_context(connected(impatient_api)) for _ in range(480)]
        dripping = [asyncio.create_task(drip(writer)) for _, writer in slow]
        for _ in range(5):
            began = time.monotonic()
            assert (await impatient_api.anonymous.get("/healthz")).status_code == 200
            assert time.monotonic() - began < 10
        # a client that is sending at that moment may get a reset instead of a response
        await asyncio.gather(*(until_closed(reader) for reader, _ in slow))
        # a client gets no response if two seconds passed between its connection and its first bytes
        assert {refusal(answer) for answer in await asyncio.gather(*silent) if answer} == {(408, 1200)}
        for task in dripping:
            task.cancel()
        await asyncio.gather(*dripping, return_exceptions=True)


async def test_clients_that_stop_sending_are_disconnected(impatient_api: Api) -> None:
    half_body = b"POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf"

    async def send_and_wait(begin: bytes) -> None:
        async with connected(impatient_api) as (reader, writer):
            writer.write(begin)
            answer = await until_closed(reader)
            assert answer.count(b" 200 OK") == begin.count(b"healthz"), begin

    await asyncio.gather(*map(send_and_wait, (b"", b"GET", HEALTH + b"GET", HEALTH + b"\r\n" * 10, half_body)))


async def test_blank_lines_do_not_count_as_a_request(impatient_api: Api) -> None:
    """uvicorn cancels its own timeout for every byte that arrives after a response."""
    async with connected(impatient_api) as (reader, writer):
        writer.write(HEALTH)

        async def send_blank_lines() -> None:
            while True:
                writer.write(b"\r\n")
                await asyncio.sleep(0.05)

        writing = asyncio.create_task(send_blank_lines())
        assert (await until_closed(reader)).count(b" 200 OK") == 1
        writing.cancel()


async def test_closed_connections_do_not_cause_more_checks(impatient_api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(30):
        async with connected(impatient_api) as (reader, writer):
            writer.write(HEALTH)
            await reader.readline()
        await asyncio.sleep(0.01)
    checks = 0
    check = connection_limits._LimitedConnection.check

    def counted(connection: connection_limits._LimitedConnection, now: float) -> None:
        nonlocal checks
        checks += 1
        check(connection, now)

    monkeypatch.setattr(connection_limits._LimitedConnection, "check", counted)
    async with connected(impatient_api):
        await asyncio.sleep(0.4)
    assert 1 <= checks <= 0.4 / SHORT.check_s + 2


async def test_a_long_poll_is_not_a_slow_client(impatient_api: Api) -> None:
    task = await impatient_api.create()
    began = time.monotonic()
    assert (await impatient_api.alice.get(f"{PATH}/{task['task_id']}?wait=3")).status_code == 200
    assert time.monotonic() - began > 1.25 * SHORT.head_s


async def test_the_long_polls_of_one_account_leave_connections_to_others(make_deployment: MakeDeployment) -> None:
    limits = ConnectionLimits(max_connections=40)
    async with (
        serving(await make_deployment(), connections=limits, max_long_polls=20) as api,
        contextlib.AsyncExitStack() as stack,
    ):
        task = await api.create()
        own = (await api.bob.post(PATH, json={"model_name": "kling-v3-omni", "prompt": "a"})).json()["data"]["task_id"]
        polling = asyncio.create_task(api.bob.get(f"{PATH}/{own}?wait=60"))
        await asyncio.sleep(0.1)
        key = api.alice.headers["authorization"].encode()
        poll = f"GET {PATH}/{task['task_id']}?wait=60 HTTP/1.1\r\nHost: x\r\nAuthorization: ".encode() + key
        readers = []
        for _ in range(35):
            reader, writer = await stack.enter_async_context(connected(api))
            writer.write(poll + b"\r\n\r\n")
            readers.append(reader)
        began = time.monotonic()
        for reader in readers[:16]:  # the oldest requests of the account with the most requests
            assert b" 200 OK" in await asyncio.wait_for(reader.readline(), 20)
        assert time.monotonic() - began < 20
        assert (await api.anonymous.get("/healthz")).status_code == 200
        assert not polling.done(), "the request of the other account waits as long as it wants"
        await api.bob.post(f"{PATH}/{own}/cancel")
        assert (await polling).json()["data"]["task_status"] == "failed"


async def test_an_endless_line_is_cut_off(api: Api) -> None:
    chunked = b"POST /nowhere HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    header = b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Long: "

    async def cut_off(begin: bytes) -> None:
        async with connected(api) as (reader, writer):
            writer.write(begin)
            sent, max_sent = 0, 100 * MAX_HEAD_BYTES
            answering = asyncio.create_task(until_closed(reader))
            with contextlib.suppress(ConnectionError):
                while sent < max_sent and not answering.done():
                    writer.write(b"a" * 10_000)
                    sent += 10_000
                    await writer.drain()
                    await asyncio.sleep(0)
            assert sent < max_sent, begin
            await answering

    for begin in (b"GET /", header[:-2], header, HEALTH + header, chunked + b"1;", chunked + b"0\r\nX-Trailer: "):
        await cut_off(begin)


async def test_a_head_that_is_too_large_is_refused_with_a_response(api: Api) -> None:
    for line in (b"X-Long: " + b"a" * 100_000, b"\r\n".join(b"X-%d: a" % n for n in range(20_000))):
        async with connected(api) as (reader, writer):
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + line + b"\r\n\r\n")
            assert refusal(await until_closed(reader)) == (431, 1200)
    allowed = {"X-Long": "a" * 50_000}
    assert (await api.anonymous.get("/healthz", headers=allowed)).status_code == 200


async def test_trailers_are_ignored(api: Api) -> None:
    key = api.alice.headers["authorization"].encode()
    async with connected(api) as (reader, writer):
        head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        writer.write(head + b"2\r\n{}\r\n0\r\nAuthorization: " + key + b"\r\n\r\n")
        assert b'"code":1001' in await until_closed(reader)


async def test_when_the_limit_is_reached_the_longest_idle_connection_is_closed(make_deployment: MakeDeployment) -> None:
    limits = ConnectionLimits(max_connections=20, head_s=120)
    async with serving(await make_deployment(), connections=limits) as api, contextlib.AsyncExitStack() as stack:
        idle = [await stack.enter_async_context(connected(api)) for _ in range(60)]
        for _ in range(5):
            async with connected(api) as (reader, writer):
                writer.write(HEALTH)
                assert b" 200 " in await reader.readline()
        assert await until_closed(idle[0][0]) == b""
        last_reader, last_writer = idle[-1]
        last_writer.write(HEALTH)
        assert b" 200 " in await last_reader.readline(), "the newest connection is still open"


async def test_when_all_connections_are_busy_the_next_is_refused(make_deployment: MakeDeployment) -> None:
    async with serving(await make_deployment(), connections=ConnectionLimits(max_connections=5)) as api:
        task = await api.create()
        key = api.alice.headers["authorization"].encode()
        poll = f"GET {PATH}/{task['task_id']}?wait=30 HTTP/1.1\r\nHost: x\r\nAuthorization: ".encode() + key
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(5):
                _, writer = await stack.enter_async_context(connected(api))
                writer.write(poll + b"\r\n\r\n")

            async def refused() -> bool:
                async with connected(api) as (reader, writer):
                    writer.write(HEALTH)
                    answer = await until_closed(reader) if b" 503 " in await reader.readline() else b""
                    return b"5001" in answer

            await eventually(refused)


async def store_large_image(api: Api, size: int) -> str:
    """Store `size` zero bytes as an image, and return the path of its signed URL."""
    key = "images/00000000-0000-0000-0000-000000000000/0-00.png"
    await api.deployment.storage.put(key, bytes(size))
    return LINKS.image_url(key, None)


def peak_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


async def test_clients_that_do_not_read_their_image_cost_little_memory_and_are_disconnected(impatient_api: Api) -> None:
    path = await store_large_image(impatient_api, 40_000_000)
    gc.collect()
    before = peak_bytes()
    async with contextlib.AsyncExitStack() as stack:
        stalled = []
        for _ in range(20):
            reader, writer = await stack.enter_async_context(connected(impatient_api))
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            stalled.append((reader, writer))
        await asyncio.sleep(0.5)
        assert (await impatient_api.anonymous.get("/healthz")).status_code == 200
        assert peak_bytes() - before < 200_000_000, "20 images of 40 MB must not be in memory"

        async def all_dropped() -> bool:
            """Return whether the server has reset all connections. Without a mask, `poll` reports only errors."""
            for _, writer in stalled:
                poll = select.poll()
                poll.register(writer.get_extra_info("socket").fileno(), 0)
                if not poll.poll(0):
                    return False
            return True

        await eventually(all_dropped)
        for reader, writer in stalled:
            writer.transport.resume_reading()  # type: ignore[attr-defined]
            assert len(await until_closed(reader)) < 40_000_000


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts the open files in /proc")
async def test_clients_that_do_not_read_a_static_file_hold_no_open_files(api: Api) -> None:
    def open_files() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    file = "/docs/swagger-ui-bundle.js"
    content = (await api.anonymous.get(file)).content
    assert len(content) > 1_000_000
    gc.collect()
    before, memory = open_files(), peak_bytes()
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(100):
            _, writer = await stack.enter_async_context(connected(api))
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            writer.write(f"GET {file} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        await asyncio.sleep(0.5)
        assert open_files() <= before + 2 * 100 + 5, "only the two ends of each connection are open"
        assert peak_bytes() - memory < 60_000_000, "the file is not copied for each client"
        assert (await api.anonymous.get(file)).content == content


async def test_a_large_image_and_its_ranges_are_streamed(api: Api) -> None:
    key = "images/00000000-0000-0000-0000-000000000000/0-00.png"
    content = bytes(range(256)) * 20_000
    await api.deployment.storage.put(key, content)
    path = LINKS.image_url(key, None)
    whole = await api.anonymous.get(path)
    assert (whole.content == content, whole.headers["content-length"]) == (True, str(len(content)))
    part = await api.anonymous.get(path, headers={"Range": "bytes=1000001-4000000"})
    assert (part.status_code, part.content == content[1_000_001:4_000_001]) == (206, True)
    assert (await api.anonymous.get(path, headers={"Range": "bytes=5-7"})).content == content[5:8]


async def test_a_storage_error_in_mid_image_closes_the_connection_and_is_counted(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, read = await store_large_image(api, 3_000_000), api.deployment.storage.get_range

    async def fail_after_start(key: str, start: int, end: int) -> bytes:
        if start:
            raise StorageUnavailable("the disk failed")
        return await read(key, start, end)

    monkeypatch.setattr(api.deployment.storage, "get_range", fail_after_start)
    with pytest.raises(httpx.RemoteProtocolError):
        await api.anonymous.get(path)
    counted = 'framehouse_requests_total{code="5001",operation="get_image",process="api"}'
    assert counted in (await api.anonymous.get("/metrics")).text


async def test_a_wrong_key_is_refused_before_the_body(impatient_api: Api) -> None:
    async def assert_refused(framing: str, piece: bytes) -> None:
        head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer fh_wrong\r\n{framing}\r\n\r\n"
        async with connected(impatient_api) as (reader, writer):
            writer.write(head.encode())
            assert b" 401 " in await asyncio.wait_for(reader.readline(), 60), (
                "refused before the client sends any of the body"
            )
            async with asyncio.timeout(20):  # the rest of the body is discarded only for a short time
                with contextlib.suppress(ConnectionError):
                    while True:
                        writer.write(piece)
                        await writer.drain()
                        await asyncio.sleep(0.01)

    piece = b"a" * 65536
    await asyncio.gather(
        assert_refused("Content-Length: 10000000000", piece),
        assert_refused("Transfer-Encoding: chunked", b"%x\r\n%b\r\n" % (len(piece), piece)),
    )


async def test_a_length_of_10_gb_is_refused_before_the_body(api: Api) -> None:
    key = api.alice.headers["authorization"]
    for path in (PATH, "/v1/general/advanced-custom-elements", "/v1/general/delete-elements", "/console/sign-in"):
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {key}\r\nContent-Length: 10000000000\r\n\r\n"
        async with connected(api) as (reader, writer):
            writer.write(head.encode())
            assert b" 413 " in await asyncio.wait_for(reader.readline(), 60), path


def test_the_connection_limit_reserves_files_for_other_uses() -> None:
    assert [limits_for(n).max_connections for n in (10**6, 1024, 256, 64, 10)] == [10_000, 768, 192, 16, 16]
    assert all(limits_for(n).max_connections <= n - 48 for n in range(64, 20_000))


# --- the header Upgrade ----------------------------------------------------------------------------------------------

JAVA_HEAD = (
    "POST {path} HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\n{length}\r\nHost: 127.0.0.1\r\n"
    "HTTP2-Settings: AAEAAEAAAAIAAAAAAAMAAAAAAAQBAAAAAAUAAEAABgAGAAA\r\nUpgrade: h2c\r\n"
    "User-Agent: Java-http-client/21.0.2\r\nAuthorization: {key}\r\nContent-Type: application/json\r\n\r\n"
)
"""The head of a request as Java's HttpClient sends it by default."""


@pytest.mark.parametrize("pieces", [1, 2, 7, 1000])
@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_is_read_although_the_client_offers_http_2(api: Api, pieces: int, chunked: bool) -> None:
    body = b'{"model_name": "kling-v3-omni", "prompt": "a fox"}'
    length = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(body)}"
    head = JAVA_HEAD.format(path=PATH, length=length, key=api.alice.headers["authorization"]).encode()
    request = head + (b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if chunked else body)
    get = f"GET {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: {api.alice.headers['authorization']}\r\n\r\n".encode()
    async with connected(api) as (reader, writer):
        size = -(-len(request) // pieces)
        for start in range(0, len(request), size):
            writer.write(request[start : start + size])
            await writer.drain()
            await asyncio.sleep(0.05 if pieces < 10 else 0)
        writer.write(get)
        assert b" 200 OK" in await reader.readuntil(b"\r\n\r\n")
        created = await reader.readuntil(b"}}")
        assert b'"code":0' in created, created
        assert b" 200 OK" in await reader.readuntil(b"\r\n\r\n"), "the connection can be used again"
        assert b'"task_id"' in await reader.readuntil(b"]}")


async def test_the_body_of_a_request_that_offers_http_2_is_not_another_request(api: Api) -> None:
    hidden = HEALTH.replace(b"/healthz", b"/nowhere")
    head = JAVA_HEAD.format(path=PATH, length=f"Content-Length: {len(hidden)}", key="Bearer none").encode()
    async with connected(api) as (reader, writer):
        writer.write(head)
        await asyncio.sleep(0.1)
        writer.write(hidden + HEALTH.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        answers = await until_closed(reader) if (await reader.readline()) else b""
        assert b"1202" not in answers, "the body was parsed as a request"


async def test_requests_without_a_body_may_offer_http_2_one_after_the_other(api: Api) -> None:
    get = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: %b\r\n\r\n"
    async with connected(api) as (reader, writer):
        writer.write(b"".join(get % offer for offer in (b"h2c", b"websocket", b"x") * 100) + HEALTH)
        for _ in range(301):
            assert b" 200 OK" in await reader.readuntil(b"\r\n\r\n")
            await reader.readuntil(b"}")
