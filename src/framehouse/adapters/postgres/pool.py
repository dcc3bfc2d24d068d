"""A connection pool. It retries a statement if the connection is lost, for example when Postgres restarts."""

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
"""The maximum time for which packets on a connection may stay unacknowledged by the machine of the database server, in
seconds. After this time, this process closes the connection."""
_CLIENT_TIMEOUT_S = 20
"""The maximum time for which packets of a session may stay unacknowledged by this machine, in seconds. After this time,
the database server ends the session and releases the locks of the session.

After the locks are released, other processes take over the work of this process. This process must detect the failed
connection before that, so this value is larger than `_SERVER_TIMEOUT_S`.
"""
CONNECTION_ERRORS = (
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.DeadlockDetectedError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # raised if the server dies between two statements, which asyncpg does not expect
    OSError,
)
"""The errors of the connection or the database server. These errors are not caused by the statement, so a retry can
succeed."""


class DatabaseUnavailable(Exception):
    """Raised when Postgres is unavailable: retries of the statement have failed, or a retry cannot help."""


DATABASE_ERRORS = (DatabaseUnavailable, asyncpg.PostgresError)
"""The errors that a loop must catch in order to run until the process stops."""
STATEMENT_ERRORS = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError, asyncpg.SyntaxOrAccessError)
"""The errors of the statement itself, for which a retry cannot help. All other errors of the database server are
temporary, or have a cause that an operator can fix."""
_RELEASE_TIMEOUT_S = 2.0
"""The time limit for the database server to cancel a statement whose caller was cancelled, in seconds."""


@cache
def sql(name: str) -> str:
    """Return the statement in sql/<name>.sql."""
    return (files(__package__) / "sql" / f"{name}.sql").read_text()


def storable_text(message: str) -> str:
    """Return the message in a form that the database can store.

    Unprintable characters are replaced with spaces, and the message is truncated to 1000 characters.
    """
    return "".join(c if c.isprintable() else " " for c in message[:_MAX_TEXT_CHARACTERS])


async def _skip_reset(_connection: object) -> None:
    """Do nothing. This function replaces asyncpg's function that resets a session after each use.

    A reset would add a round trip to every statement. No statement leaves state in a session, so no reset is needed.
    """


_Session: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


async def set_tcp_timeouts(connection: _Session, *, pooled: bool = False) -> None:
    """Set timeouts at both ends of a new connection. These timeouts detect a network that drops all packets.

    Without timeouts, a process that waits for the result of a statement would detect such a failure only after two
    minutes. Between two statements, the process would never detect the failure. The database server would keep the
    session and its locks for hours. A long statement does not cause a timeout, because a live machine acknowledges
    packets even while it executes a statement.

    If `pooled` is true, timeouts are set only at this end, because the pooler is responsible for its own connections to
    the database server.
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

    A statement may have been committed before the connection was lost, so it can run twice. Every statement must
    therefore be safe to run twice.

    If `url` is the address of a pooler such as PgBouncer, `direct_url` must be the address of the database server
    itself. LISTEN and session-level locks use `direct_url`. If a pooler is used, prepared statements are not cached,
    because the next statement may run in another session.
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
            statement_cache_size=0 if pooled else 100,  # with size 0, the server parses a statement at every execution
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

        Pass the values of `:name` parameters by name, and the values of `$1` parameters in order.
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
                    connection.terminate()  # otherwise, the pool would reuse this inconsistent connection
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
        """Listen on channels until the caller is cancelled.

        Calls the function of a channel with the payload of each notification. The connection does not belong to the
        pool, and is reopened if it is lost. `lock` is an advisory lock that the connection holds. Whenever the
        connection has been opened or reopened, each function is also called with an empty payload, because
        notifications may have been missed.
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
