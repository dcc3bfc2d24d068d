"""The tools that read and cancel tasks."""

import mcp_types as types

from framehouse.entrypoints.mcp.api_steps import cancel_task, task_page, task_with_previews
from framehouse.entrypoints.mcp.task_progress import wait_for_task
from framehouse.entrypoints.mcp.tool_arguments import CancelTask, GetTask, ListTasks, WaitForTask
from framehouse.entrypoints.mcp.tool_call import ToolCall, readable_errors
from framehouse.entrypoints.mcp.tool_results import task_json, task_result, task_text


async def wait(call: ToolCall, arguments: WaitForTask) -> types.CallToolResult:
    task = await wait_for_task(call, arguments.task_id, arguments.wait_s)
    return await task_result(call, task, arguments.image_content)


async def get(call: ToolCall, arguments: GetTask) -> types.CallToolResult:
    with readable_errors():
        task = await call.client.run(task_with_previews, arguments.task_id)
    return await task_result(call, task, arguments.image_content)


async def list_tasks(call: ToolCall, arguments: ListTasks) -> types.CallToolResult:
    with readable_errors():
        tasks = await call.client.run(task_page, arguments.page, arguments.page_size)
    text = "\n".join(task_text(task) for task in tasks) or "There are no tasks on this page."
    return types.CallToolResult(
        content=[types.TextContent(text=text)], structured_content={"tasks": [task_json(task) for task in tasks]}
    )


async def cancel(call: ToolCall, arguments: CancelTask) -> types.CallToolResult:
    with readable_errors():
        task = await call.client.run(cancel_task, arguments.task_id)
    return await task_result(call, task, "none")
