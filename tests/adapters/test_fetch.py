"""`fetch`: redirects, limits, errors, and that it connects to no private address."""

import asyncio
import gzip
import random
import ssl
import subprocess
import time
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import brotli
import pytest
import zstandard

from framehouse.adapters.content_encoding import BadCompression, TooManyBytes, decompress
from framehouse.adapters.fetch import FetchFailed, fetch, is_public
from framehouse.adapters.tls import certificate_problem, tls_context, trust_certificates
from tests.support.http_answers import http, server
from tests.support.sockets import listening


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
        "/damaged": http("200 OK", b"x", "Content-Encoding: gzip"),
        "/partial": http("206 Partial Content", b"image", "Content-Range: bytes 0-4/100"),
        "/partial-end": http("206 Partial Content", b"image", "Content-Range: bytes 5-9/10"),
        "/whole": http("206 Partial Content", b"image", "Content-Range: bytes 0-4/5"),
        "/transformed": http("203 Non-Authoritative Information", b"image"),
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
        ("/damaged", 'cannot be decompressed (Content-Encoding: "gzip")', False),
        ("/partial", "only a part of the file", False),
        ("/partial-end", "only a part of the file", False),
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


@pytest.mark.parametrize("path", ["/whole", "/transformed"])
async def test_other_responses_with_the_whole_file_are_accepted(path: str) -> None:
    async with server(answers) as url:
        assert await fetch(url + path, max_bytes=1000, allow_private=True) == b"image"


COMPRESSED: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "X-GZIP": lambda content: gzip.compress(content[:3]) + gzip.compress(content[3:]),
    "deflate": zlib.compress,
    "Deflate": lambda content: zlib.compress(content, wbits=-15),
    "br": brotli.compress,
    "zstd": zstandard.compress,
    "identity, zstd": lambda content: zstandard.compress(content[:2]) + zstandard.compress(content[2:]),
    "gzip, br": lambda content: brotli.compress(gzip.compress(content)),
}
PLAIN = ("", "identity", "none", "aws-chunked", "UTF-8", "base64", "image/png")


@pytest.mark.parametrize("encoding", [*COMPRESSED, *PLAIN])
async def test_the_content_encoding_is_removed(encoding: str) -> None:
    body = COMPRESSED.get(encoding, bytes)(b"image" * 100)
    async with server(lambda _: http("200 OK", body, f"Content-Encoding: {encoding}")) as url:
        assert await fetch(url, max_bytes=1000, allow_private=True) == b"image" * 100


@pytest.mark.parametrize("encoding", COMPRESSED)
def test_a_compressed_body_that_becomes_too_large_is_refused(encoding: str) -> None:
    body = COMPRESSED[encoding](bytes(50_000_000))
    tracemalloc.start()
    with pytest.raises(TooManyBytes):
        decompress(body, encoding, max_bytes=1_000_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 60_000_000


@pytest.mark.parametrize("encoding", COMPRESSED)
@pytest.mark.parametrize("damage", [lambda body: body[:-1], lambda body: body[:10], lambda _: b"\xff not compressed"])
def test_a_damaged_compressed_body_is_refused(encoding: str, damage: Callable[[bytes], bytes]) -> None:
    body = damage(COMPRESSED[encoding](random.Random(1).randbytes(5000)))
    with pytest.raises(BadCompression):
        decompress(body, encoding, max_bytes=1_000_000)


async def test_the_request_names_framehouse_and_accepts_images() -> None:
    heads: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(http("200 OK", b"image"))
        writer.close()

    async with listening(answer) as url:
        await fetch(url, max_bytes=1000, allow_private=True)
    assert b"User-Agent: Framehouse/" in heads[0]
    assert b"(+https://" in heads[0]
    assert b"*/*;q=0.1" in heads[0]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Path]]:
    """A certificate for 127.0.0.1 and one for another host, each with its key."""
    folder = tmp_path_factory.mktemp("certificates")
    made = {}
    for name, host in (("good", "IP:127.0.0.1"), ("other", "DNS:other.example")):
        certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
        request = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test"]
        files = ["-addext", f"subjectAltName={host}", "-keyout", str(key), "-out", str(certificate)]
        subprocess.run(["openssl", *request, *files], check=True, capture_output=True)
        made[name] = certificate, key
    return made


def test_an_expired_certificate_is_explained() -> None:
    cause = ssl.SSLCertVerificationError(1, "certificate verify failed")
    cause.verify_code, cause.verify_message = 10, "certificate has expired"
    error = OSError()
    error.__context__ = cause
    assert certificate_problem(error, "a.example") == "has a TLS certificate that has expired"
    cause.verify_code, cause.verify_message = 23, "certificate revoked"
    assert certificate_problem(error, "a.example") == "has a TLS certificate that is not valid: certificate revoked"
    assert certificate_problem(OSError(), "a.example") is None


@pytest.mark.parametrize(
    ("name", "trusted", "reason"),
    [
        ("good", False, "was not issued by a trusted certificate authority"),
        ("other", True, "has a TLS certificate that is not valid for 127.0.0.1"),
        ("good", True, ""),
    ],
)
async def test_problems_with_a_certificate_are_explained(
    certificates: dict[str, tuple[Path, Path]], name: str, trusted: bool, reason: str
) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificates[name])

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(http("200 OK", b"image"))
        await writer.drain()
        writer.close()

    tls_context.cache_clear()
    serving = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    try:
        if trusted:
            trust_certificates(certificates[name][0])
        url = f"https://127.0.0.1:{serving.sockets[0].getsockname()[1]}/"
        if not reason:
            assert await fetch(url, max_bytes=1000, allow_private=True) == b"image"
            return
        with pytest.raises(FetchFailed) as error:
            await fetch(url, max_bytes=1000, allow_private=True)
        assert reason in error.value.message
    finally:
        serving.close()
        tls_context.cache_clear()


def test_a_file_without_certificates_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_text("nothing")
    with pytest.raises(ValueError, match="no certificate"):
        trust_certificates(tmp_path / "empty.pem")
    with pytest.raises(OSError, match="No such file"):
        trust_certificates(tmp_path / "missing.pem")
