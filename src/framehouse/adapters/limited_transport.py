"""An httpx transport that limits the number of bytes that a server may send before the end of its response head.

A server may send any number of interim responses (status 1xx) before its response. httpx reads these responses without
a limit, and parsing them would keep the event loop of the worker busy.
"""

import ssl
from collections.abc import Iterable
from typing import Any

import httpcore
import httpx

MAX_HEAD_BYTES = 64 * 1024
_READ_BYTES = 16 * 1024
"""The maximum number of bytes per read of the head. Between two reads, the event loop can run other tasks."""


class HeadTooLarge(Exception):
    """The server sent more than `MAX_HEAD_BYTES` before the end of its response head."""


class LimitedTransport(httpx.AsyncHTTPTransport):
    """A transport for one request. Call `end_head` after the response head has been received."""

    def __init__(self, tls: ssl.SSLContext) -> None:
        super().__init__(verify=tls, trust_env=False)
        self._backend = _LimitedBackend()
        self._pool = httpcore.AsyncConnectionPool(ssl_context=tls, network_backend=self._backend)

    def end_head(self) -> None:
        """Remove the limit on the number of bytes. The caller must then limit the size of the body."""
        self._backend.remaining = None


class _LimitedBackend(httpcore.AsyncNetworkBackend):
    """A network backend that limits the number of received bytes.

    `remaining` is the number of bytes that may still arrive, or None if there is no limit.
    """

    def __init__(self) -> None:
        self._backend = httpcore.AnyIOBackend()
        self.remaining: int | None = MAX_HEAD_BYTES

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        stream = await self._backend.connect_tcp(host, port, timeout, local_address, socket_options)
        return _LimitedStream(stream, self)

    async def sleep(self, seconds: float) -> None:
        await self._backend.sleep(seconds)


class _LimitedStream(httpcore.AsyncNetworkStream):
    def __init__(self, stream: httpcore.AsyncNetworkStream, backend: _LimitedBackend) -> None:
        self._stream = stream
        self._backend = backend

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        if self._backend.remaining is None:
            return await self._stream.read(max_bytes, timeout)
        data = await self._stream.read(min(max_bytes, _READ_BYTES), timeout)
        self._backend.remaining -= len(data)
        if self._backend.remaining < 0:
            raise HeadTooLarge
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> httpcore.AsyncNetworkStream:
        return _LimitedStream(await self._stream.start_tls(ssl_context, server_hostname, timeout), self._backend)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
