"""The connection pool repeats statements after cut connections, and reports full disks and hung servers quickly."""

import asyncio
import os
import signal
import time

import asyncpg
import pytest

from framehouse.adapters.postgres.pool import Database, DatabaseUnavailable

CUT = "select count(pg_terminate_backend(pid)) from pg_stat_activity where pid <> pg_backend_pid() and datname = $1"


async def test_statements_succeed_right_after_all_connections_were_cut(db: Database, database_url: str) -> None:
    """asyncpg raises an internal error if it finds a connection whose last message was only partly read."""
    other = await asyncpg.connect(database_url)
    name = await other.fetchval("select current_database()")
    for _ in range(40):
        await other.fetchval(CUT, name)
        assert await asyncio.gather(*(db.value("select 1") for _ in range(8))) == [1] * 8
    await other.close()


async def test_a_full_disk_is_reported_without_retries(db: Database) -> None:
    async with asyncio.timeout(8):
        with pytest.raises(DatabaseUnavailable, match="the disk is full"):
            await db.row("do $$ begin raise exception 'the disk is full' using errcode = 'disk_full'; end $$")


async def test_a_caller_that_gives_up_does_not_wait_for_a_hung_server(database_url: str) -> None:
    """The hung server process does not answer the request to cancel the statement either."""
    db = Database(database_url, size=1)
    await db.open()
    backend = await db.value("select pg_backend_pid()")
    os.kill(backend, signal.SIGSTOP)
    try:
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await db.value("select 1")
        assert time.monotonic() - began < 30
        assert await db.value("select 1") == 1, "no new connection was opened"
    finally:
        os.kill(backend, signal.SIGCONT)
        await db.close()
