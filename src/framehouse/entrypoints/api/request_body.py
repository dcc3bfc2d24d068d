"""Reads request bodies.

A small body is parsed after it has arrived completely. A large body is parsed while it arrives. The images of a large
body are written to a temporary file.
"""

import asyncio
import hashlib
import time
import zlib
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

from starlette.requests import ClientDisconnect, Request

from framehouse.adapters.account_slots import AccountSlots
from framehouse.adapters.spool import Spool, SpoolFull
from framehouse.adapters.storage import StorageUnavailable
from framehouse.domain.errors import Refused
from framehouse.domain.field_reader import quoted
from framehouse.domain.reference import Content
from framehouse.entrypoints.api.request_headers import find_header
from framehouse.entrypoints.api.streaming_json import (
    LONG_BYTES,
    MAX_SKELETON_BYTES,
    JsonReader,
    SkeletonTooLarge,
    from_json,
    half_surrogate_at,
)

_JSON = "application/json"
_FEED_BYTES = 128 * 1024
"""The approximate size of the pieces in which a large body is decoded. Other requests are served between two pieces."""
_PAUSE_FACTOR = 4
"""The pause after a piece of a large body is the product of this factor, the decoding time of the piece and the number
of other large bodies."""
_MAX_PAUSE_S = 0.05
_MIN_BYTES_PER_S = 32 * 1024
_MALLOC_BLOCK_BYTES = 4 * 1024 * 1024
_BOM = b"\xef\xbb\xbf"
"""The byte order mark of UTF-8. Some clients send it before the JSON text."""
_IDENTITY, _GZIP = ("", "identity", "none"), ("gzip", "x-gzip")


def is_small(request: Request) -> bool:
    """Return whether the Content-Length header specifies a small body. Returns False if there is no such header, or if
    the body is compressed."""
    if find_header(request.scope, b"content-encoding"):
        return False
    length = find_header(request.scope, b"content-length") or ""
    return length.isdecimal() and int(length[:18]) <= LONG_BYTES


@dataclass(frozen=True, slots=True)
class Body:
    """The JSON value of a body. Long strings are LongString objects.

    `digest` is the SHA-256 digest of the body's bytes, or empty if no digest was requested.
    """

    value: Any
    digest: bytes = b""


class BodyReader:
    """A reader for the request bodies of one process.

    `max_bytes` is the maximum size of a body. At most `max_large` large bodies are read at the same time, and at most
    half of this number for the same account. Further large bodies are not read until a slot is free. These limits
    restrict the use of memory and temporary files. `stall_timeout_s` is the maximum time in seconds between two pieces
    of a body, and the maximum time that `read_small` waits for a complete body.
    """

    def __init__(self, *, max_bytes: int, max_large: int = 8, stall_timeout_s: float = 30) -> None:
        self._max_bytes = max_bytes
        self._stall_timeout_s = stall_timeout_s
        self._large_slots = AccountSlots(max_large)
        _keep_freed_blocks()

    @asynccontextmanager
    async def read(self, request: Request, *, account_id: int = 0, digest: bool = False) -> AsyncIterator[Body]:
        """Read the body of a JSON request. The temporary file with its images exists until the `async with` block ends.

        Raises Refused (1200) if the content type is not JSON, or if the body is not JSON or ends too early. Raises
        Refused (1201) if a string of the body contains half of a surrogate pair. Raises Refused (1200) as soon as the
        body is too large or arrives too slowly. For a compressed body, the limits apply to the decompressed bytes.
        Raises StorageUnavailable if the temporary file cannot be written.
        """
        self._check_headers(request)
        stream = _decompressed(request)
        started = time.monotonic()
        received = bytearray()
        try:
            while piece := await self._next(stream, started, len(received)):
                received += piece
                self._check_size(len(received))
                if len(received) > LONG_BYTES:
                    break
            else:
                yield _parse_whole(bytes(received), digest)
                return
            async with self._large_slots.slot(account_id):
                spool = Spool()
                try:
                    started = time.monotonic()  # the time spent waiting for a slot must not count as slow sending
                    yield await self._read_large(received, stream, started, JsonReader(spool), digest)
                finally:
                    spool.close()
        except ClientDisconnect:
            raise Refused(1200, "the body ended too early") from None

    async def read_small(self, request: Request, *, digest: bool = False) -> Body:
        """Read a small body (see `is_small`). Raises Refused (1200) as `read` does."""
        self._check_headers(request)
        try:
            async with asyncio.timeout(self._stall_timeout_s):
                return _parse_whole(await request.body(), digest)
        except TimeoutError:
            raise Refused(1200, f"the body did not arrive within {self._stall_timeout_s:g} s") from None
        except ClientDisconnect:
            raise Refused(1200, "the body ended too early") from None

    @asynccontextmanager
    async def read_whole(self, request: Request, *, account_id: int) -> AsyncIterator[bytes]:
        """Read a JSON body into memory, without parsing it. Raises Refused (1200) as `read` does.

        A large body occupies its slot until the `async with` block ends, which limits the use of memory.
        """
        self._check_headers(request)
        stream, started, received = _decompressed(request), time.monotonic(), bytearray()
        async with AsyncExitStack() as slots:
            try:
                while piece := await self._next(stream, started, len(received)):
                    if len(received) <= LONG_BYTES < len(received) + len(piece):
                        await slots.enter_async_context(self._large_slots.slot(account_id))
                        started = time.monotonic()  # the time spent waiting for a slot must not count as slow sending
                    received += piece
                    self._check_size(len(received))
            except ClientDisconnect:
                raise Refused(1200, "the body ended too early") from None
            yield bytes(received)

    @asynccontextmanager
    async def read_file(
        self, request: Request, *, account_id: int, max_bytes: int | None = None
    ) -> AsyncIterator[Content]:
        """Read a body that is a file. The temporary file exists until the `async with` block ends.

        `max_bytes` is the maximum size of the file. The default is the maximum size of a body.
        The limits on the number of large bodies apply after the first 64 KB. Raises Refused (1200) if the body is too
        large, ends too early or arrives too slowly. Raises StorageUnavailable if the temporary file cannot be written.
        """
        max_bytes = self._max_bytes if max_bytes is None else max_bytes
        spool, size, sha256 = Spool(), 0, hashlib.sha256()
        stream, started = request.stream(), time.monotonic()
        async with AsyncExitStack() as slots:
            slots.callback(spool.close)
            try:
                while piece := await self._next(stream, started, size):
                    if size <= LONG_BYTES < size + len(piece):
                        await slots.enter_async_context(self._large_slots.slot(account_id))
                        started = time.monotonic()  # the time spent waiting for a slot must not count as slow sending
                    size += len(piece)
                    if size > max_bytes:
                        raise Refused(
                            1200, f"the file is too large; at most {max_bytes:,} bytes are allowed", status=413
                        )
                    sha256.update(piece)
                    await asyncio.to_thread(spool.write, piece)
                yield Content(size, sha256.hexdigest(), spool.end_part())
            except ClientDisconnect:
                raise Refused(1200, "the body ended too early") from None
            except SpoolFull as error:
                raise StorageUnavailable(str(error)) from error

    def _check_headers(self, request: Request) -> None:
        content_type = find_header(request.scope, b"content-type")
        if content_type is not None and content_type != _JSON and content_type.split(";")[0].strip().lower() != _JSON:
            raise Refused(1200, f"the Content-Type must be {_JSON}", status=415)
        length = find_header(request.scope, b"content-length") or ""
        if length.isdecimal():
            self._check_size(int(length[:18]))

    async def _read_large(
        self, received: bytearray, stream: AsyncGenerator[bytes, None], started: float, reader: JsonReader, digest: bool
    ) -> Body:
        sha256 = hashlib.sha256()

        if received.startswith(_BOM):
            del received[: len(_BOM)]

        def feed(piece: bytes) -> None:
            if digest:
                sha256.update(piece)
            reader.feed(piece)

        size, pending = len(received), received
        try:
            while piece := await self._next(stream, started, size):
                size += len(piece)
                self._check_size(size)
                pending += piece
                if len(pending) >= _FEED_BYTES:
                    if reader.in_long_string:
                        # not in a thread, because the call is faster than a switch to a thread
                        began = time.perf_counter()
                        feed(bytes(pending))
                        await self._pause(time.perf_counter() - began)
                    else:
                        await asyncio.to_thread(feed, bytes(pending))
                    pending.clear()
            await asyncio.to_thread(feed, bytes(pending))
            return Body(await asyncio.to_thread(reader.finish), sha256.digest() if digest else b"")
        except SkeletonTooLarge:
            message = f"the body without its images is too large; at most {MAX_SKELETON_BYTES:,} bytes are allowed"
            raise Refused(1200, message, status=413) from None
        except SpoolFull as error:
            raise StorageUnavailable(str(error)) from error
        except ValueError as error:
            raise _not_json(error, reader.skeleton) from None

    async def _next(self, stream: AsyncGenerator[bytes, None], started: float, size: int) -> bytes:
        """Return the next bytes of the body, or `b""` at the end of the body.

        `size` is the number of bytes that have arrived so far. Raises Refused if no bytes arrive for `stall_timeout_s`
        seconds. Raises Refused if `size` is less than the minimum rate multiplied by the time since `started`. This
        time does not include the first `stall_timeout_s` seconds.
        """
        counted_s = time.monotonic() - started - self._stall_timeout_s
        if counted_s > 0 and size < counted_s * _MIN_BYTES_PER_S:
            message = f"the body arrived too slowly; at least {_MIN_BYTES_PER_S:,} bytes per second are required"
            raise Refused(1200, message)
        try:
            async with asyncio.timeout(self._stall_timeout_s):
                while True:
                    piece = await anext(stream, None)
                    if piece is None:
                        return b""
                    if piece:
                        return piece
        except TimeoutError:
            raise Refused(1200, f"no bytes of the body arrived for {self._stall_timeout_s:g} s") from None

    async def _pause(self, spent_s: float) -> None:
        """Pause the reading of a large body, so that the event loop can serve other requests.

        `spent_s` is the time in seconds for which the last piece occupied the event loop. A single body is not delayed.
        If several bodies arrive at the same time, their pauses are long enough that all bodies together take less than
        half of the event loop's time.
        """
        await asyncio.sleep(min(spent_s * _PAUSE_FACTOR * (self._large_slots.occupied - 1), _MAX_PAUSE_S))

    def _check_size(self, size: int) -> None:
        if size > self._max_bytes:
            message = f"the body is too large; at most {self._max_bytes:,} bytes are allowed"
            raise Refused(1200, message, status=413)


@cache
def _keep_freed_blocks() -> None:
    """Make glibc keep and reuse the memory blocks of pieces. Further calls in a process have no effect.

    By default, glibc returns the memory block of each piece to the system, and requests a new block for the next piece.
    These system calls take longer than decoding the piece. After a larger block has been freed once, glibc keeps and
    reuses freed blocks. This function allocates and frees such a block. The block uses no physical memory, because
    nothing is written to it. A second block would be filled with zeros, and would use physical memory.
    """
    bytearray(_MALLOC_BLOCK_BYTES)


async def _decompressed(request: Request) -> AsyncGenerator[bytes, None]:
    """Yield the pieces of a request's body. A body that is compressed with gzip is decompressed.

    Raises Refused (1200) if the body is not valid gzip data, or has another encoding.
    """
    encoding = (find_header(request.scope, b"content-encoding") or "").strip().lower()
    if encoding in _IDENTITY:
        async for piece in request.stream():
            yield piece
        return
    if encoding not in _GZIP:
        raise Refused(1200, f"the Content-Encoding must be gzip or identity, not {quoted(encoding)}", status=415)
    decompressor = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        async for piece in request.stream():
            while piece:
                # the limit prevents a small piece from occupying the memory and the event loop
                yield decompressor.decompress(piece, _FEED_BYTES)
                piece = decompressor.unconsumed_tail
                if decompressor.eof and (piece := decompressor.unused_data):
                    decompressor = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    except zlib.error as error:
        raise Refused(1200, "the body is not valid gzip data") from error
    if not decompressor.eof:
        raise Refused(1200, "the body ended too early: its gzip data is not complete")


def _parse_whole(raw: bytes, digest: bool) -> Body:
    text = raw.removeprefix(_BOM)
    try:
        return Body(from_json(text), hashlib.sha256(text).digest() if digest else b"")
    except ValueError as error:
        raise _not_json(error, text) if text else Refused(1200, "the body is not JSON") from None


def _not_json(error: ValueError, text: bytes) -> Refused:
    """Return the error for a text that `from_json` has refused.

    Some clients cut a string within an emoji, and then send half of a surrogate pair. The error then names the field.
    """
    if name := half_surrogate_at(text):
        return Refused(1201, f"{name} contains half of an emoji or of another character; send complete characters")
    return Refused(1200, f"the body is not JSON: {error}")
