"""Tasks of MCP version 2025-11-25: a client starts a tool as a task, and asks for the result later.

The id of such a task is the id of our task. All states come from the API, so they survive restarts of all processes.
"""

from datetime import datetime
from typing import Any

import mcp_types as types
from mcp.server.context import CallNext, HandlerResult
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS

from framehouse.entrypoints.mcp.api_steps import cancel_task, task_page, task_with_previews
from framehouse.entrypoints.mcp.task_progress import wait_for_task
from framehouse.entrypoints.mcp.tool_arguments import read_arguments
from framehouse.entrypoints.mcp.tool_call import Context, OpenCall
from framehouse.entrypoints.mcp.tool_errors import ToolFailed
from framehouse.entrypoints.mcp.tool_results import is_cancelled, task_result
from framehouse.entrypoints.mcp.tool_table import TOOLS
from framehouse_client.errors import FramehouseError, InvalidRequest, NotFound
from framehouse_client.task_data import TaskData

_VERSION = "2025-11-25"
_RELATED_TASK = "io.modelcontextprotocol/related-task"
_POLL_INTERVAL_MS = 2000
_PAGE_SIZE = 50
_MAX_PAGE = 1000
_FOREVER_S = 365 * 86400.0
_TOOL = "tools/call"


def add_tasks(server: Server[Any], open_call: OpenCall) -> None:
    """Add the methods of tasks, and let clients start the tools that create images as tasks."""

    async def start(ctx: Context, call_next: CallNext) -> HandlerResult:
        """Create the task and return it, if the client calls a tool as a task. Otherwise, continue with the call."""
        params = ctx.params or {}
        if ctx.method != _TOOL or ctx.protocol_version != _VERSION or not isinstance(params.get("task"), dict):
            return await call_next(ctx)
        tool = TOOLS.get(str(params.get("name")))
        if tool is None or tool.create is None:
            raise MCPError(types.METHOD_NOT_FOUND, f"the tool {str(params.get('name'))[:100]} cannot run as a task")
        arguments = params.get("arguments")
        try:
            values = read_arguments(tool.arguments, arguments if isinstance(arguments, dict) else {})
            async with open_call(ctx) as call:
                task_id = await tool.create(call, values)
                return {"task": _task_json(await call.client.run(task_with_previews, task_id))}
        except ToolFailed as error:
            raise MCPError(types.INVALID_PARAMS, str(error)) from error
        except FramehouseError as error:
            raise _protocol_error(error) from error

    async def get(context: Context, params: types.GetTaskRequestParams) -> dict[str, Any]:
        return _task_json(await _run(context, task_with_previews, params.task_id))

    async def cancel(context: Context, params: types.CancelTaskRequestParams) -> dict[str, Any]:
        task = await _run(context, task_with_previews, params.task_id)
        if task.ended:
            raise MCPError(types.INVALID_PARAMS, f"the task {task.id} has already ended and cannot be cancelled")
        return _task_json(await _run(context, cancel_task, params.task_id))

    async def list_tasks(context: Context, params: types.PaginatedRequestParams) -> dict[str, Any]:
        page = _page(params.cursor)
        tasks = await _run(context, task_page, page, _PAGE_SIZE)
        more = {"nextCursor": str(page + 1)} if len(tasks) == _PAGE_SIZE and page < _MAX_PAGE else {}
        return {"tasks": [_task_json(task) for task in tasks]} | more

    async def result(context: Context, params: types.GetTaskPayloadRequestParams) -> dict[str, Any]:
        """Wait until the task has ended, and return what the tool would have returned."""
        _check_version(context)
        try:
            async with open_call(context) as call:
                task = await wait_for_task(call, params.task_id, _FOREVER_S)
                if not task.ended:
                    raise MCPError(types.INTERNAL_ERROR, "the server is stopping; send the same request again")
                payload = await task_result(call, task, "preview")
        except ToolFailed as error:
            raise MCPError(types.INVALID_PARAMS, str(error)) from error
        payload.meta = {_RELATED_TASK: {"taskId": task.id}}
        return payload.model_dump(by_alias=True, mode="json", exclude_none=True)

    async def _run(context: Context, *step: Any) -> Any:
        _check_version(context)
        try:
            async with open_call(context) as call:
                return await call.client.run(*step)
        except FramehouseError as error:
            raise _protocol_error(error) from error

    server.middleware.append(start)
    server.add_request_handler("tasks/get", types.GetTaskRequestParams, get)
    server.add_request_handler("tasks/cancel", types.CancelTaskRequestParams, cancel)
    server.add_request_handler("tasks/list", types.PaginatedRequestParams, list_tasks)
    server.add_request_handler("tasks/result", types.GetTaskPayloadRequestParams, result)


def _check_version(context: Context) -> None:
    """Refuse the methods in newer versions of the protocol, which have a different form of tasks."""
    if context.protocol_version not in HANDSHAKE_PROTOCOL_VERSIONS:
        raise MCPError(types.METHOD_NOT_FOUND, "Method not found", context.method)


def _protocol_error(error: FramehouseError) -> MCPError:
    code = types.INVALID_PARAMS if isinstance(error, InvalidRequest | NotFound) else types.INTERNAL_ERROR
    return MCPError(code, str(error))


def _page(cursor: str | None) -> int:
    if cursor is None:
        return 1
    if not cursor.isdecimal() or not cursor.isascii() or not 1 <= int(cursor[:5]) <= _MAX_PAGE:
        raise MCPError(types.INVALID_PARAMS, "the cursor is unknown; list the tasks without a cursor")
    return int(cursor[:5])


def _task_json(task: TaskData) -> dict[str, Any]:
    """Return a task as the protocol defines it. The server keeps a task at least as long as its images."""
    status = "working"
    if task.status == "succeed":
        status = "completed"
    elif task.status == "failed":
        status = "cancelled" if is_cancelled(task) else "failed"
    return {
        "taskId": task.id,
        "status": status,
        "statusMessage": task.message or f"{task.status}, {task.progress:.0%}",
        "createdAt": _time(task.created_at),
        "lastUpdatedAt": _time(task.updated_at or task.created_at),
        "ttl": None,
        "pollInterval": _POLL_INTERVAL_MS,
    }


def _time(moment: datetime | None) -> str:
    return moment.isoformat() if moment else ""
