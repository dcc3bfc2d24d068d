"""A minimal HTTP server that exposes the metrics of a worker at `/metrics`."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from framehouse.adapters.telemetry import metrics

_PATH = "/metrics"
_MAX_HEAD_BYTES = 16 * 1024
_TIMEOUT_S = 5.0
_MAX_RESPONSES = 16


@asynccontextmanager
async def serve_worker_metrics(listening: socket.socket | None) -> AsyncIterator[None]:
    """Serve the metrics on a listening socket during the `async with` block. Do nothing if `listening` is None."""
    if listening is None:
        yield
        return
    slots = asyncio.Semaphore(_MAX_RESPONSES)

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            async with asyncio.timeout(_TIMEOUT_S):
                head = await reader.readuntil(b"\r\n\r\n")
                # A connection occupies a slot only after its request has arrived, because idle connections must not
                # block Prometheus.
                async with slots:
                    writer.write(_response(head))
                    await writer.drain()
                writer.close()
                await writer.wait_closed()
        writer.transport.abort()  # closes the connection even if the client sent or read nothing

    server = await asyncio.start_server(respond, sock=listening, limit=_MAX_HEAD_BYTES)
    try:
        yield
    finally:
        server.close()


def _response(head: bytes) -> bytes:
    method, _, remainder = head.partition(b" ")
    path = remainder.partition(b" ")[0].partition(b"?")[0]
    status, type, body = b"404 Not Found", b"text/plain", b"the only path is " + _PATH.encode() + b"\n"
    if path == _PATH.encode():
        status, type, body = b"200 OK", metrics.CONTENT_TYPE.encode(), metrics.metrics_text("worker").encode()
        if method not in (b"GET", b"HEAD"):
            status, type, body = b"405 Method Not Allowed", b"text/plain", b"only GET and HEAD are allowed\n"
    lines = [b"HTTP/1.1 " + status, b"Content-Type: " + type, b"Content-Length: %d" % len(body), b"Connection: close"]
    return b"\r\n".join([*lines, b"", b"" if method == b"HEAD" else body])
