"""What a client may hold at the socket: no slow heads, no endless ones, no answers that nobody reads, no last place.

uvicorn bounds none of these. Bodies have their own limits, in body.py.
"""

import asyncio
import logging
import socket
import struct
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from framehouse.entrypoints.api.envelope import raw_failure
from framehouse.entrypoints.api.security_headers import GuardedAnswers

log = logging.getLogger(__name__)
MAX_HEAD_BYTES = 64 * 1024
_MOST_CONNECTIONS = 10_000
_LEAST_OTHER_FILES, _OTHER_FILES = 48, 256
_TELL_EVERY_S = 60.0


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """`at_once`: open connections of one process; the next one takes the place of whoever has waited longest without
    a request. `head_s`: from connecting, or from the last answer, until a request's head is whole. `unread_s`: how long
    nothing of an answer could be sent on. `linger_s`: how long the rest of a body is taken in, and dropped, after its
    answer: who is cut off while he sends may never see the answer."""

    at_once: int = _MOST_CONNECTIONS
    head_s: float = 20.0
    unread_s: float = 60.0
    linger_s: float = 5.0
    look_s: float = 1.0


def limits_for(open_files: int) -> ConnectionLimits:
    """As many connections as so many open files allow, with the database, pictures and large bodies beside them."""
    others = max(_LEAST_OTHER_FILES, min(_OTHER_FILES, open_files // 4))
    return ConnectionLimits(at_once=max(16, min(_MOST_CONNECTIONS, open_files - others)))


def server_config(app: ASGIApp, limits: ConnectionLimits, *, stop_s: float) -> uvicorn.Config:
    """How the API is served: by these connections, with guarded answers, by a server that says nothing of itself."""
    return uvicorn.Config(
        GuardedAnswers(app),
        http=partial(_Connection, _Room(limits)),  # type: ignore[arg-type] # called like the class
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=max(1, round(stop_s)),
    )


class _Refusal(NamedTuple):
    """An answer to what is no request: the contract's code in its envelope, and the connection ends."""

    status: int
    code: int
    message: str


_NOT_HTTP = _Refusal(400, 1200, "this is not a valid HTTP request")
_TWO_HOSTS = _Refusal(400, 1200, "the request has more than one Host header")
_TOO_LARGE = _Refusal(431, 1200, f"the request's head is too large; at most {MAX_HEAD_BYTES:,} bytes are allowed")
_TOO_SLOW = _Refusal(408, 1200, "the request's head arrives too slowly")
_FULL = _Refusal(503, 5001, "too many connections, try again")


class _Room:
    """All connections of one server, and which of them wait for a request, longest first."""

    def __init__(self, limits: ConnectionLimits) -> None:
        self.limits = limits
        self.waiting: dict[_Connection, None] = {}
        self._all: set[_Connection] = set()
        self._told_at = float("-inf")
        self._looking = False

    def enter(self, connection: "_Connection") -> bool:
        """Whether there is a place, be it that of one that only waits."""
        if full := len(self._all) >= self.limits.at_once:
            if time.monotonic() > self._told_at + _TELL_EVERY_S:
                self._told_at = time.monotonic()
                log.warning("%d connections are open, no more are allowed: the idlest are closed", len(self._all))
            if self.waiting:
                longest = next(iter(self.waiting))
                longest.end()
                self.leave(longest)
                full = False
        if not self._looking:
            self._looking = True
            connection.loop.call_later(self.limits.look_s, self._look, connection.loop)
        self._all.add(connection)
        return not full

    def leave(self, connection: "_Connection") -> None:
        self._all.discard(connection)
        self.waiting.pop(connection, None)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        now = time.monotonic()
        for connection in list(self._all):
            connection.look(now)
        self._looking = bool(self._all)
        if self._looking:
            loop.call_later(self.limits.look_s, self._look, loop)


class _Connection(HttpToolsProtocol):
    """uvicorn's connection, with limits. One look a second, over all of them, replaces timers for each."""

    def __init__(self, room: _Room, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self._room = room
        self._since = self._moved_at = time.monotonic()
        self._unsent = 0
        self._head_bytes = self._hosts = 0
        self._head_is_whole = False
        self._unseen = 0
        """Bytes that came since the parser last made anything of them: an endless line, or one between two chunks."""
        self._refusal = _NOT_HTTP

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if self._room.enter(self):
            self._wait()
        else:
            self._refuse(_FULL)

    def connection_lost(self, exc: Exception | None) -> None:
        self._room.leave(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._unseen += len(data)
        super().data_received(data)
        if self._unseen > MAX_HEAD_BYTES and not self.transport.is_closing():
            self._refuse(_TOO_LARGE)

    def on_message_begin(self) -> None:
        self._head_bytes = self._hosts = 0
        self._head_is_whole = False
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._head_is_whole:
            return  # a trailer: nothing may be added to a head that was already acted upon
        self._count(len(name) + len(value) + len(": \r\n"))
        if name.lower() == b"host":
            self._hosts += 1
            if self._hosts > 1:
                self._refusal = _TWO_HOSTS
                raise ValueError
        super().on_header(name, value)

    def _count(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > MAX_HEAD_BYTES:
            self._refusal = _TOO_LARGE
            raise ValueError

    def on_headers_complete(self) -> None:
        self._unseen = 0
        self._head_is_whole = True
        self._room.waiting.pop(self, None)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._unseen = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._unseen = 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.cycle.response_complete and not self.transport.is_closing():
            self._wait()

    def _wait(self) -> None:
        self._since = time.monotonic()
        self._room.waiting[self] = None

    def resume_writing(self) -> None:
        self._moved_at = time.monotonic()
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """What the parser cannot read, also in the midst of a body."""
        self._refuse(self._refusal)

    def _refuse(self, refusal: _Refusal) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            if not self.cycle.more_body:  # it came behind a whole request, whose answer ends the connection
                self.cycle.keep_alive = False
                self.flow.pause_reading()
                return
            if self.cycle.response_started:
                self.transport.abort()
                return
        headers, body = raw_failure(refusal.code, refusal.message)
        dated = [(b"content-length", str(len(body)).encode()), (b"connection", b"close")]
        lines = [name + b": " + value for name, value in (*self.server_state.default_headers, *headers, *dated)]
        self.transport.write(STATUS_LINE[refusal.status] + b"\r\n".join((*lines, b"", body)))
        self.transport.close()

    def end(self) -> None:
        """Close, with nothing more to say."""
        if self.transport.get_write_buffer_size():
            self._drop()
        else:
            self.transport.close()

    def _drop(self) -> None:
        """Close, and have the system forget at once what nobody reads, which are megabytes."""
        with suppress(OSError, AttributeError):
            found = self.transport.get_extra_info("socket")
            found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    def look(self, now: float) -> None:
        """End what takes too long."""
        limits, unsent = self._room.limits, self.transport.get_write_buffer_size()
        if not unsent or unsent < self._unsent:
            self._moved_at = now
        self._unsent = unsent
        if now - self._moved_at > limits.unread_s:
            self._drop()
        elif self in self._room.waiting and not self.transport.is_closing():
            lingers = self.cycle is not None and self.cycle.more_body
            if now - self._since > (limits.linger_s if lingers else limits.head_s):
                if self._unseen and not lingers:
                    self._refuse(_TOO_SLOW)
                else:
                    self.end()
