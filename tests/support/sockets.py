"""Raw TCP servers for fakes, which may cut connections, hang or send invalid answers; and free ports."""

import asyncio
import fcntl
import os
import socket
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def listening(serve: Serve) -> AsyncIterator[str]:
    """The URL of a free loopback port. `serve` handles each connection, which is closed when `serve` returns.

    At the end of the context, all handlers are cancelled.
    """
    handlers: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        handlers.add(task)
        try:
            await serve(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            handlers.discard(task)
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0, limit=2**26)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in list(handlers):
            task.cancel()
        await asyncio.gather(*handlers, return_exceptions=True)


async def refuse_tls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer a connection without TLS, so that a TLS handshake fails immediately."""
    await reader.read(1)
    writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
    await writer.drain()


async def read_head(reader: asyncio.StreamReader) -> tuple[str, str, dict[str, str]]:
    """Read the head of the next request. Returns the method, the target and the headers by lower-case name."""
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, target, _ = lines[0].split(" ")
    return method, target, {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:] if line)}


_PORTS = range(20_000, 32_000)
"""These ports are below the range that Linux and macOS use for outgoing connections. Otherwise, a connection could take
a port after it was chosen and before it is used."""
_reserved: list[IO[bytes]] = []


def free_port() -> int:
    """Reserve a free loopback port for this process. No other test process on this machine gets the same port."""
    folder = Path(tempfile.gettempdir()) / f"framehouse-test-ports-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    first = int.from_bytes(os.urandom(4))  # `random` has the same seed in all processes of a run
    for step in range(len(_PORTS)):
        port = _PORTS[(first + step) % len(_PORTS)]
        reservation = (folder / str(port)).open("ab")
        try:
            fcntl.flock(reservation, fcntl.LOCK_EX | fcntl.LOCK_NB)
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            reservation.close()
            continue
        _reserved.append(reservation)
        return port
    raise AssertionError("no port is free")
