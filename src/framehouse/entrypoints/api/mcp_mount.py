"""The MCP app of one API process. The app is opened when the first message arrives."""

import asyncio
from collections.abc import Callable

from starlette.types import ASGIApp

from framehouse.domain.errors import Refused
from framehouse.entrypoints.api.request_body import BodyReader

MAX_MCP_BODY_BYTES = 16 * 1024 * 1024
"""The maximum size of a message. The MCP package keeps a message in memory until the call ends. An image of 10 MB, the
largest allowed reference, has about 14 MB as base64."""


class McpMount:
    """The MCP app, and the reader for the bodies of its messages.

    `open_app` imports the MCP package and returns the app. The import takes more than a second, so it happens in a
    thread, and only in processes that receive messages. `max_body_bytes` is the maximum size of all request bodies.
    """

    def __init__(self, open_app: Callable[[], ASGIApp] | None, *, max_body_bytes: int) -> None:
        self.bodies = BodyReader(max_bytes=min(max_body_bytes, MAX_MCP_BODY_BYTES))
        self._open_app = open_app
        self._opening = asyncio.Lock()
        self._app: ASGIApp | None = None

    async def app(self) -> ASGIApp:
        """Return the app. Raises Refused (1202) if the package mcp is not installed."""
        async with self._opening:
            if self._app is None:
                try:
                    self._app = await asyncio.to_thread(self._open_app) if self._open_app else None
                except ModuleNotFoundError as error:
                    if (error.name or "").partition(".")[0] not in ("mcp", "mcp_types", "framehouse_client"):
                        raise
            if self._app is None:
                advice = "its operator can install the packages: pip install 'framehouse[mcp]' framehouse-client"
                raise Refused(1202, f"this server has no MCP endpoint; {advice}")
            return self._app
