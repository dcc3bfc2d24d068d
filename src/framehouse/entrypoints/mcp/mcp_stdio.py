"""MCP over stdio, for programs that start `framehouse mcp` on the user's machine."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from mcp.server.stdio import stdio_server

from framehouse.entrypoints.mcp.mcp_server import build_server
from framehouse.entrypoints.mcp.tool_call import Context, ToolCall
from framehouse_client import AsyncClient

_RETRY_S = 120.0


async def run_stdio(url: str, key: str) -> None:
    """Serve MCP messages from stdin until stdin ends or SIGTERM or SIGINT arrives.

    Tools send requests to the server at `url`. Tasks continue after this process has ended. Raises ValueError if the
    URL or the key is invalid.
    """
    async with AsyncClient(url, key, retry_s=_RETRY_S) as client:

        @asynccontextmanager
        async def open_call(context: Context) -> AsyncIterator[ToolCall]:
            yield ToolCall(client, context, local_files=True, is_stopping=lambda: False)

        server = build_server(open_call, local_files=True)
        serving = asyncio.current_task()
        assert serving
        for number in (signal.SIGTERM, signal.SIGINT):
            # The thread that reads stdin cannot be interrupted, and it would delay the exit until stdin ends.
            asyncio.get_running_loop().add_signal_handler(number, os._exit, 0)
        async with stdio_server() as (read_stream, write_stream):
            await server.run(read_stream, write_stream, server.create_initialization_options())
