"""Clients of the MCP package that are connected to a Framehouse server."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import httpx
import httpx2
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CallToolResult, ImageContent, ResourceLink, TextContent

from mcp import Client
from tests.support.api_server import Api

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
