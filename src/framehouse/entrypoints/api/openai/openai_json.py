"""The JSON values of OpenAI's image API: the result of a task, the events of a stream, and tasks.

The base64 of a large image is not kept in memory. Therefore, the functions yield pieces of JSON text.
"""

import base64
import json
from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from typing import Any

from framehouse.adapters.storage import Storage
from framehouse.domain.signed_urls import Links
from framehouse.domain.task import Status, Task, TaskImage
from framehouse.domain.task_json import milliseconds
from framehouse.entrypoints.api.openai_errors import error_of_task

_CHUNK_BYTES = 3 * 256 * 1024
"""The number of bytes that are encoded together. A multiple of three has base64 without padding."""
_FORMATS = {"image/png": "png", "image/jpeg": "jpeg", "image/webp": "webp"}
_STATUSES: Mapping[Status, str] = {
    "submitted": "queued",
    "processing": "in_progress",
    "succeed": "completed",
    "failed": "failed",
}


class ImageGone(Exception):
    """Raised if the file of an image no longer exists."""


def image_fields(task: Task, image: TaskImage) -> dict[str, Any]:
    """Return the fields that describe an image in a result and in an event."""
    return file_fields(task, _FORMATS[image.media_type], image.width, image.height)


def file_fields(task: Task, output_format: str, width: int, height: int) -> dict[str, Any]:
    """Return the fields that describe a file of a task with this format and this size in pixels."""
    return {
        "background": "opaque",
        "output_format": output_format,
        "quality": {"1k": "medium", "2k": "high"}.get(task.resolution, "max"),
        "size": f"{width}x{height}",
    }


async def result_pieces(task: Task, storage: Storage, links: Links, *, urls: bool) -> AsyncIterator[bytes]:
    """Yield the JSON object with the images of a task that has succeeded. Raises ImageGone."""
    yield _open(_result_fields(task) | {"task_id": str(task.id)}) + b', "data": ['
    for number, image in enumerate(task.images):
        yield b", " if number else b""
        if urls:
            yield _encoded(_url_entry(task, image, links))
            continue
        async for piece in with_base64({}, storage, image.key):
            yield piece
    yield b"]}"


def _result_fields(task: Task) -> dict[str, Any]:
    """Return the fields of the result of a task, except for its images."""
    described = image_fields(task, task.images[0]) if task.images else {}
    return {"created": unix_seconds(task.updated_at), **described}


def _url_entry(task: Task, image: TaskImage, links: Links) -> dict[str, str]:
    return {"url": links.image_url(image.key, task.expires_at)}


async def with_base64(fields: Mapping[str, Any], storage: Storage, key: str) -> AsyncIterator[bytes]:
    """Yield a JSON object with these fields and the content of a file in the field `b64_json`. Raises ImageGone."""
    size = await storage.size(key)
    if size is None:
        raise ImageGone(key)
    yield _open(fields) + (b', "b64_json": "' if fields else b'"b64_json": "')
    for start in range(0, size, _CHUNK_BYTES):
        try:
            yield base64.b64encode(await storage.get_range(key, start, min(start + _CHUNK_BYTES, size)))
        except FileNotFoundError as error:
            raise ImageGone(key) from error
    yield b'"}'


def task_object(task: Task, links: Links) -> dict[str, Any]:
    """Return the object that describes a task. The result of a task that has succeeded contains URLs."""
    data: dict[str, Any] = {
        "id": str(task.id),
        "object": "image.task",
        "created_at": unix_seconds(task.created_at),
        "status": _STATUSES[task.status],
        "model": task.model,
        "progress": 1.0 if task.status == "succeed" else round(task.progress, 3),
        "units": task.units_charged,
        "error": None,
        "result": None,
    }
    if task.status == "failed":
        data["error"] = error_of_task(task).body()["error"]
    if task.status == "succeed":
        data["result"] = _result_fields(task) | {"data": [_url_entry(task, image, links) for image in task.images]}
    return data


def unix_seconds(moment: datetime) -> int:
    """Return a time as a Unix timestamp in seconds, the format of all times in OpenAI's API."""
    return milliseconds(moment) // 1000


def event(type: str, fields: Mapping[str, Any]) -> bytes:
    """Return an event of a stream (server-sent events)."""
    return b"event: %s\ndata: %s\n\n" % (type.encode(), _encoded({"type": type, **fields}))


def _encoded(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value).encode()


def _open(value: Mapping[str, Any]) -> bytes:
    """Return a JSON object without its closing brace."""
    return _encoded(value)[:-1]
