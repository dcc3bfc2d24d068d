"""Bare connections to a served API, and the errors that come over them."""

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
    """All that comes until the server ends the connection."""
    got = bytearray()
    async with asyncio.timeout(seconds):
        with contextlib.suppress(ConnectionError):
            while piece := await reader.read(65536):
                got += piece
    return bytes(got)


def refusal(answer: bytes) -> tuple[int, int]:
    """Status and code of an answer in the contract's envelope, which has the headers of all answers."""
    head, _, body = answer.partition(b"\r\n\r\n")
    envelope = json.loads(body)
    assert set(envelope) == {"code", "message", "request_id"}
    for header in (b"x-content-type-options: nosniff", b"cache-control: no-store", b"x-request-id: ", b"date: "):
        assert head.count(header) == 1, head
    assert b"server:" not in head
    return int(head.split()[1]), envelope["code"]
