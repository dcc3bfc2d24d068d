"""The steps that download images and save them as files."""

import base64
import binascii
import hashlib
import os
import re
import secrets
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from uuid import UUID

from framehouse_client.connection import Connection
from framehouse_client.effects import NoResponse, Request, Steps, call, send
from framehouse_client.errors import ConnectionFailed, FramehouseError, NotFound, ServerError
from framehouse_client.exchange import USER_AGENT, Retries, pause
from framehouse_client.task_data import ImageData, TaskData

MAX_IMAGE_BYTES = 200_000_000
_TEMPORARY = frozenset({408, 425, 429, 500, 502, 503, 504})
_EXTENSIONS = ((b"\x89PNG\r\n\x1a\n", "png"), (b"\xff\xd8\xff", "jpg"), (b"GIF8", "gif"))


def download(connection: Connection, url: str) -> Steps[bytes]:
    """Return the content of an image. Raises FramehouseError.

    Image URLs are signed and can point to any host. The key is therefore never sent with them. The content must begin
    like an image file, because some servers return an HTML page with an error message.
    """
    url = connection.absolute(url)
    if url.startswith("data:"):
        return _checked(_data_url(url), "the data URL")
    shown = url.split("?")[0]
    request = Request(
        method="GET",
        url=url,
        headers={"User-Agent": USER_AGENT, "Accept": "image/*"},
        max_bytes=MAX_IMAGE_BYTES,
        redirects=True,
    )
    retries = Retries(connection)
    while True:
        outcome = yield from send(request)
        if isinstance(outcome, NoResponse):
            error: FramehouseError = ConnectionFailed(f"cannot download {shown}: {outcome.reason}")
            pause_s = retries.pause_s()
        elif outcome.too_large:
            raise ServerError(f"the image {shown} has more than {MAX_IMAGE_BYTES:,} bytes")
        elif outcome.status == 200:
            return _checked(outcome.body, shown)
        elif outcome.status in (403, 404, 410):
            raise NotFound(f"the image {shown} does not exist, or its URL has expired", status=outcome.status)
        else:
            error = ServerError(f"cannot download {shown}", status=outcome.status)
            pause_s = retries.pause_s() if outcome.status in _TEMPORARY else None
        if pause_s is None:
            raise error
        yield from pause(pause_s, error)


def save_task(connection: Connection, task: TaskData, folder: Path) -> Steps[list[Path]]:
    """Download all images of a task, and write them to the folder. Return the paths in the order of the images.

    The path of a watermarked copy follows the path of its image.
    """
    yield from call(partial(folder.mkdir, parents=True, exist_ok=True))
    paths: list[Path] = []
    for image in task.images:
        paths += yield from save_image(connection, task.id, image, folder)
    return paths


def save_image(connection: Connection, task_id: str, image: ImageData, folder: Path) -> Steps[Sequence[Path]]:
    """Download an image and its watermarked copy, and write them to the folder. Return the paths."""
    paths = []
    for url, suffix in ((image.url, ""), (image.watermark_url, "-marked")):
        if url:
            content = yield from download(connection, url)
            path = folder / f"{file_stem(task_id)}-{image.index + 1}{suffix}.{extension(content)}"
            yield from call(partial(write_file, path, content))
            paths.append(path)
    return paths


def save_as(connection: Connection, url: str, path: Path) -> Steps[Path]:
    """Download an image, and write it to this file."""
    content = yield from download(connection, url)
    yield from call(partial(path.parent.mkdir, parents=True, exist_ok=True))
    yield from call(partial(write_file, path, content))
    return path


def file_stem(task_id: str) -> str:
    """Return the beginning of the names of a task's files. Different tasks have different names.

    A UUID is shortened to its last 12 hexadecimal digits. In any other id, all characters except ASCII letters, digits,
    `.`, `_` and `-` are replaced. If this changes the id, a hash of the id is appended.
    """
    with suppress(ValueError):
        return UUID(task_id).hex[-12:]
    name = re.sub(r"[^A-Za-z0-9._-]", "_", task_id)[:64].lstrip(".") or "_"
    return name if name == task_id else f"{name}-{hashlib.sha256(task_id.encode()).hexdigest()[:8]}"


def extension(content: bytes) -> str:
    """Return the extension of the file name of an image, or an empty string if the content is not an image."""
    for start, name in _EXTENSIONS:
        if content.startswith(start):
            return name
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "webp"
    return "avif" if content[4:12] in (b"ftypavif", b"ftypavis") else ""


def write_file(path: Path, content: bytes) -> None:
    """Write a complete file, or replace it. After an error, the old file is unchanged. Raises OSError."""
    part = path.with_name(f".{path.name[:100]}.{secrets.token_hex(4)}.part")
    try:
        with part.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def _checked(content: bytes, shown: str) -> bytes:
    if not extension(content):
        raise ServerError(f"{shown} is not an image")
    return content


def _data_url(url: str) -> bytes:
    head, _, text = url.partition(",")
    try:
        return base64.b64decode(text, validate=False) if head.endswith(";base64") else b""
    except binascii.Error:
        return b""
