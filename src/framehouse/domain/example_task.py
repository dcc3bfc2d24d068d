"""The example task in test callbacks."""

from datetime import datetime
from typing import Any
from uuid import UUID

from framehouse.domain.signed_urls import Links
from framehouse.domain.task import Task, TaskImage
from framehouse.domain.task_json import task_data

EXAMPLE_TASK_ID = UUID(int=0)
_IMAGE = "presets/bicycle-side.png"


def make_test_message(now: datetime, links: Links) -> dict[str, Any]:
    """Return the body of a test callback.

    The body has all fields of the callback for a succeeded task, and also the field `type` with the value `test`. The
    id of the task consists of zeros, and no task has this id. The URL of the image works.
    """
    image = TaskImage(0, _IMAGE, "", "image/png", 512, 512)
    task = Task(
        id=EXAMPLE_TASK_ID,
        account_id=0,
        external_task_id="",
        status="succeed",
        status_message="",
        model="kling-v3-omni",
        prompt="",
        result_type="single",
        image_count=1,
        resolution="1k",
        ratio="1:1",
        watermark=False,
        units_charged=0,
        created_at=now,
        updated_at=now,
        expires_at=None,
        progress=1.0,
        images=(image,),
    )
    return {"type": "test", **task_data(task, links, progress=False)}
