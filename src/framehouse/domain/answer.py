"""A task as clients see it: what POST answers, and the `data` of GET, which is a callback's body too."""

from datetime import datetime
from typing import Any
from uuid import UUID

from framehouse.domain.links import Links
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
        images = []
        for picture in task.pictures:
            image: dict[str, Any] = {"index": picture.index, "url": links.make(picture.key, task.expires_at)}
            if picture.watermark_key:
                image["watermark_url"] = links.make(picture.watermark_key, task.expires_at)
            images.append(image)
        series = task.result_type == "series"
        data["task_result"] = {
            "result_type": task.result_type,
            "images": [] if series else images,
            "series_images": images if series else [],
        }
    if progress and task.status == "processing":
        data["progress"] = round(task.progress, 3)
    return data
