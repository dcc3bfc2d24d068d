"""Request bodies: small ones are read and parsed whole, large ones while they arrive, with their pictures in a file."""

import asyncio
import hashlib
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from weakref import WeakValueDictionary

from starlette.requests import ClientDisconnect, Request

from framehouse.adapters.spool import Spool, SpoolFull
from framehouse.adapters.storage import StorageAway
from framehouse.domain.errors import Refused
from framehouse.entrypoints.api.request_headers import find_header
from framehouse.entrypoints.api.streaming_json import (
    LONG_BYTES,
    MAX_SKELETON_BYTES,
    JsonReader,
    TooMuchBesides,
    from_json,
)

_JSON = "application/json"
_FEED_BYTES = 128 * 1024
"""What is decoded at a time, between which others have their turn."""
_SLOWEST_BYTES_PER_S = 32 * 1024
_FREED_BYTES = 4 * 1024 * 1024


def is_small(request: Request) -> bool:
    """Whether the body says of itself that it is one to be parsed whole."""
    length = find_header(request.scope, b"content-length") or ""
    return length.isdecimal() and int(length[:18]) <= LONG_BYTES


@dataclass(frozen=True, slots=True)
class Body:
    """A JSON value, in which strings too long to keep are LongString, and the SHA-256 of the raw bytes if asked for."""

    value: Any
    digest: bytes = b""


class Bodies:
    """Reads the bodies of one process: none larger than `most_bytes`, and only so many large ones at once, half of them
    of one account, so that their memory and temporary files are bounded; the next ones wait unread."""

    def __init__(self, *, most_bytes: int, large_at_once: int = 8, silence_s: float = 30) -> None:
        self._most_bytes = most_bytes
        self._silence_s = silence_s
        self._room = asyncio.Semaphore(large_at_once)
        self._share = max(1, large_at_once // 2)
        self._shares: WeakValueDictionary[int, asyncio.Semaphore] = WeakValueDictionary()
        # glibc gives every freed piece back to the system and asks for it again, which costs more than the decoding,
        # until something larger was freed once; this takes no memory, for it is never written to
        bytearray(_FREED_BYTES)

    @asynccontextmanager
    async def read(self, request: Request, *, account_id: int = 0, digest: bool = False) -> AsyncIterator[Body]:
        """The body of a JSON request; its pictures last as long as the context.

        Raises Refused (1200) for another content type, as soon as it is too large, and for what is no JSON; StorageAway
        where there is no room for temporary files.
        """
        self._check_head(request)
        stream = request.stream()
        since = time.monotonic()
        begin = bytearray()
        try:
            while piece := await self._next(stream, since, len(begin)):
                begin += piece
                self._check_size(len(begin))
                if len(begin) > LONG_BYTES:
                    break
            else:
                yield _whole(bytes(begin), digest)
                return
            share = self._shares.setdefault(account_id, asyncio.Semaphore(self._share))
            async with share, self._room:
                spool = Spool()
                try:
                    since = time.monotonic()  # what it waited for others is not its own slowness
                    yield await self._read_large(begin, stream, since, JsonReader(spool), digest)
                finally:
                    spool.close()
        except ClientDisconnect:
            raise Refused(1200, "the body ended too early") from None

    async def read_small(self, request: Request, *, digest: bool = False) -> Body:
        """As `read`, for what `is_small`."""
        self._check_head(request)
        try:
            async with asyncio.timeout(self._silence_s):
                return _whole(await request.body(), digest)
        except TimeoutError:
            raise Refused(1200, f"the body did not arrive within {self._silence_s:g} s") from None
        except ClientDisconnect:
            raise Refused(1200, "the body ended too early") from None

    def _check_head(self, request: Request) -> None:
        kind = find_header(request.scope, b"content-type")
        if kind is not None and kind != _JSON and kind.split(";")[0].strip().lower() != _JSON:
            raise Refused(1200, f"the Content-Type must be {_JSON}", status=415)
        length = find_header(request.scope, b"content-length") or ""
        if length.isdecimal():
            self._check_size(int(length[:18]))

    async def _read_large(
        self, begin: bytearray, stream: AsyncGenerator[bytes, None], since: float, reader: JsonReader, digest: bool
    ) -> Body:
        hashed = hashlib.sha256()

        def feed(piece: bytes) -> None:
            if digest:
                hashed.update(piece)
            reader.feed(piece)

        size, waiting = len(begin), begin
        try:
            while piece := await self._next(stream, since, size):
                size += len(piece)
                self._check_size(size)
                waiting += piece
                if len(waiting) >= _FEED_BYTES:
                    if reader.in_long_string:
                        feed(bytes(waiting))  # a fraction of a millisecond; a thread and back costs more than that
                    else:
                        await asyncio.to_thread(feed, bytes(waiting))
                    waiting.clear()
            await asyncio.to_thread(feed, bytes(waiting))
            return Body(await asyncio.to_thread(reader.finish), hashed.digest() if digest else b"")
        except TooMuchBesides:
            what = f"the body holds more than {MAX_SKELETON_BYTES:,} bytes besides its pictures"
            raise Refused(1200, what, status=413) from None
        except SpoolFull as error:
            raise StorageAway(str(error)) from error
        except ValueError as error:
            raise _not_json(error) from None

    async def _next(self, stream: AsyncGenerator[bytes, None], since: float, size: int) -> bytes:
        """The next bytes; none at the end. Raises Refused for a body that has stopped arriving, or that has come more
        slowly than anybody's line since `since`."""
        late_s = time.monotonic() - since - self._silence_s
        if late_s > 0 and size < late_s * _SLOWEST_BYTES_PER_S:
            raise Refused(1200, f"the body arrives too slowly; {_SLOWEST_BYTES_PER_S:,} bytes a second are expected")
        try:
            async with asyncio.timeout(self._silence_s):
                while True:
                    piece = await anext(stream, None)
                    if piece is None:
                        return b""
                    if piece:
                        return piece
        except TimeoutError:
            raise Refused(1200, f"nothing of the body arrived for {self._silence_s:g} s") from None

    def _check_size(self, size: int) -> None:
        if size > self._most_bytes:
            what = f"the body is too large; at most {self._most_bytes:,} bytes are allowed"
            raise Refused(1200, what, status=413)


def _whole(raw: bytes, digest: bool) -> Body:
    try:
        return Body(from_json(raw), hashlib.sha256(raw).digest() if digest else b"")
    except ValueError as error:
        raise _not_json(error) if raw else Refused(1200, "the body is not JSON") from None


def _not_json(error: ValueError) -> Refused:
    return Refused(1200, f"the body is not JSON: {error}")
