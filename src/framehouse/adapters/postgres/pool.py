"""A connection pool that retries a statement if its connection is lost, for example when Postgres restarts."""

from __future__ import annotations

import asyncio
import logging
import random
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from functools import cache, partial
from importlib.resources import files
from typing import Any, NoReturn, TypeAlias

import asyncpg

from framehouse.adapters.postgres.named_parameters import bind

log = logging.getLogger(__name__)
_MAX_TEXT_CHARACTERS = 1000
_SERVER_TIMEOUT_S = 10
"""If the machine of the database server acknowledges no packet for this many seconds, this process closes the
connection."""
_CLIENT_TIMEOUT_S = 20
"""If this machine acknowledges no packet for this many seconds, the database server ends the session and releases its
locks.

The value is larger than `_SERVER_TIMEOUT_S`, so that this process detects the failure before its locks are released.
Other processes take over its work after the locks are released.
"""
CONNECTION_ERRORS = (
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.DeadlockDetectedError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # asyncpg's state is inconsistent if the server dies between two statements
    OSError,
)
"""Errors of the connection or the database server, not of the statement. A retry can succeed."""


class DatabaseUnavailable(Exception):
    """Raised when Postgres is unavailable: retries of the statement have failed, or a retry cannot help."""


DATABASE_ERRORS = (DatabaseUnavailable, asyncpg.PostgresError)
"""The errors that a loop must catch if it must run until the process stops."""
STATEMENT_ERRORS = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError, asyncpg.SyntaxOrAccessError)
"""Errors of the statement itself. A retry cannot help. Other errors of the database server are temporary, or an
operator can fix their cause."""
_RELEASE_TIMEOUT_S = 2.0
"""The time to wait for the database server to cancel a statement whose caller was cancelled, in seconds."""


@cache
def sql(name: str) -> str:
    """Return the statement in sql/<name>.sql."""
    return (files(__package__) / "sql" / f"{name}.sql").read_text()


def storable_text(message: str) -> str:
    """Return the message in a form that the database can store.

    Unprintable characters are replaced with spaces, and the text is truncated to 1000 characters.
    """
    return "".join(c if c.isprintable() else " " for c in message[:_MAX_TEXT_CHARACTERS])


async def _skip_reset(_connection: object) -> None:
    """Do nothing. This function replaces asyncpg's reset of a session, which adds a round trip to every statement.

    The reset is not needed, because no statement leaves state in a session.
    """


_Session: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


async def set_tcp_timeouts(connection: _Session, *, pooled: bool = False) -> None:
    """Set timeouts at both ends of a new connection, to detect a network that silently drops all packets.

    Without timeouts, this process would detect the failure only after two minutes during a statement, and never between
    statements. The database server would keep the session and its locks for hours. A long statement does not cause a
    timeout, because a live machine acknowledges packets even while it executes a statement.

    If `pooled` is true, only this end is configured. The pooler is responsible for its connections to the database
    server.
    """
    transport = connection._transport  # type: ignore[attr-defined]  # asyncpg offers no other access to the socket
    tcp_socket: socket.socket | None = transport.get_extra_info("socket")
    if tcp_socket is None or tcp_socket.family == socket.AF_UNIX:
        return
    tcp_socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    probes = {"TCP_KEEPIDLE": 5, "TCP_KEEPALIVE": 5, "TCP_KEEPINTVL": 2, "TCP_KEEPCNT": 3}
    # macOS has TCP_KEEPALIVE instead of TCP_KEEPIDLE, and no TCP_USER_TIMEOUT
    for name, value in (probes | {"TCP_USER_TIMEOUT": _SERVER_TIMEOUT_S * 1000}).items():
        if option := getattr(socket, name, None):
            tcp_socket.setsockopt(socket.IPPROTO_TCP, option, value)
    if not pooled:
        await connection.execute(
            "set tcp_keepalives_idle = 5; set tcp_keepalives_interval = 5; set tcp_keepalives_count = 4; "
            f"set tcp_user_timeout = '{_CLIENT_TIMEOUT_S}s'"
        )


def _setter(event: asyncio.Event) -> Callable[[object], None]:
    return lambda _connection: event.set()


def _listener(on_message: Callable[[str], None]) -> Callable[[object, int, str, object], None]:
    return lambda _connection, _pid, _channel, payload: on_message(str(payload))


_Connection: TypeAlias = "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"


class Database:
    """A pool of connections. If a connection is lost, its statement is retried for up to `retry_for_s` seconds.

    The statement may have been committed before the connection was lost, so a statement can run twice. Every statement
    must therefore be safe to run twice.

    If `url` is the address of a pooler, `direct_url` must be the address of the database server itself. LISTEN and
    session-level locks use `direct_url`. With a pooler, prepared statements are not cached, because the next statement
    may run in another session.
    """

    def __init__(self, url: str, *, size: int, retry_for_s: float = 10.0, direct_url: str = "") -> None:
        self.url = url
        self.direct_url = direct_url or url
        self._size = size
        self._retry_for_s = retry_for_s
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None

    async def open(self) -> None:
        pooled = self.direct_url != self.url
        self._pool = await asyncpg.create_pool(
            self.url,
            min_size=1,
            max_size=self._size,
            reset=_skip_reset,
            command_timeout=60,
            timeout=10,
            init=partial(set_tcp_timeouts, pooled=pooled),
            statement_cache_size=0 if pooled else 100,  # with 0, every execution parses the statement
        )

    async def close(self) -> None:
        if self._pool is None:
            return
        try:
            async with asyncio.timeout(5):
                await self._pool.close()
        except (*CONNECTION_ERRORS, asyncpg.PostgresError):
            self._pool.terminate()

    async def rows(self, statement: str, /, *values: Any, **named: Any) -> list[asyncpg.Record]:
        """Run a statement and return all rows.

        Pass values by name for `:name` parameters, or in order for `$1` parameters.
        """
        text, values = bind(statement, values, named)
        rows: list[asyncpg.Record] = await self._run(lambda connection: connection.fetch(text, *values))
        return rows

    async def row(self, statement: str, /, *values: Any, **named: Any) -> asyncpg.Record | None:
        text, values = bind(statement, values, named)
        row: asyncpg.Record | None = await self._run(lambda connection: connection.fetchrow(text, *values))
        return row

    async def value(self, statement: str, /, *values: Any, **named: Any) -> Any:
        text, values = bind(statement, values, named)
        return await self._run(lambda connection: connection.fetchval(text, *values))

    async def _run(self, statement: Callable[[_Connection], Awaitable[Any]]) -> Any:
        if self._pool is None:
            raise RuntimeError("the database is not open")
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._retry_for_s
        pause_s = 0.02
        while True:
            try:
                async with asyncio.timeout_at(deadline):  # all connections may be busy, or the server may hang
                    connection = await self._pool.acquire()
                try:
                    return await statement(connection)
                except asyncpg.InternalClientError:
                    connection.terminate()  # otherwise, the pool would reuse the connection
                    raise
                finally:
                    with suppress(TimeoutError):  # after a timeout, the pool has closed the connection
                        await self._pool.release(connection, timeout=_RELEASE_TIMEOUT_S)
            except CONNECTION_ERRORS as error:
                if isinstance(error, ValueError):  # asyncpg's error for a value of the wrong type
                    raise
                if isinstance(error, asyncpg.DiskFullError):  # a retry within seconds cannot help
                    raise DatabaseUnavailable(str(error) or "the database does not respond") from error
                if loop.time() + pause_s > deadline or self._pool.is_closing():
                    raise DatabaseUnavailable(str(error) or "the database does not respond") from error
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.5))
            pause_s = min(pause_s * 2, 1.0)

    async def listen(
        self, channels: Mapping[str, Callable[[str], None]], *, lock: tuple[int, int] | None = None
    ) -> NoReturn:
        """Listen on channels until cancelled. Call a channel's function with the payload of each notification.

        The connection is separate from the pool, and is reopened if it is lost. `lock` is an advisory lock that the
        connection holds. Each function is also called with an empty payload after the connection was opened or
        reopened, because notifications may have been missed.
        """
        pause_s = 0.1
        while True:
            try:
                async with self._connection() as connection:
                    closed = asyncio.Event()
                    connection.add_termination_listener(_setter(closed))
                    if lock:
                        await connection.execute("select pg_advisory_lock($1, $2)", *lock)
                    for channel, on_message in channels.items():
                        await connection.add_listener(channel, _listener(on_message))
                        on_message("")
                    pause_s = 0.1
                    await closed.wait()
                    log.warning("the connection that listens for notifications was lost")
            except (*CONNECTION_ERRORS, asyncpg.PostgresError) as error:
                log.warning("cannot listen for notifications; trying again: %s", error)
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.5))
            pause_s = min(pause_s * 2, 2.0)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[_Session]:
        """Open a separate direct connection, for LISTEN and session-level advisory locks."""
        connection = await asyncpg.connect(self.direct_url, timeout=10)
        try:
            await set_tcp_timeouts(connection)
            yield connection
        finally:
            with suppress(*CONNECTION_ERRORS, asyncpg.PostgresError):
                await connection.close(timeout=2)
