"""A response whose body is sent in pieces, and whose status depends on whether the first piece exists."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from framehouse.adapters.postgres.pool import DatabaseUnavailable
from framehouse.adapters.storage import StorageUnavailable
from framehouse.domain.errors import Refused
from framehouse.entrypoints.api.envelope import request_id_of
from framehouse.entrypoints.api.error_responses import error_response
from framehouse.entrypoints.api.openai_errors import OpenAIError, error_to_response

_EXPECTED = (Refused, DatabaseUnavailable, StorageUnavailable)


class TaskFailed(Exception):
    """Raised instead of the first piece if the task has failed."""

    def __init__(self, error: OpenAIError) -> None:
        super().__init__(error.message)
        self.error = error


class CutShort(Exception):
    """Raised after the first piece to close the connection, so that the client repeats the request."""


@dataclass(frozen=True, slots=True)
class PiecesResponse:
    """An ASGI response with HTTP 200 and a body that consists of `pieces`.

    If `pieces` raises an error before the first piece, the response is an error response. After an expected error
    between two pieces, the connection is closed, so the client notices that the body is not complete. `sent` is called
    after the last piece has been sent. If the client disconnects, `pieces` is cancelled.
    """

    request: Request
    pieces: AsyncGenerator[bytes]
    content_type: str
    headers: Mapping[str, str]
    sent: Callable[[], Awaitable[None]]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self.pieces):
            await _until_disconnect(receive, self._send(scope, receive, send))

    async def _send(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            piece = await anext(self.pieces, b"")
        except TaskFailed as failed:
            await error_to_response(self.request, failed.error, self.headers)(scope, receive, send)
            return
        except Exception as error:  # noqa: BLE001 - every error becomes a response
            await error_response(self.request, error)(scope, receive, send)
            return
        headers = {"Content-Type": self.content_type, "X-Request-Id": request_id_of(self.request), **self.headers}
        encoded = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": 200, "headers": encoded})
        try:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            async for piece in self.pieces:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        except (CutShort, *_EXPECTED):
            return
        await send({"type": "http.response.body", "body": b""})
        await self.sent()


async def _until_disconnect(receive: Receive, work: Coroutine[Any, Any, None]) -> None:
    """Await `work`, and cancel it if the client disconnects. The body of the request must have been read."""
    working, listening = asyncio.ensure_future(work), asyncio.ensure_future(_wait_for_disconnect(receive))
    try:
        await asyncio.wait((working, listening), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()
    finally:
        working.cancel()
        listening.cancel()
        await asyncio.gather(working, listening, return_exceptions=True)


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
