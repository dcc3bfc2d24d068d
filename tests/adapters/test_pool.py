"""Statements outlive the connections that carry them."""

import asyncio

import asyncpg
import pytest

from framehouse.adapters.postgres.pool import Database, DatabaseAway

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
    async with asyncio.timeout(2):
        with pytest.raises(DatabaseAway, match="no room"):
            await db.row("do $$ begin raise exception 'no room' using errcode = 'disk_full'; end $$")
