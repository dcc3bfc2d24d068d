"""Limits on the number of connections, on the time and size of request heads, and on unread responses.

uvicorn does not have these limits. The head of a request consists of the request line and the headers. The module
request_body.py contains the limits on bodies.
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
from framehouse.entrypoints.api.request_parser import RequestParser
from framehouse.entrypoints.api.security_headers import SecurityHeaders

log = logging.getLogger(__name__)
MAX_HEAD_BYTES = 64 * 1024
_MAX_CONNECTIONS = 10_000
_MIN_OTHER_FILES, _MAX_OTHER_FILES = 48, 256
_WARN_EVERY_S = 60.0


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """The limits of one process. All durations are in seconds.

    `max_connections` is the maximum number of open connections. If a client opens a connection when this limit is
    reached, the connection that has waited longest for a request is closed. If no connection is waiting for a request,
    the new connection is refused. `head_s` is the time within which a client must send the head of a request. This time
    starts when the connection is opened, or when the previous response ends. If a client reads none of its response for
    `unread_s`, the connection is closed. `check_s` is the interval between two checks of all connections.

    If a response is sent before the complete body of the request has arrived, the server continues to read the body for
    up to `linger_s`, and discards it. If the connection were closed while the client was still sending the body, the
    client might not receive the response.
    """

    max_connections: int = _MAX_CONNECTIONS
    head_s: float = 20.0
    unread_s: float = 60.0
    linger_s: float = 5.0
    check_s: float = 1.0


def limits_for(open_files: int) -> ConnectionLimits:
    """Return the limits for a process that may have `open_files` open files.

    Some of these files are reserved for database connections, images and large bodies.
    """
    others = max(_MIN_OTHER_FILES, min(_MAX_OTHER_FILES, open_files // 4))
    return ConnectionLimits(max_connections=max(16, min(_MAX_CONNECTIONS, open_files - others)))


def server_config(app: ASGIApp, limits: ConnectionLimits, *, stop_s: float) -> uvicorn.Config:
    """Return a uvicorn configuration with these limits, security headers on every response, and no `Server` header."""
    return uvicorn.Config(
        SecurityHeaders(app),
        http=partial(_LimitedConnection, _OpenConnections(limits)),  # type: ignore[arg-type] # any callable is accepted
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=max(1, round(stop_s)),
    )


class _Refusal(NamedTuple):
    """An error response that is sent in place of the app's response. The connection is then closed."""

    status: int
    code: int
    message: str


_NOT_HTTP = _Refusal(400, 1200, "this is not a valid HTTP request")
_TWO_HOSTS = _Refusal(400, 1200, "the request has more than one Host header")
_TOO_LARGE = _Refusal(
    431, 1200, f"the request line and the headers are too large; at most {MAX_HEAD_BYTES:,} bytes are allowed"
)
_TOO_SLOW = _Refusal(408, 1200, "the request line and the headers arrived too slowly")
_FULL = _Refusal(503, 5001, "the server has too many connections; try again")


class _OpenConnections:
    """The open connections of a server. `waiting` contains the connections without a request, longest wait first."""

    def __init__(self, limits: ConnectionLimits) -> None:
        self.limits = limits
        self.waiting: dict[_LimitedConnection, None] = {}
        self._all: set[_LimitedConnection] = set()
        self._warned_at = float("-inf")
        self._check_scheduled = False

    def add(self, connection: "_LimitedConnection") -> bool:
        """Add a connection. If the limit is reached, close the connection that has waited longest for a request.

        Returns False if the limit is reached and no connection is waiting for a request. In this case, the calling
        code must refuse the new connection.
        """
        if full := len(self._all) >= self.limits.max_connections:
            if time.monotonic() > self._warned_at + _WARN_EVERY_S:
                self._warned_at = time.monotonic()
                log.warning("the limit of %d connections is reached; idle connections are closed", len(self._all))
            if self.waiting:
                longest = next(iter(self.waiting))
                longest.close()
                self.remove(longest)
                full = False
        if not self._check_scheduled:
            self._check_scheduled = True
            connection.loop.call_later(self.limits.check_s, self._check_all, connection.loop)
        self._all.add(connection)
        return not full

    def remove(self, connection: "_LimitedConnection") -> None:
        self._all.discard(connection)
        self.waiting.pop(connection, None)

    def _check_all(self, loop: asyncio.AbstractEventLoop) -> None:
        now = time.monotonic()
        for connection in list(self._all):
            connection.check(now)
        self._check_scheduled = bool(self._all)
        if self._check_scheduled:
            loop.call_later(self.limits.check_s, self._check_all, loop)


class _LimitedConnection(HttpToolsProtocol):
    """uvicorn's connection class with limits. The connections have no timers. Instead, the server checks the time
    limits of all connections periodically."""

    def __init__(self, open_connections: _OpenConnections, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self.parser: Any = RequestParser(self)
        self._open_connections = open_connections
        self._waiting_since = self._progress_at = time.monotonic()
        self._unsent_bytes = 0
        self._head_bytes = self._host_headers = 0
        self._head_complete = False
        self._unparsed_bytes = 0
        """The number of bytes that have arrived since the parser last completed headers, a piece of a body, or a
        request. An endless header line increases this number beyond MAX_HEAD_BYTES."""
        self._refusal = _NOT_HTTP

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if self._open_connections.add(self):
            self._wait_for_request()
        else:
            self._refuse(_FULL)

    def connection_lost(self, exc: Exception | None) -> None:
        self._open_connections.remove(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._unparsed_bytes += len(data)
        super().data_received(data)
        if self._unparsed_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self._refuse(_TOO_LARGE)

    def on_message_begin(self) -> None:
        self._head_bytes = self._host_headers = 0
        self._head_complete = False
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._count_head_bytes(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._head_complete:
            return  # this line is a trailer; trailers are ignored, because the app has already received the headers
        self._count_head_bytes(len(name) + len(value) + len(": \r\n"))
        if name.lower() == b"host":
            self._host_headers += 1
            if self._host_headers > 1:
                self._refusal = _TWO_HOSTS
                raise ValueError
        super().on_header(name, value)

    def _count_head_bytes(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > MAX_HEAD_BYTES:
            self._refusal = _TOO_LARGE
            raise ValueError

    def on_headers_complete(self) -> None:
        self._unparsed_bytes = 0
        self._head_complete = True
        self._open_connections.waiting.pop(self, None)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._unparsed_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._unparsed_bytes = 0
        if self.parser.should_upgrade():
            # because the request has the header `Upgrade`, httptools has ended the request before parsing its body; see
            # request_parser.py
            return
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.cycle.response_complete and not self.transport.is_closing():
            self._wait_for_request()

    def _wait_for_request(self) -> None:
        self._waiting_since = time.monotonic()
        self._open_connections.waiting[self] = None

    def resume_writing(self) -> None:
        self._progress_at = time.monotonic()
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """Refuse the request. uvicorn calls this method if it cannot parse the head or the body of a request."""
        self._refuse(self._refusal)

    def _refuse(self, refusal: _Refusal) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            if not self.cycle.more_body:  # the previous request is complete; close the connection after its response
                self.cycle.keep_alive = False
                self.flow.pause_reading()
                return
            if self.cycle.response_started:
                self.transport.abort()
                return
        headers, body = raw_failure(refusal.code, refusal.message)
        framing = [(b"content-length", str(len(body)).encode()), (b"connection", b"close")]
        lines = [name + b": " + value for name, value in (*self.server_state.default_headers, *headers, *framing)]
        self.transport.write(STATUS_LINE[refusal.status] + b"\r\n".join((*lines, b"", body)))
        self.transport.close()

    def close(self) -> None:
        """Close the connection without sending a response."""
        if self.transport.get_write_buffer_size():
            self._drop()
        else:
            self.transport.close()

    def _drop(self) -> None:
        """Close the connection and immediately discard its unsent data, which may occupy megabytes of memory."""
        with suppress(OSError, AttributeError):
            connection = self.transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    def check(self, now: float) -> None:
        """Close the connection if it has exceeded one of its time limits."""
        limits, unsent = self._open_connections.limits, self.transport.get_write_buffer_size()
        if not unsent or unsent < self._unsent_bytes:
            self._progress_at = now
        self._unsent_bytes = unsent
        if now - self._progress_at > limits.unread_s:
            self._drop()
        elif self in self._open_connections.waiting and not self.transport.is_closing():
            lingers = self.cycle is not None and self.cycle.more_body
            if now - self._waiting_since > (limits.linger_s if lingers else limits.head_s):
                if self._unparsed_bytes and not lingers:
                    self._refuse(_TOO_SLOW)
                else:
                    self.close()
