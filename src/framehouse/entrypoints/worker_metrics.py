"""Where a worker, which serves nothing else, tells its figures: GET /metrics."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from framehouse.adapters.telemetry import metrics

_PATH = "/metrics"
_MOST_HEAD_BYTES = 16 * 1024
_LIMIT_S = 5.0
_MOST_AT_ONCE = 16


@asynccontextmanager
async def telling(listening: socket.socket | None) -> AsyncIterator[None]:
    """Tell them on an open socket while this is open; nobody where there is none."""
    if listening is None:
        yield
        return
    places = asyncio.Semaphore(_MOST_AT_ONCE)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            async with asyncio.timeout(_LIMIT_S):
                head = await reader.readuntil(b"\r\n\r\n")
                async with places:  # taken by who asks: many who never do must not keep Prometheus out
                    writer.write(_answer(head))
                    await writer.drain()
                writer.close()
                await writer.wait_closed()
        writer.transport.abort()  # no place for who never asks, or never reads

    server = await asyncio.start_server(answer, sock=listening, limit=_MOST_HEAD_BYTES)
    try:
        yield
    finally:
        server.close()


def _answer(head: bytes) -> bytes:
    method, _, rest = head.partition(b" ")
    path = rest.partition(b" ")[0].partition(b"?")[0]
    status, type, body = b"404 Not Found", b"text/plain", b"there is only " + _PATH.encode() + b"\n"
    if path == _PATH.encode():
        status, type, body = b"200 OK", metrics.CONTENT_TYPE.encode(), metrics.whole_text("worker").encode()
        if method not in (b"GET", b"HEAD"):
            status, type, body = b"405 Method Not Allowed", b"text/plain", b"GET is allowed\n"
    lines = [b"HTTP/1.1 " + status, b"Content-Type: " + type, b"Content-Length: %d" % len(body), b"Connection: close"]
    return b"\r\n".join([*lines, b"", b"" if method == b"HEAD" else body])
