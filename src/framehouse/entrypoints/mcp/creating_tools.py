"""The tools that create tasks."""

import mcp_types as types

from framehouse.entrypoints.mcp.image_sources import read_image
from framehouse.entrypoints.mcp.task_progress import wait_for_task
from framehouse.entrypoints.mcp.tool_arguments import CreateImages, ExpandImage, WaitOptions
from framehouse.entrypoints.mcp.tool_call import ToolCall, readable_errors
from framehouse.entrypoints.mcp.tool_results import task_result
from framehouse_client.task_request import TaskOptions


async def create_images(call: ToolCall, arguments: CreateImages) -> types.CallToolResult:
    return await _wait(call, await start_images(call, arguments), arguments)


async def expand_image(call: ToolCall, arguments: ExpandImage) -> types.CallToolResult:
    return await _wait(call, await start_expansion(call, arguments), arguments)


async def start_images(call: ToolCall, arguments: CreateImages) -> str:
    """Create the task, and return its id. Raises ToolFailed."""
    images = [read_image(image, local_files=call.local_files) for image in arguments.images]
    with readable_errors():
        task = await call.client.create(
            arguments.prompt,
            images=images,
            elements=arguments.elements,
            n=arguments.n,
            series=arguments.series,
            aspect_ratio=arguments.aspect_ratio,
            resolution=arguments.resolution,
            negative_prompt=arguments.negative_prompt,
            **_options(arguments),
        )
    return str(task.id)


async def start_expansion(call: ToolCall, arguments: ExpandImage) -> str:
    """Create the task, and return its id. Raises ToolFailed."""
    image = read_image(arguments.image, local_files=call.local_files)
    with readable_errors():
        task = await call.client.expand(
            image,
            left=arguments.left,
            right=arguments.right,
            up=arguments.up,
            down=arguments.down,
            prompt=arguments.prompt,
            n=arguments.n,
            **_options(arguments),
        )
    return str(task.id)


def _options(arguments: CreateImages | ExpandImage) -> TaskOptions:
    return TaskOptions(model=arguments.model, seed=arguments.seed, idempotency_key=arguments.idempotency_key)


async def _wait(call: ToolCall, task_id: str, options: WaitOptions) -> types.CallToolResult:
    """Wait for a task. The first notification contains its id, so that a client can continue after a lost response."""
    await call.report(
        0.0, f"Created task {task_id}. If this call is interrupted, call wait_for_task with this task_id."
    )
    return await task_result(call, await wait_for_task(call, task_id, options.wait_s), options.image_content)
