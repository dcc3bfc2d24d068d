"""The ASGI app behind `/mcp`: MCP over streamable HTTP, without sessions.

The process stores nothing between two messages, because several API processes may receive the messages of one client,
and because processes restart.
"""

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import httpx
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from framehouse.entrypoints.mcp.mcp_server import build_server
from framehouse.entrypoints.mcp.tool_call import Context, ToolCall
from framehouse_client import AsyncClient

_MAX_BODY_BYTES = 2**31
"""The API has already checked the size of the body."""


class McpHttpApp:
    """An ASGI app that serves MCP messages by sending requests to the API app in the same process.

    Each of these requests contains the key of the message that caused it, so authentication, rate limits, quotas and
    errors are the same as in the API. `prefix` is the path prefix of the API, such as `/kling`. `is_stopping` returns
    whether the server is stopping.
    """

    def __init__(self, api: ASGIApp, *, prefix: str, is_stopping: Callable[[], bool]) -> None:
        self._transport = _InProcessTransport(api)
        self._is_stopping = is_stopping
        self._prefix = prefix or "/v1"  # the client removes a final /v1, and would replace an empty path
        self._server = build_server(self._open_call, local_files=False)
        # the package would log several lines for each message
        logging.getLogger("mcp").setLevel(logging.ERROR)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # A manager costs little, and one manager per message needs no task that runs as long as the process.
        manager = StreamableHTTPSessionManager(self._server, stateless=True, max_request_body_size=_MAX_BODY_BYTES)
        async with manager.run():
            await manager.handle_request(scope, receive, send)

    @asynccontextmanager
    async def _open_call(self, context: Context) -> AsyncIterator[ToolCall]:
        """Open a client of the API with the key and the address that the MCP client used."""
        request = context.request
        assert isinstance(request, Request)
        url = f"{request.url.scheme}://{request.headers.get('host', '127.0.0.1')}{self._prefix}"
        async with AsyncClient(url, _key_of(request), retry_s=0, transport=self._transport) as client:
            yield ToolCall(client, context, local_files=False, is_stopping=self._is_stopping)


class _InProcessTransport(httpx.ASGITransport):
    """A transport to the API app. The app never redirects its responses to the bucket."""

    def __init__(self, api: ASGIApp) -> None:
        super().__init__(api, raise_app_exceptions=False)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        request.headers["sec-fetch-site"] = "same-origin"
        return await super().handle_async_request(request)

    async def aclose(self) -> None:
        """All clients share the transport, so closing a client does not close it."""


def _key_of(request: Request) -> str:
    """Return the key of a request that the API has already authenticated."""
    header = request.headers.get("authorization", "")
    return header.strip().partition(" ")[2].strip() or request.headers.get("x-api-key", "")
