"""`fetch`: redirects, limits, errors, and that it connects to no private address."""

import asyncio
import time

import pytest

from framehouse.adapters.fetch import FetchFailed, fetch, is_public
from tests.support.http_answers import http, server


def answers(path: str) -> bytes:
    if path.startswith("/hop"):
        remaining = int(path[4:])
        return (
            http("200 OK", b"last hop") if remaining == 0 else http("302 Found", b"", f"Location: /hop{remaining - 1}")
        )
    table = {
        "/ok": http("200 OK", b"image"),
        "/big": http("200 OK", b"x" * 2000),
        "/big-without-length": b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + b"x" * 5000,
        "/gone": http("404 Not Found"),
        "/busy": http("503 Busy"),
        "/file": http("302 Found", b"", "Location: file:///etc/passwd"),
        "/metadata": http("302 Found", b"", "Location: http://169.254.169.254/latest"),
        "/nowhere": http("302 Found", b"", "Location: http://[::1"),
        "/packed": http("200 OK", b"x", "Content-Encoding: gzip"),
        "/big-by-its-length": b"HTTP/1.1 200 OK\r\nContent-Length: 5000000000\r\nConnection: close\r\n\r\n",
        "/cookie": http("302 Found", b"", "Set-Cookie: a=b", "Location: /ok"),
        "/early": b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 20 + http("200 OK", b"image"),
        "/endless": b"HTTP/1.1 100 Continue\r\n\r\n" * 400_000,
        "/long-head": b"HTTP/1.1 200 OK\r\n" + b"X-Long: " + b"a" * 1_000_000 + b"\r\n\r\n",
        "/short": b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort",
    }
    return table[path]


async def fetch_error(path: str, *, allow_private: bool = True) -> FetchFailed:
    async with server(answers) as url:
        with pytest.raises(FetchFailed) as error:
            await fetch(url + path, max_bytes=1000, allow_private=allow_private)
    return error.value


async def test_an_image_is_fetched_after_at_most_three_redirects() -> None:
    async with server(answers) as url:
        assert await fetch(url + "/ok", max_bytes=1000, allow_private=True) == b"image"
        assert await fetch(url + "/hop3", max_bytes=1000, allow_private=True) == b"last hop"
    assert "redirects more than 3" in (await fetch_error("/hop4")).message


@pytest.mark.parametrize(
    ("path", "reason", "retry"),
    [
        ("/big", "more than 1,000 bytes", False),
        ("/big-without-length", "more than 1,000 bytes", False),
        ("/gone", "HTTP 404", False),
        ("/busy", "HTTP 503", True),
        ("/file", "not http", False),
        ("/nowhere", "could not be reached", True),
        ("/packed", "Content-Encoding", False),
        ("/big-by-its-length", "more than 1,000 bytes", False),
        ("/short", "could not be reached", True),
        ("/endless", "too many bytes before the end of its response headers", True),
        ("/long-head", "too many bytes before the end of its response headers", True),
    ],
)
async def test_the_error_has_the_reason_and_says_whether_to_retry(path: str, reason: str, retry: bool) -> None:
    error = await fetch_error(path)
    assert reason in error.message
    assert error.retry is retry


async def test_interim_responses_are_skipped() -> None:
    async with server(answers) as url:
        assert await fetch(url + "/early", max_bytes=1000, allow_private=True) == b"image"


async def test_endless_interim_responses_do_not_occupy_the_event_loop() -> None:
    longest_s, last = 0.0, time.thread_time()  # the CPU time of this thread, without the pauses of a busy machine

    async def measure() -> None:
        nonlocal longest_s, last
        while True:
            await asyncio.sleep(0.01)
            longest_s, last = max(longest_s, time.thread_time() - last), time.thread_time()

    measuring = asyncio.create_task(measure())
    began = time.thread_time()
    await fetch_error("/endless")
    assert time.thread_time() - began < 10
    measuring.cancel()
    assert longest_s < 2, "the server of this test runs in the same event loop"


async def test_private_addresses_are_refused_also_after_a_redirect(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "private" in (await fetch_error("/ok", allow_private=False)).message
    monkeypatch.setattr("framehouse.adapters.fetch.is_public", lambda address: address == "127.0.0.1")
    assert "private" in (await fetch_error("/metadata", allow_private=False)).message


@pytest.mark.parametrize(
    "url", ["http://user:pw@127.0.0.1/", "http://nowhere.invalid/", "http://127.0.0.1:1/", "http://exa mple/"]
)
async def test_a_url_that_cannot_be_fetched_fails(url: str) -> None:
    with pytest.raises(FetchFailed):
        await fetch(url, max_bytes=1000, allow_private=True)


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0", "100.64.0.1", "224.0.0.1",
     "255.255.255.255", "::1", "::", "fe80::1%eth0", "fc00::1", "ff02::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1",
     "2002:7f00:1::", "fec0::1", "64:ff9b:1::7f00:1", "::ffff:0:127.0.0.1", "::127.0.0.1", "3fff::1", "5f00::1",
     "192.0.0.8", "168.63.129.16", "2001:0:4136:e378:8000:63bf:80ff:fffe"],
)  # fmt: skip
def test_special_addresses_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "::ffff:8.8.8.8"])
def test_public_addresses_are_public(address: str) -> None:
    assert is_public(address)


async def test_no_cookie_is_sent_after_a_redirect() -> None:
    requests = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        requests.append(request.lower())
        writer.write(answers(request.split()[1].decode()))
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        assert await fetch(f"http://127.0.0.1:{port}/cookie", max_bytes=1000, allow_private=True) == b"image"
    assert len(requests) == 2
    assert not any(b"cookie:" in request or b"authorization:" in request for request in requests)
