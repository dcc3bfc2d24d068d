"""The table of the MCP tools, with the descriptions that agents read."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import mcp_types as types

from framehouse.entrypoints.mcp import creating_tools, task_tools
from framehouse.entrypoints.mcp.tool_arguments import (
    CancelTask,
    CreateImages,
    ExpandImage,
    GetTask,
    ListTasks,
    ToolArguments,
    WaitForTask,
)
from framehouse.entrypoints.mcp.tool_call import ToolCall
from framehouse.entrypoints.mcp.tool_results import TASK_LIST_SCHEMA, TASK_SCHEMA

_REMOTE_IMAGES = "An image is an http(s) URL, a data: URL or base64 data."
_LOCAL_IMAGES = "An image is a path of a local file, an http(s) URL, a data: URL or base64 data."


@dataclass(frozen=True, slots=True)
class ToolEntry:
    """One tool. `create` creates the task without waiting for it, and is None for tools that create no task."""

    title: str
    description: str
    arguments: type[ToolArguments]
    run: Callable[[ToolCall, Any], Awaitable[types.CallToolResult]]
    annotations: types.ToolAnnotations
    output: dict[str, Any]
    create: Callable[[ToolCall, Any], Awaitable[Any]] | None = None


_READS = types.ToolAnnotations(read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False)
_CREATES = types.ToolAnnotations(
    read_only_hint=False, destructive_hint=False, idempotent_hint=False, open_world_hint=True
)
_CANCELS = types.ToolAnnotations(
    read_only_hint=False, destructive_hint=True, idempotent_hint=True, open_world_hint=False
)

TOOLS: Mapping[str, ToolEntry] = {
    "create_images": ToolEntry(
        "Create images",
        "Create 1 to 9 images, or a series of 2 to 9 related images, from a prompt, and optionally from reference "
        "images and elements. Waits for the images. If they are not ready after wait_s seconds, the result contains "
        "the task_id: then call wait_for_task. Costs units of the account for each image.",
        CreateImages,
        creating_tools.create_images,
        _CREATES,
        TASK_SCHEMA,
        creating_tools.start_images,
    ),
    "expand_image": ToolEntry(
        "Expand an image",
        "Extend an image beyond its edges. At least one of left, right, up and down must be greater than 0, and the "
        "area may grow to at most three times the original. Waits like create_images, and costs units.",
        ExpandImage,
        creating_tools.expand_image,
        _CREATES,
        TASK_SCHEMA,
        creating_tools.start_expansion,
    ),
    "wait_for_task": ToolEntry(
        "Wait for a task",
        "Wait until a task has ended, and return its images. Call it again if the task is not ready after wait_s "
        "seconds. Free of charge.",
        WaitForTask,
        task_tools.wait,
        _READS,
        TASK_SCHEMA,
    ),
    "get_task": ToolEntry(
        "Get a task",
        "Return the state of a task, and its images if it has succeeded, without waiting. Free of charge.",
        GetTask,
        task_tools.get,
        _READS,
        TASK_SCHEMA,
    ),
    "list_tasks": ToolEntry(
        "List tasks",
        "List the tasks of the account, newest first, with the links to their images.",
        ListTasks,
        task_tools.list_tasks,
        _READS,
        TASK_LIST_SCHEMA,
    ),
    "cancel_task": ToolEntry(
        "Cancel a task",
        "Cancel a task that has not ended. Its images are lost, and nothing is charged. A task that has already ended "
        "stays unchanged.",
        CancelTask,
        task_tools.cancel,
        _CANCELS,
        TASK_SCHEMA,
    ),
}


def make_tools(*, local_files: bool) -> list[types.Tool]:
    """Return the descriptions of all tools for clients."""
    images = _LOCAL_IMAGES if local_files else _REMOTE_IMAGES
    return [
        types.Tool(
            name=name,
            title=tool.title,
            description=f"{tool.description} {images}" if tool.create else tool.description,
            input_schema=_schema(tool.arguments),
            output_schema=tool.output,
            annotations=tool.annotations,
            execution=types.ToolExecution(task_support="optional") if tool.create else None,
        )
        for name, tool in TOOLS.items()
    ]


def _schema(arguments: type[ToolArguments]) -> dict[str, Any]:
    """Return the JSON schema without the titles that pydantic adds, because they repeat the names."""
    schema = arguments.model_json_schema()
    schema.pop("title", None)
    schema.pop("description", None)
    for field in schema["properties"].values():
        field.pop("title", None)
    return schema
