"""Tasks and elements as clients see them: what POST answers, and the `data` of GET, which is a callback's body too."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from framehouse.domain.account import Account, Key
from framehouse.domain.callback import Delivery
from framehouse.domain.element import REFERENCE_TYPE, TAGS, Element, ElementTask
from framehouse.domain.signed_urls import Links
from framehouse.domain.task import Status, Task


def milliseconds(moment: datetime) -> int:
    """Unix milliseconds, as all times of the contract."""
    return int(moment.timestamp() * 1000)


def head_data(
    task_id: UUID, external_task_id: str, status: Status, created: datetime, updated: datetime
) -> dict[str, Any]:
    """What every view of a task begins with."""
    return {
        "task_id": str(task_id),
        "task_info": {"external_task_id": external_task_id} if external_task_id else {},
        "task_status": status,
        "created_at": milliseconds(created),
        "updated_at": milliseconds(updated),
    }


def task_data(task: Task, links: Links, *, progress: bool = True) -> dict[str, Any]:
    """A task as GET shows it; without progress, which changes all the time, as callbacks do."""
    data = head_data(task.id, task.external_task_id, task.status, task.created_at, task.updated_at) | {
        "task_status_msg": task.status_message,
        "watermark_info": {"enabled": task.watermark},
        "final_unit_deduction": str(task.units_charged),
    }
    if task.status == "succeed":
        entries = []
        for image in task.images:
            entry: dict[str, Any] = {"index": image.index, "url": links.make(image.key, task.expires_at)}
            if image.watermark_key:
                entry["watermark_url"] = links.make(image.watermark_key, task.expires_at)
            entries.append(entry)
        series = task.result_type == "series"
        data["task_result"] = {
            "result_type": task.result_type,
            "images": [] if series else entries,
            "series_images": entries if series else [],
        }
    if progress and task.status == "processing":
        data["progress"] = round(task.progress, 3)
    return data


def generated_images(task: Task, links: Links) -> list[dict[str, Any]]:
    """The pictures of a task that is still being painted, as far as they are made. Their URLs hold for a day."""
    until = task.created_at + timedelta(days=1)
    return [{"index": image.index, "url": links.make(image.key, until)} for image in task.images]


def request_data(task: Task) -> dict[str, Any]:
    """What was asked for, in the words of a request, with `auto` resolved. Reference pictures are not in it."""
    amount = "series_amount" if task.result_type == "series" else "n"
    data: dict[str, Any] = {
        "model_name": task.model,
        "prompt": task.prompt,
        "result_type": task.result_type,
        amount: task.image_count,
        "resolution": task.resolution,
        "aspect_ratio": task.ratio,
        "watermark_info": {"enabled": task.watermark},
    }
    if task.elements:
        data["element_list"] = [{"element_id": element} for element in task.elements]
    return data


def account_data(account: Account, keys: Iterable[Key]) -> dict[str, Any]:
    """An account as its own callers see it; its active keys without anything secret."""
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
    """A callback message and what became of it."""
    tried, after = message.tried_at, message.next_try_at
    waits = message.tries > 0  # one that was never tried is due, or behind an earlier one
    return {
        "id": str(message.id),
        "task_status": message.status,
        "url": message.callback_url,
        "state": message.state,
        "tries": message.tries,
        "last_code": message.last_code,
        "last_error": message.last_error or "",
        "created_at": milliseconds(message.created_at),
        "tried_at": milliseconds(tried) if tried else None,
        "next_try_at": milliseconds(after) if after and waits else None,
    }


def element_task_data(task: ElementTask, links: Links) -> dict[str, Any]:
    """The making of an element as GET shows it, and the element once it is one."""
    data = head_data(task.id, task.external_task_id, task.status, task.created_at, task.updated_at)
    data |= {"task_status_msg": task.status_message, "final_unit_deduction": "0"}
    if task.status == "succeed":
        status = "deleted" if task.deleted else "succeed"
        data["task_result"] = {"elements": [element_data(task.element, links, status=status)]}
    return data


def preset_data(element: Element, links: Links) -> dict[str, Any]:
    """A preset in the form of an element task: it was made before all time, and its id is the task's too."""
    return {
        "task_id": str(element.id),
        "task_info": {},
        "task_status": "succeed",
        "created_at": 0,
        "updated_at": 0,
        "task_status_msg": "",
        "final_unit_deduction": "0",
        "task_result": {"elements": [element_data(element, links)]},
    }


def element_data(element: Element, links: Links, *, status: str = "succeed") -> dict[str, Any]:
    """An element; URLs of its pictures hold as long as it is there."""
    urls = [links.make(image.key, None) for image in element.images]
    return {
        "element_id": element.id,
        "element_name": element.name,
        "element_description": element.description,
        "reference_type": REFERENCE_TYPE,
        "element_image_list": {
            "frontal_image": urls[0] if urls else "",
            "refer_images": [{"image_url": url} for url in urls[1:]],
        },
        "tag_list": [{"id": tag, "name": TAGS[tag][0], "description": TAGS[tag][1]} for tag in element.tags],
        "owned_by": element.owned_by,
        "status": status,
    }
