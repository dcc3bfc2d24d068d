"""Convert tasks to the results of tool calls: text, images, links and structured content."""

import base64
from collections.abc import Sequence
from typing import Any

import mcp_types as types

from framehouse.entrypoints.mcp.result_images import MAX_CONTENT_BYTES, fetch_image
from framehouse.entrypoints.mcp.tool_arguments import ImageContent
from framehouse.entrypoints.mcp.tool_call import ToolCall
from framehouse_client.task_data import ImageData, TaskData

TASK_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "task_id": {"type": "string"},
        "status": {"enum": ["submitted", "processing", "succeed", "failed"]},
        "progress": {"type": "number", "description": "from 0 to 1"},
        "message": {"type": "string", "description": "the reason why the task failed, otherwise empty"},
        "units": {"type": "string", "description": "the units that were charged"},
        "images": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"index": {"type": "integer"}, "url": {"type": "string"}},
                "required": ["index", "url"],
            },
        },
    },
    "required": ["task_id", "status", "images"],
}
TASK_LIST_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"tasks": {"type": "array", "items": TASK_SCHEMA}},
    "required": ["tasks"],
}


def is_cancelled(task: TaskData) -> bool:
    return task.status == "failed" and task.message == "Canceled"


def task_json(task: TaskData) -> dict[str, Any]:
    """Return the structured content for a task."""
    return {
        "task_id": task.id,
        "status": task.status,
        "progress": task.progress,
        "message": task.message,
        "units": str(task.units),
        "images": [{"index": image.index, "url": image.url} for image in task.images],
    }


async def task_result(call: ToolCall, task: TaskData, image_content: ImageContent) -> types.CallToolResult:
    """Return the result for a task. The result of a failed task is an error that the agent can read."""
    content: list[types.ContentBlock] = [types.TextContent(text=task_text(task))]
    if task.status == "succeed" and image_content != "none":
        content += await _images(call, task, full=image_content == "full")
    content += [_link(task, image) for image in task.images]
    failed = task.status == "failed" and not is_cancelled(task)
    return types.CallToolResult(content=content, structured_content=task_json(task), is_error=failed)


def task_text(task: TaskData) -> str:
    """Return the state of a task and the next step in one line per image."""
    if task.status == "failed":
        if is_cancelled(task):
            return f"Task {task.id} was cancelled. Nothing was charged."
        return (
            f"Task {task.id} failed: {task.message}. Nothing was charged. Change the arguments if the reason names "
            "them, then create a new task."
        )
    if task.status == "succeed":
        lines = [f"Image {image.index + 1}: {image.url}" for image in task.images]
        count = f"{len(task.images)} image{'' if len(task.images) == 1 else 's'}"
        return "\n".join([f"Task {task.id} succeeded with {count}. {task.units} units were charged.", *lines])
    return f"Task {task.id} is {task.status} ({task.progress:.0%}). Call wait_for_task with this task_id."


async def _images(call: ToolCall, task: TaskData, *, full: bool) -> Sequence[types.ContentBlock]:
    """Return the images of a task, as previews if the original files are too large for a result."""
    previews = _preview_urls(task)
    content: list[types.ContentBlock] = []
    left = MAX_CONTENT_BYTES
    for image in task.images:
        urls = [image.url] if full else []
        for url in [*urls, previews.get(image.index) or image.url]:
            file = await fetch_image(call.client, url, max_base64_bytes=left)
            if file is not None:
                data = base64.b64encode(file.content).decode()
                left -= len(data)
                content.append(types.ImageContent(data=data, mime_type=file.media_type))
                break
    if missing := len(task.images) - len(content):
        content.append(types.TextContent(text=f"{missing} images are too large for this result: use their links."))
    return content


def _preview_urls(task: TaskData) -> dict[int, str]:
    """Return the URLs of the previews, which Framehouse adds to its response, by index."""
    result = task.raw.get("task_result") or {}
    entries = [*(result.get("images") or []), *(result.get("series_images") or [])]
    return {entry["index"]: entry["preview_url"] for entry in entries if "preview_url" in entry}


def _link(task: TaskData, image: ImageData) -> types.ResourceLink:
    name = f"{task.id}-{image.index + 1}"
    return types.ResourceLink(uri=image.url, name=name, title=f"Image {image.index + 1}", mime_type="image/*")
