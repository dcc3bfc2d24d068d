"""Receivers of callbacks on real sockets, some of which misbehave."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from standardwebhooks import Webhook

Behaviour = Callable[["Receiver", asyncio.StreamWriter], Awaitable[None]]


@dataclass
class ReceivedCallback:
    """A received callback."""

    headers: dict[str, str]
    body: bytes

    @property
    def data(self) -> dict[str, Any]:
        loaded: dict[str, Any] = json.loads(self.body)
        return loaded

    def verify(self, secret: str) -> None:
        """Verify the signature with the unmodified package `standardwebhooks`. Raises WebhookVerificationError."""
        Webhook(secret).verify(self.body, self.headers)


@dataclass
class Receiver:
    """The received callbacks, and the next answers.

    `answers` are status lines, one per callback; when the list is empty, every answer is 200.
    """

    answers: list[str] = field(default_factory=list)
    received: list[ReceivedCallback] = field(default_factory=list)
    connections: int = 0
    url: str = ""


async def answer(receiver: Receiver, writer: asyncio.StreamWriter) -> None:
    status = receiver.answers.pop(0) if receiver.answers else "200 OK"
    writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())


async def hang(receiver: Receiver, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(3600)


async def drip(receiver: Receiver, writer: asyncio.StreamWriter) -> None:
    """Send one byte per second."""
    for byte in b"HTTP/1.1 200 OK\r\n" + b"X-Slow: yes\r\n" * 50:
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(1)


async def flood(receiver: Receiver, writer: asyncio.StreamWriter) -> None:
    """Answer 200 and then send an endless body."""
    writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
    while True:
        writer.write(b"x" * 1_000_000)
        await writer.drain()


async def endless_headers(receiver: Receiver, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"X-More: " + b"x" * 10_000 + b"\r\n")
        await writer.drain()


async def nonsense(receiver: Receiver, writer: asyncio.StreamWriter) -> None:
    writer.write(b"SSH-2.0-OpenSSH_9.9\r\n")


async def cut(receiver: Receiver, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


@asynccontextmanager
async def receiving(*answers: str, behave: Behaviour = answer, hung: bool = False) -> AsyncIterator[Receiver]:
    """Run a receiver on a free loopback port. If `hung`, it accepts connections but reads and sends nothing."""
    receiver = Receiver(list(answers))
    open_writers: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        receiver.connections += 1
        open_writers.add(writer)
        try:
            if hung:
                await asyncio.sleep(3600)
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in head[1:] if line)}
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            receiver.received.append(ReceivedCallback(headers, body))
            await behave(receiver, writer)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            open_writers.discard(writer)
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    receiver.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"
    try:
        yield receiver
    finally:
        server.close()
        for writer in list(open_writers):
            writer.transport.abort()
        await asyncio.sleep(0)
