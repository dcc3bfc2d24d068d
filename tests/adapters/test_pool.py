"""Statements outlive the connections that carry them."""

import asyncio
import os
import signal
import time

import asyncpg
import pytest

from framehouse.adapters.postgres.pool import Database, DatabaseUnavailable

CUT = "select count(pg_terminate_backend(pid)) from pg_stat_activity where pid <> pg_backend_pid() and datname = $1"


async def test_statements_right_after_a_cut_are_answered(db: Database, database_url: str) -> None:
    """The library meets a connection whose end is half read, and says that it is confused."""
    other = await asyncpg.connect(database_url)
    name = await other.fetchval("select current_database()")
    for _ in range(40):
        await other.fetchval(CUT, name)
        assert await asyncio.gather(*(db.value("select 1") for _ in range(8))) == [1] * 8
    await other.close()


async def test_a_full_disk_is_told_at_once(db: Database) -> None:
    async with asyncio.timeout(8):
        with pytest.raises(DatabaseUnavailable, match="no room"):
            await db.row("do $$ begin raise exception 'no room' using errcode = 'disk_full'; end $$")


async def test_a_server_that_hangs_is_not_waited_for_by_who_gives_up(database_url: str) -> None:
    """Asked to end the statement it says nothing either."""
    db = Database(database_url, size=1)
    await db.open()
    backend = await db.value("select pg_backend_pid()")
    os.kill(backend, signal.SIGSTOP)
    try:
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await db.value("select 1")
        assert time.monotonic() - began < 5
        assert await db.value("select 1") == 1, "by another connection"
    finally:
        os.kill(backend, signal.SIGCONT)
        await db.close()
