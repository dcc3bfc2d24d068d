"""A TCP proxy that cuts connections at random, in the middle of the data."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from tests.support.sockets import listening


@asynccontextmanager
async def cutting_proxy(port: int, *, cut_probability: float) -> AsyncIterator[str]:
    """The URL of a proxy for a loopback port.

    With `cut_probability`, only a part of a chunk is forwarded, and then its connection is cut.
    """

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(65536):
            if random.random() < cut_probability:
                writer.write(chunk[: random.randrange(len(chunk))])
                raise ConnectionResetError
            writer.write(chunk)
            await writer.drain()
        with suppress(OSError):
            writer.write_eof()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            upstream_reader, upstream_writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            return
        pumps = [asyncio.create_task(pump(reader, upstream_writer)), asyncio.create_task(pump(upstream_reader, writer))]
        try:
            await asyncio.gather(*pumps)
        finally:
            for pump_task in pumps:
                pump_task.cancel()
            upstream_writer.transport.abort()
            writer.transport.abort()

    async with listening(serve) as url:
        yield url
