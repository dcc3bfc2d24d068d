"""Connections that are lost and come back: every statement here outlives a restart of Postgres."""

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
_MOST_TOLD = 1000
_SILENT_S = 10
"""For how long the server's machine may acknowledge nothing, before a connection is lost."""
_LEFT_ALONE_S = 20
"""For how long the server waits so for us, before it frees what a vanished host held. Longer: others take over then."""
LOST = (
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.DeadlockDetectedError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # its own confusion over a server that dies between two statements
    OSError,
)
"""The connection or the server, not the statement, is at fault: trying again can help."""


class DatabaseAway(Exception):
    """Postgres did not answer for as long as we were willing to wait."""


TROUBLE = (DatabaseAway, asyncpg.PostgresError)
"""What a loop that must go on for ever survives."""
FAULTS = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError, asyncpg.SyntaxOrAccessError)
"""The statement itself is at fault: trying again cannot help. All else of the server's passes, or is set right."""
_LET_GO_S = 2.0
"""For how long a server that does not answer is asked to end a statement that nobody waits for any more."""


@cache
def sql(name: str) -> str:
    """The statement in sql/<name>.sql."""
    return (files(__package__) / "sql" / f"{name}.sql").read_text()


def storable_text(message: str) -> str:
    """Somebody else's words as the database and a caller can bear them."""
    return "".join(c if c.isprintable() else " " for c in message[:_MOST_TOLD])


async def _keep_session(_connection: object) -> None:
    """Nothing here leaves state in a session, and asyncpg's reset costs a round trip per statement (notes, stack)."""


_Session: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


async def notice_silence(connection: _Session, *, pooled: bool = False) -> None:
    """Make both ends of a new connection notice a network that loses everything and tells nobody. Left to themselves
    they wait: we for two minutes with a statement under way, and without one for ever, like the server, which keeps
    the session and its locks for hours. A server that lives acknowledges, however long its statement takes. A pooler's
    own connections are the pooler's to watch."""
    transport = connection._transport  # type: ignore[attr-defined]  # the library has no other way to its socket
    own: socket.socket | None = transport.get_extra_info("socket")
    if own is None or own.family == socket.AF_UNIX:
        return
    own.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    probes = {"TCP_KEEPIDLE": 5, "TCP_KEEPALIVE": 5, "TCP_KEEPINTVL": 2, "TCP_KEEPCNT": 3}
    for name, value in (probes | {"TCP_USER_TIMEOUT": _SILENT_S * 1000}).items():
        if option := getattr(socket, name, None):  # macOS calls the first by the second's name, and lacks the last
            own.setsockopt(socket.IPPROTO_TCP, option, value)
    if not pooled:
        await connection.execute(
            "set tcp_keepalives_idle = 5; set tcp_keepalives_interval = 5; set tcp_keepalives_count = 4; "
            f"set tcp_user_timeout = '{_LEFT_ALONE_S}s'"
        )


def _setter(event: asyncio.Event) -> Callable[[object], None]:
    return lambda _connection: event.set()


def _listener(on_message: Callable[[str], None]) -> Callable[[object, int, str, object], None]:
    return lambda _connection, _pid, _channel, payload: on_message(str(payload))


_Connection: TypeAlias = "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"


class Database:
    """A pool whose statements are tried again when the connection is lost.

    So a statement may have run although its answer never came, and run twice: each one given here must bear that.

    `direct_url` leads past a pooler that `url` leads through: to it goes what lives as long as a session, and no
    statement is prepared for a later one, which may meet another session.
    """

    def __init__(self, url: str, *, size: int, patience_s: float = 10.0, direct_url: str = "") -> None:
        self.url = url
        self.direct_url = direct_url or url
        self._size = size
        self._patience_s = patience_s
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None

    async def open(self) -> None:
        pooled = self.direct_url != self.url
        self._pool = await asyncpg.create_pool(
            self.url,
            min_size=1,
            max_size=self._size,
            reset=_keep_session,
            command_timeout=60,
            timeout=10,
            init=partial(notice_silence, pooled=pooled),
            statement_cache_size=0 if pooled else 100,  # 0: parsed anew by who executes it
        )

    async def close(self) -> None:
        if self._pool is None:
            return
        try:
            async with asyncio.timeout(5):
                await self._pool.close()
        except (*LOST, asyncpg.PostgresError):
            self._pool.terminate()

    async def rows(self, statement: str, /, *values: Any, **named: Any) -> list[asyncpg.Record]:
        """All rows. A statement takes its values by name, for `:name`, or in order, for `$1`."""
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
        end = loop.time() + self._patience_s
        pause_s = 0.02
        while True:
            try:
                async with asyncio.timeout_at(end):  # all may be busy, or waiting for a server that is silent
                    connection = await self._pool.acquire()
                try:
                    return await statement(connection)
                except asyncpg.InternalClientError:
                    connection.terminate()  # or the pool would hand it out again
                    raise
                finally:
                    with suppress(TimeoutError):  # it is closed then
                        await self._pool.release(connection, timeout=_LET_GO_S)
            except LOST as error:
                if isinstance(error, ValueError):  # the library's word for a value that no statement can hold
                    raise
                if isinstance(error, asyncpg.DiskFullError):  # which does not pass in a moment
                    raise DatabaseAway(str(error) or "it does not answer") from error
                if loop.time() + pause_s > end or self._pool.is_closing():
                    raise DatabaseAway(str(error) or "it does not answer") from error
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.5))
            pause_s = min(pause_s * 2, 1.0)

    async def listen(
        self, channels: Mapping[str, Callable[[str], None]], *, lock: tuple[int, int] | None = None
    ) -> NoReturn:
        """Call back with each channel's payloads until cancelled, on a connection of its own that is made anew whenever
        it is lost. `lock` is an advisory lock to hold as long as it lives. Callbacks also run, with an empty payload,
        after each connecting: what was said in between was missed."""
        pause_s = 0.1
        while True:
            try:
                async with self._connection() as connection:
                    gone = asyncio.Event()
                    connection.add_termination_listener(_setter(gone))
                    if lock:
                        await connection.execute("select pg_advisory_lock($1, $2)", *lock)
                    for channel, on_message in channels.items():
                        await connection.add_listener(channel, _listener(on_message))
                        on_message("")
                    pause_s = 0.1
                    await gone.wait()
                    log.warning("the listening connection is lost")
            except (*LOST, asyncpg.PostgresError) as error:
                log.warning("no listening connection: %s", error)
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.5))
            pause_s = min(pause_s * 2, 2.0)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[_Session]:
        """A connection of its own, for what lives as long as a session: LISTEN and advisory locks."""
        connection = await asyncpg.connect(self.direct_url, timeout=10)
        try:
            await notice_silence(connection)
            yield connection
        finally:
            with suppress(*LOST, asyncpg.PostgresError):
                await connection.close(timeout=2)
