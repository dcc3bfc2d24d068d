"""A way between two sockets that is cut now and then, in the midst of what is said."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from tests.support.sockets import listening


@asynccontextmanager
async def cutting(port: int, *, share: float) -> AsyncIterator[str]:
    """The URL of a way to a loopback port; of all pieces that go through, this share is the last of its connection."""

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(65536):
            if random.random() < share:
                writer.write(piece[: random.randrange(len(piece))])
                raise ConnectionResetError
            writer.write(piece)
            await writer.drain()
        with suppress(OSError):
            writer.write_eof()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            return
        ways = [asyncio.create_task(pump(reader, far_writer)), asyncio.create_task(pump(far_reader, writer))]
        try:
            await asyncio.gather(*ways)
        finally:
            for way in ways:
                way.cancel()
            far_writer.transport.abort()
            writer.transport.abort()

    async with listening(serve) as url:
        yield url
