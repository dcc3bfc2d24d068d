"""The MCP server: its tools, resources and tasks, independent of the transport."""

import logging
from typing import Any

import mcp_types as types
from mcp.server.context import CallNext, HandlerResult
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError
from pydantic import ValidationError

from framehouse import __version__
from framehouse.adapters.telemetry import metrics
from framehouse.adapters.telemetry.safe_traceback import safe_traceback
from framehouse.entrypoints.mcp import element_resources
from framehouse.entrypoints.mcp.protocol_tasks import add_tasks
from framehouse.entrypoints.mcp.tool_arguments import read_arguments
from framehouse.entrypoints.mcp.tool_call import Context, OpenCall
from framehouse.entrypoints.mcp.tool_errors import ToolFailed
from framehouse.entrypoints.mcp.tool_table import TOOLS, make_tools

log = logging.getLogger(__name__)
_INSTRUCTIONS = (
    "Creates and expands images on a Framehouse server. create_images and expand_image create a task and wait for its "
    "images. If a call is interrupted or its waiting time is over, the task continues on the server: call "
    "wait_for_task with the task_id, and do not create the task again. Each image costs units of the user's account. "
    "Saved elements (characters, products, scenes) are resources. Pass their ids to create_images to show the same "
    "subject in several images."
)


class _Server(Server[Any]):
    """A server that also declares the capability `tasks`, which the package does not support itself."""

    def get_capabilities(self, *args: Any, **options: Any) -> types.ServerCapabilities:
        capabilities = super().get_capabilities(*args, **options)
        if options.get("protocol_version") is None:  # newer versions of the protocol have no such capability
            capabilities.tasks = types.ServerTasksCapability(
                list=types.TasksListCapability(),
                cancel=types.TasksCancelCapability(),
                requests=types.ServerTasksRequestsCapability(
                    tools=types.TasksToolsCapability(call=types.TasksCallCapability())
                ),
            )
        return capabilities


async def _hide_internal_errors(ctx: Context, call_next: CallNext) -> HandlerResult:
    """Log unexpected errors. The package would send their texts to the client."""
    try:
        return await call_next(ctx)
    except (MCPError, ValidationError):
        raise
    except Exception as error:  # noqa: BLE001 - every error becomes a response
        log.error("the MCP request %s failed: %s", ctx.method, safe_traceback(error))  # noqa: TRY400 - the traceback is in the text
        metrics.INTERNAL_ERRORS.inc()
        raise MCPError(types.INTERNAL_ERROR, "internal error") from None


def build_server(open_call: OpenCall, *, local_files: bool) -> Server[Any]:
    """Return the server. `open_call` opens the context of one message.

    With `local_files`, the descriptions of the tools state that images can be paths of files on the client's machine.
    """
    tools = make_tools(local_files=local_files)

    async def list_tools(_context: Context, _params: object) -> types.ListToolsResult:
        return types.ListToolsResult(tools=tools)

    async def call_tool(context: Context, params: types.CallToolRequestParams) -> types.CallToolResult:
        tool = TOOLS.get(params.name)
        if tool is None:
            message = f"there is no tool {params.name[:100]}; the tools are {', '.join(TOOLS)}"
            raise MCPError(types.INVALID_PARAMS, message)
        try:
            arguments = read_arguments(tool.arguments, params.arguments or {})
            async with open_call(context) as call:
                return await tool.run(call, arguments)
        except ToolFailed as error:
            return types.CallToolResult(content=[types.TextContent(text=str(error))], is_error=True)

    async def list_resources(
        context: Context, params: types.PaginatedRequestParams | None
    ) -> types.ListResourcesResult:
        async with open_call(context) as call:
            return await element_resources.list_elements(call.client, params.cursor if params else None)

    async def list_templates(_context: Context, _params: object) -> types.ListResourceTemplatesResult:
        return types.ListResourceTemplatesResult(resource_templates=[element_resources.TEMPLATE])

    async def read_resource(context: Context, params: types.ReadResourceRequestParams) -> types.ReadResourceResult:
        async with open_call(context) as call:
            return await element_resources.read_element(call.client, params.uri)

    server = _Server(
        "framehouse",
        version=__version__,
        title="Framehouse",
        instructions=_INSTRUCTIONS,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
        on_list_resources=list_resources,
        on_list_resource_templates=list_templates,
        on_read_resource=read_resource,
    )
    # This replaces the package's own spans, because the API traces its own requests.
    server.middleware[:] = [_hide_internal_errors]
    add_tasks(server, open_call)
    return server
