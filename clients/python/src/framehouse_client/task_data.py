"""The state of a task, and how it is read from a response."""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Literal

from framehouse_client.answers import Answer, integer, nested
from framehouse_client.errors import ServerError

Status = Literal["submitted", "processing", "succeed", "failed"]

_STATES: dict[str, Status] = {
    **dict.fromkeys(("submitted", "pending", "queued", "queueing", "waiting", "created"), "submitted"),
    **dict.fromkeys(("in_queue", "not_start"), "submitted"),
    **dict.fromkeys(("processing", "running", "generating", "in_progress", "started"), "processing"),
    **dict.fromkeys(("succeed", "succeeded", "success", "successful", "completed", "complete"), "succeed"),
    **dict.fromkeys(("finished", "finish", "done"), "succeed"),
    **dict.fromkeys(("failed", "fail", "failure", "error", "rejected", "expired", "timeout"), "failed"),
    **dict.fromkeys(("cancelled", "canceled", "cancel"), "failed"),
}
"""The words for the states of a task, in lower case and with underscores, and Kling's words for these states."""
_RESULT_NAMES = ("images", "series_images", "image", "image_urls", "image_url", "image_list", "imageUrl", "urls", "url")
_MAX_DEPTH = 4


@dataclass(frozen=True, slots=True)
class ImageData:
    """An image of a task. `index` starts at 0. `url` can be relative to the URL of the server, or a `data:` URL."""

    index: int
    url: str
    watermark_url: str = ""


@dataclass(frozen=True, slots=True)
class TaskData:
    """The state of a task in one response.

    `kind` is `omni-image` or another kind, or an empty string if the response does not state it. `message` is the
    reason if the task failed. `progress` is between 0 and 1. `images` contains the images of a task that has succeeded,
    and `finished` the images that exist already while the task is processing. `units` is the number of units that were
    charged. The times are None if the server does not state them. `raw` is the object of the response.
    """

    id: str
    status: Status
    kind: str = ""
    external_task_id: str = ""
    message: str = ""
    progress: float = 0.0
    images: tuple[ImageData, ...] = ()
    finished: tuple[ImageData, ...] = ()
    units: Decimal = Decimal(0)
    created_at: datetime | None = None
    updated_at: datetime | None = None
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def ended(self) -> bool:
        return self.status in ("succeed", "failed")


def task_of(answer: Answer, *, queried_id: str = "") -> TaskData | None:
    """Return the task of a successful answer, or None if the answer contains no task. Raises ServerError.

    `queried_id` is the id of the requested task, for answers that do not repeat the id.
    """
    tasks = (parse_task(data, queried_id=queried_id) for data in nested(answer.body))
    return next((task for task in tasks if task), None)


def accepted_id(answer: Answer) -> str:
    """Return the task id of the response to a request that creates a task, or an empty string."""
    data = answer.data
    data = data[0] if isinstance(data, list) and len(data) == 1 else data
    return (_task_id(data) if isinstance(data, Mapping) else "") or _task_id(answer.body)


def parse_task(data: Mapping[str, Any], *, queried_id: str = "") -> TaskData | None:
    """Convert an object to a TaskData. Returns None if the object is not a task. Raises ServerError.

    An object with another name than `task_status` for the state could describe the response itself. It is a task only
    if its id is a task id.
    """
    state = data.get("task_status") or data.get("taskStatus")
    id = _task_id(data) or (queried_id if state else "")
    if not state and (data.get("task_id") or data.get("taskId") or id == queried_id or _external_id(data)):
        state = data.get("status") or data.get("state")
    if not isinstance(state, str) or not id:
        return None
    status = _STATES.get(re.sub(r"[\s-]+", "_", state.strip().lower()))
    if status is None:
        raise ServerError(f"the server reports the unknown status {json.dumps(state[:50])} of the task {id}")
    messages = (data.get(name) for name in ("task_status_msg", "fail_reason", "message", "error"))
    images: tuple[ImageData, ...] = ()
    for holder in nested(data):
        results = (holder[name] for name in ("task_result", "result", "output", *_RESULT_NAMES) if holder.get(name))
        images = images or next((found for value in results if (found := images_of(value))), ())
    return TaskData(
        id=id,
        status=status,
        kind=str(data.get("kind") or ""),
        external_task_id=_external_id(data),
        message=next((text for value in messages if (text := _text(value))), "") if status == "failed" else "",
        progress=1.0 if status == "succeed" else _progress(data.get("progress")),
        images=images if status == "succeed" else (),
        finished=images_of({"images": data.get("pictures")}),
        units=_units(data.get("final_unit_deduction")),
        created_at=_moment(data.get("created_at")),
        updated_at=_moment(data.get("updated_at")),
        raw=data,
    )


def images_of(result: object) -> tuple[ImageData, ...]:
    """Return the images of a result, ordered by index.

    If an index is missing or repeated, the images are numbered in their order.
    """
    result = _decoded(result)
    found: list[tuple[int | None, str, str]] = []
    if isinstance(result, Mapping):
        for name in _RESULT_NAMES:
            found = found or list(_images_in(result.get(name)))
    found = found or list(_images_in(result))
    by_url: dict[str, tuple[int | None, str]] = {}
    for index, url, watermark in found:
        by_url.setdefault(url, (index, watermark))
    numbers = [index for index, _ in by_url.values()]
    if None in numbers or len(set(numbers)) < len(numbers):
        numbers = list(range(len(numbers)))
    images = (
        ImageData(number or 0, url, watermark)
        for number, (url, (_, watermark)) in zip(numbers, by_url.items(), strict=True)
    )
    return tuple(sorted(images, key=lambda image: image.index))


def _images_in(value: object, depth: int = 0) -> Iterator[tuple[int | None, str, str]]:
    """Yield the index, the URL and the URL of the watermarked copy of each image in a value."""
    if depth > _MAX_DEPTH:
        return
    value = _decoded(value)
    if isinstance(value, str):
        if value.strip():
            yield None, value.strip(), ""
    elif isinstance(value, list):
        for item in value:
            yield from _images_in(item, depth + 1)
    elif isinstance(value, Mapping):
        watermark = value.get("watermark_url")
        for name in ("url", "image_url", "imageUrl", "image", "resource", "download_url", "src"):
            for _, url, _ in _images_in(value.get(name), depth + 1):
                yield integer(value.get("index")), url, watermark if isinstance(watermark, str) else ""
                return
        if isinstance(encoded := value.get("b64_json") or value.get("base64"), str):
            yield integer(value.get("index")), f"data:;base64,{encoded.strip()}", ""
            return
        for item in value.values():
            if isinstance(item, Mapping | list):
                yield from _images_in(item, depth + 1)


def _decoded(value: object) -> object:
    """Return a value. If the value is text that contains a JSON object or list, return that object or list."""
    if isinstance(value, str) and value.lstrip().startswith(("{", "[")):
        with suppress(ValueError, RecursionError):
            return json.loads(value)
    return value


def _task_id(data: Mapping[str, Any]) -> str:
    """Return the task id of an object, or an empty string. Some resellers use numbers as ids."""
    for name in ("task_id", "taskId", "id"):
        value = data.get(name)
        value = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
        if isinstance(value, str) and 1 <= len(value) <= 255 and value.isprintable():
            return value
    return ""


def _external_id(data: Mapping[str, Any]) -> str:
    info = data.get("task_info")
    values = [info.get("external_task_id")] if isinstance(info, Mapping) else []
    values += [data.get("external_task_id"), data.get("externalTaskId")]
    return next((value for value in values if isinstance(value, str) and value), "")


def _text(value: object) -> str:
    text = value.get("message") if isinstance(value, Mapping) else value
    return text if isinstance(text, str) else ""


def _progress(value: object) -> float:
    """Return the progress. Some resellers send a percentage such as `"40%"`."""
    if isinstance(value, str) and re.fullmatch(r"\s*[0-9]{1,3}\s*%\s*", value):
        return min(1.0, int(value.strip(" %")) / 100)
    return float(value) if isinstance(value, int | float) and 0 <= value <= 1 else 0.0


def _units(value: object) -> Decimal:
    with suppress(InvalidOperation, ValueError):
        units = Decimal(str(value))
        return units if units.is_finite() else Decimal(0)
    return Decimal(0)


def _moment(value: object) -> datetime | None:
    """Return a time in milliseconds, or in seconds, as a datetime in UTC. Returns None for all other values."""
    number = integer(value)
    if not number or number < 0:
        return None
    with suppress(OverflowError, ValueError, OSError):
        return datetime.fromtimestamp(number / 1000 if number > 10**11 else number, UTC)
    return None
