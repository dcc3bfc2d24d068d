"""Clients of the MCP package that are connected to a Framehouse server."""

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import httpx
import httpx2
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CallToolResult, ImageContent, ResourceLink, TextContent

from mcp import Client, StdioServerParameters, stdio_client
from tests.support.api_server import Api
from tests.support.command_line import environment

LEGACY, MODERN = "legacy", "auto"
"""The modes of a client: with the handshake of the versions up to 2025-11-25, and without it, as in 2026-07-28."""


@asynccontextmanager
async def http_client(url: str, key: str, mode: str = LEGACY) -> AsyncIterator[Client]:
    """A client over streamable HTTP. `url` is the base URL of the server."""
    headers = {"Authorization": f"Bearer {key}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=httpx2.Timeout(60)) as http,
        Client(streamable_http_client(f"{url}/mcp", http_client=http), mode=mode) as client,
    ):
        yield client


def answer_of(response: httpx.Response) -> Any:
    """The JSON-RPC message of a response, which is JSON or the last server-sent event."""
    if response.headers["content-type"].startswith("application/json"):
        return response.json()
    return json.loads([line for line in response.text.splitlines() if line.startswith("data: ")][-1][6:])


def key_of(client: httpx.AsyncClient) -> str:
    return str(client.headers["Authorization"]).removeprefix("Bearer ")


def text_of(result: CallToolResult) -> str:
    return "\n".join(block.text for block in result.content if isinstance(block, TextContent))


def images_of(result: CallToolResult) -> list[ImageContent]:
    return [block for block in result.content if isinstance(block, ImageContent)]


def links_of(result: CallToolResult) -> list[str]:
    return [block.uri for block in result.content if isinstance(block, ResourceLink)]


def connected_to(
    api: Api, mode: str = LEGACY, *, client: httpx.AsyncClient | None = None
) -> AbstractAsyncContextManager[Client]:
    """A client with the key of `client`, by default alice's."""
    return http_client(api.url, key_of(client or api.alice), mode)


@asynccontextmanager
async def stdio_client_of(url: str, key: str, mode: str = LEGACY) -> AsyncIterator[Client]:
    """A client that starts `framehouse mcp` as a process."""
    parameters = StdioServerParameters(
        command=sys.executable,
        args=["-m", "framehouse", "mcp"],
        env=environment(FRAMEHOUSE_URL=url, FRAMEHOUSE_KEY=key),
    )
    async with Client(stdio_client(parameters), mode=mode) as client:
        yield client


class TaskReport:
    """A progress callback that records the messages, and the id of the task that the first message contains."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        self._task_id: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def __call__(self, progress: float, total: float | None, message: str | None) -> None:
        self.messages.append(str(message))
        if not self._task_id.done():
            self._task_id.set_result(re.findall(r"[0-9a-f-]{36}", str(message))[0])

    async def task_id(self) -> str:
        return await asyncio.wait_for(asyncio.shield(self._task_id), 120)
