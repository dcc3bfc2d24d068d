"""The JSON objects that represent tasks, elements and accounts in the `data` field of a response.

The body of a callback is the `data` of a GET response, without `progress`.
"""

from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from framehouse.domain.account import Account, Key
from framehouse.domain.callback import Delivery
from framehouse.domain.delivery_advice import delivery_advice
from framehouse.domain.element import REFERENCE_TYPE, TAGS, Element, ElementTask
from framehouse.domain.shot import preview_key
from framehouse.domain.signed_urls import Links
from framehouse.domain.task import Status, Task, TaskImage


def milliseconds(moment: datetime) -> int:
    """Return a time as a Unix timestamp in milliseconds, the format of all times in the Kling API."""
    return int(moment.timestamp() * 1000)


NO_BALANCE = {"quota": "0", "list_price": "0"}
"""The value of the field `final_balance_deduction`. Framehouse charges only units, not money."""


def common_task_data(
    task_id: UUID, external_task_id: str, status: Status, created: datetime, updated: datetime
) -> dict[str, Any]:
    """Return the fields that all responses about a task contain."""
    return {
        "task_id": str(task_id),
        "task_info": {"external_task_id": external_task_id} if external_task_id else {},
        "task_status": status,
        "created_at": milliseconds(created),
        "updated_at": milliseconds(updated),
    }


def task_data(task: Task, links: Links, *, progress: bool = True, previews: bool = False) -> dict[str, Any]:
    """Return the `data` of the response to a GET request for a task.

    If `previews` is true, each image that has a preview also has the fields `preview_url` and `thumb_hash`.
    Callbacks omit `progress`, because the value changes continuously. Until the task has succeeded, `task_result` is
    absent from omni-image tasks and empty in other tasks (docs/adr/0021).
    """
    data = common_task_data(task.id, task.external_task_id, task.status, task.created_at, task.updated_at) | {
        "task_status_msg": task.status_message,
        "watermark_info": {"enabled": task.watermark},
        "final_unit_deduction": str(task.units_charged),
        "final_balance_deduction": NO_BALANCE,
    }
    if task.status == "succeed":
        entries = []
        for image in task.images:
            entry = _image_data(image, links, task.expires_at, previews=previews)
            if image.watermark_key:
                entry["watermark_url"] = links.image_url(image.watermark_key, task.expires_at)
            entries.append(entry)
        if task.kind == "omni-image":
            series = task.result_type == "series"
            data["task_result"] = {
                "result_type": task.result_type,
                "images": [] if series else entries,
                "series_images": entries if series else [],
            }
        else:
            data["task_result"] = {"images": entries}
    elif task.kind != "omni-image":
        data["task_result"] = {}
    if progress and task.status == "processing":
        data["progress"] = round(task.progress, 3)
    return data


def generated_images(task: Task, links: Links, *, previews: bool = False) -> list[dict[str, Any]]:
    """Return the finished images of a task that has not ended. Their URLs expire one day after the task was created.

    For `previews`, see `task_data`.
    """
    until = task.created_at + timedelta(days=1)
    return [_image_data(image, links, until, previews=previews) for image in task.images]


def _image_data(image: TaskImage, links: Links, expires_at: datetime | None, *, previews: bool) -> dict[str, Any]:
    data: dict[str, Any] = {"index": image.index, "url": links.image_url(image.key, expires_at)}
    if previews and image.thumb_hash:
        data["preview_url"] = links.image_url(preview_key(image.key), expires_at)
        data["thumb_hash"] = image.thumb_hash
    return data


def request_data(task: Task) -> dict[str, Any]:
    """Return the request body of a task. The values that the server chose replace `auto`.

    The result does not contain the reference images.
    """
    watermark = {"watermark_info": {"enabled": task.watermark}}
    data: dict[str, Any] = {"model_name": task.model}
    if task.kind == "try-on":
        return data | watermark
    data["prompt"] = task.prompt
    if task.kind == "omni-image":
        data["result_type"] = task.result_type
    data["series_amount" if task.result_type == "series" else "n"] = task.image_count
    if expansion := task.options.expansion:
        return data | {f"{side}_expansion_ratio": ratio for side, ratio in asdict(expansion).items()} | watermark
    if task.kind != "multi-image2image":
        data["resolution"] = task.resolution
    data |= {"aspect_ratio": task.ratio} | watermark
    if task.elements:
        data["element_list"] = [{"element_id": element} for element in task.elements]
    options = asdict(task.options)
    del options["partial_images"]  # it determines only what a stream contains
    return data | {name: value for name, value in options.items() if value not in ("", None)}


def account_data(account: Account, keys: Iterable[Key]) -> dict[str, Any]:
    """Return the JSON object for an account and its active keys. The result contains no secrets."""
    return {
        "account": account.name,
        "concurrency": {"used": account.images_in_flight, "allowed": account.concurrency},
        "units": {
            "used": account.units_used,
            "reserved": account.units_reserved,
            "limit": account.units_limit,
        },
        "keys": [
            {
                "prefix": key.prefix,
                "kind": "jwt" if key.jwt else "bearer",
                "models": key.models,
                "created_at": milliseconds(key.created_at),
            }
            for key in keys
            if key.revoked_at is None
        ],
    }


def delivery_data(message: Delivery) -> dict[str, Any]:
    """Return the JSON object for a callback message and its delivery state."""
    tried_at, next_try_at = message.tried_at, message.next_try_at
    # No time is scheduled for the first attempt: the message is already due, or is waiting for an earlier message of
    # the same task.
    scheduled = message.tries > 0
    return {
        "id": str(message.id),
        "task_status": message.status,
        "url": message.callback_url,
        "state": message.state,
        "tries": message.tries,
        "last_code": message.last_code,
        "last_error": message.last_error or "",
        "advice": delivery_advice(message.last_error or "", message.last_code),
        "created_at": milliseconds(message.created_at),
        "tried_at": milliseconds(tried_at) if tried_at else None,
        "next_try_at": milliseconds(next_try_at) if next_try_at and scheduled else None,
    }


def element_task_data(task: ElementTask, links: Links) -> dict[str, Any]:
    """Return the `data` of the response to a GET request for an element task.

    If the task succeeded, the result contains the element.
    """
    data = common_task_data(task.id, task.external_task_id, task.status, task.created_at, task.updated_at)
    data |= {"task_status_msg": task.status_message, "final_unit_deduction": "0", "final_balance_deduction": NO_BALANCE}
    if task.status == "succeed":
        status = "deleted" if task.deleted else "succeed"
        data["task_result"] = {"elements": [element_data(task.element, links, status=status)]}
    return data


def preset_data(element: Element, links: Links) -> dict[str, Any]:
    """Return the JSON object for a preset, in the form of an element task.

    The task id is the id of the element, and the times are 0.
    """
    return {
        "task_id": str(element.id),
        "task_info": {},
        "task_status": "succeed",
        "created_at": 0,
        "updated_at": 0,
        "task_status_msg": "",
        "final_unit_deduction": "0",
        "final_balance_deduction": NO_BALANCE,
        "task_result": {"elements": [element_data(element, links)]},
    }


def element_data(element: Element, links: Links, *, status: str = "succeed") -> dict[str, Any]:
    """Return the JSON object for an element. The URLs of its images are valid until the element is deleted."""
    urls = [links.image_url(image.key, None) for image in element.images]
    return {
        "element_id": element.id,
        "element_name": element.name,
        "element_description": element.description,
        "reference_type": REFERENCE_TYPE,
        "element_image_list": {
            "frontal_image": urls[0] if urls else "",
            "refer_images": [{"image_url": url} for url in urls[1:]],
        },
        "element_video_list": {},
        "element_voice_info": {},
        "tag_list": [{"id": tag, "name": TAGS[tag][0], "description": TAGS[tag][1]} for tag in element.tags],
        "owned_by": element.owned_by,
        "status": status,
    }
