"""Raw TCP connections to a served API, and helpers that read its responses."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from tests.support.api_server import Api


@asynccontextmanager
async def connected(api: Api) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", httpx.URL(api.url).port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def until_closed(reader: asyncio.StreamReader, *, seconds: float = 60) -> bytes:
    """Read until the server closes the connection, and return all bytes."""
    received = bytearray()
    async with asyncio.timeout(seconds):
        with contextlib.suppress(ConnectionError):
            while chunk := await reader.read(65536):
                received += chunk
    return bytes(received)


def refusal(answer: bytes) -> tuple[int, int]:
    """Check the envelope and the headers of an error response, and return its status and error code."""
    head, _, body = answer.partition(b"\r\n\r\n")
    envelope = json.loads(body)
    assert set(envelope) == {"code", "message", "request_id"}
    for header in (b"x-content-type-options: nosniff", b"cache-control: no-store", b"x-request-id: ", b"date: "):
        assert head.count(header) == 1, head
    assert b"server:" not in head
    return int(head.split()[1]), envelope["code"]
