"""Downloads of images: both clients against hosts that misbehave."""

import asyncio
import base64
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from framehouse_client import AsyncClient, AsyncTask, ConnectionFailed, NotFound, ServerError
from framehouse_client.downloading import extension, file_stem, write_file
from tests.support.image_files import image_file
from tests.support.kling_upstream import upstream
from tests.support.python_clients import ClientKind, open_client
from tests.support.sockets import listening, read_head

PNG = image_file(300, 300)
Answer = Callable[[str, int], bytes]


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("framehouse_client.exchange._FIRST_PAUSE_S", 0.02)


def http(status: int, body: bytes = b"", *headers: str, length: int | None = None) -> bytes:
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body) if length is None else length}", *headers]
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode() + body


@asynccontextmanager
async def image_host(answer: Answer) -> AsyncIterator[tuple[str, list[dict[str, str]]]]:
    """A host of images. `answer` receives the path and the number of the request. Yields the URL and the headers."""
    requests: list[dict[str, str]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _, path, headers = await read_head(reader)
        requests.append(headers)
        writer.write(answer(path, len(requests)))
        await writer.drain()

    async with listening(serve) as url:
        yield url, requests


@asynccontextmanager
async def task_with_image(
    kind: ClientKind, url: str, retry_s: float = 60
) -> AsyncIterator[tuple[AsyncTask, AsyncClient]]:
    """A task that has succeeded with an image at this URL."""

    def rewrite(_method: str, _path: str, status: int, body: Any) -> tuple[int, Any]:
        if "task_result" in body["data"]:
            body["data"]["task_result"] = {"images": [{"index": 0, "url": url}]}
        return status, body

    async with upstream(rewrite=rewrite) as server, open_client(kind, server.url, "key", retry_s=retry_s) as client:
        task = await client.create("a fox")
        await task.wait()
        yield task, client


async def test_the_key_is_not_sent_to_other_hosts(kind: ClientKind) -> None:
    async with (
        image_host(lambda _path, _number: http(200, PNG)) as (target, received),
        image_host(lambda _path, _number: http(302, b"", f"Location: {target}/moved")) as (url, first),
        task_with_image(kind, f"{url}/a.png?sig=1") as (task, _),
    ):
        assert await task.images[0].bytes() == PNG
    assert len(received) == len(first) == 1
    for headers in (*first, *received):
        assert "authorization" not in headers
        assert "key" not in " ".join(headers.values())


@pytest.mark.parametrize(
    "failure",
    [http(200, PNG[:50], length=len(PNG)), http(503), http(429), http(500, b"<html>"), b"", b"HTTP/1.1 200"],
    ids=["truncated", "503", "429", "500", "closed", "half a head"],
)
async def test_a_download_is_repeated(kind: ClientKind, failure: bytes, tmp_path: Path) -> None:
    async with (
        image_host(lambda _path, number: failure if number < 3 else http(200, PNG)) as (url, requests),
        task_with_image(kind, f"{url}/a.png") as (task, _),
    ):
        (path,) = await task.save(tmp_path)
    assert path.read_bytes() == PNG
    assert _names(tmp_path) == [path.name]
    assert len(requests) == 3


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        (http(200, b"<html>Sign in</html>"), ServerError, "is not an image"),
        (http(200), ServerError, "is not an image"),
        (http(404), NotFound, "has expired"),
        (http(403, b"<Error>AccessDenied</Error>"), NotFound, "has expired"),
        (http(200, PNG[:50], length=len(PNG)), ConnectionFailed, "cannot download"),
        (http(302, b"", "Location: /again"), ConnectionFailed, "redirects"),
        (http(302, b"", "Location: file:///etc/passwd"), ConnectionFailed, "protocol"),
        (http(302, b"", "Location: http://[/"), ConnectionFailed, "cannot download"),
    ],
)
async def test_a_failed_download_leaves_no_file(
    kind: ClientKind, answer: bytes, error: type[Exception], message: str, tmp_path: Path
) -> None:
    async with (
        image_host(lambda _path, _number: answer) as (url, _),
        task_with_image(kind, f"{url}/a.png?secret=1", retry_s=0.1) as (task, _client),
    ):
        with pytest.raises(error, match=message) as caught:
            await task.save(tmp_path)
    assert "secret" not in str(caught.value)
    assert _names(tmp_path) == []


async def test_the_size_of_an_image_is_limited(kind: ClientKind, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("framehouse_client.downloading.MAX_IMAGE_BYTES", len(PNG) - 1)
    async with (
        image_host(lambda _path, _number: http(200, PNG)) as (url, _),
        task_with_image(kind, f"{url}/a.png") as (task, _client),
    ):
        with pytest.raises(ServerError, match="more than"):
            await task.images[0].bytes()


async def test_relative_urls_and_data_urls(kind: ClientKind) -> None:
    async with task_with_image(kind, f"data:image/png;base64,{base64.b64encode(PNG).decode()}") as (task, _):
        assert await task.images[0].bytes() == PNG
    async with task_with_image(kind, "/images/up-0-0.png") as (task, _):
        assert task.images[0].url.startswith("http://127.0.0.1")
        assert (await task.images[0].bytes()).startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("id", "stem"),
    [
        ("019a1d3c-aaaa-7bbb-8ccc-1234567890ab", "1234567890ab"),
        ("842250903629086785", "842250903629086785"),
        ("up-0", "up-0"),
    ],
)
def test_the_names_of_files_begin_with_the_id(id: str, stem: str) -> None:
    assert file_stem(id) == stem


def test_different_tasks_have_different_names_inside_the_folder() -> None:
    ids = ["a/b", "a_b", "a\\b", "../b", "..", ".", "a" * 70, "a" * 71, "猫", "狗", "a b"]
    stems = [file_stem(id) for id in ids]
    assert len(set(stems)) == len(ids)
    assert all(stem[0] != "." and "/" not in stem and "\\" not in stem and stem.isascii() for stem in stems)


def test_a_file_is_complete_or_does_not_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    write_file(path, b"old")
    assert path.stat().st_mode & 0o777 == 0o666 & ~_umask()

    def full(_number: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def _names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (PNG, "png"),
        (b"\xff\xd8\xff\xe0", "jpg"),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "webp"),
        (b"\x00\x00\x00\x20ftypavif", "avif"),
        (b"{}", ""),
        (b"", ""),
    ],
)
def test_the_content_determines_the_extension(content: bytes, name: str) -> None:
    assert extension(content) == name
