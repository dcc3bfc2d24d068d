"""A network that loses everything and tells nobody: the database is missed in time and found again, and forgets in time
who has vanished."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

import asyncpg
import pytest

from framehouse.adapters.postgres import pool
from framehouse.adapters.postgres.pool import Database, DatabaseUnavailable
from tests.hosts.network import network
from tests.support.services import USER, postgres

LOCK = (1718770000, 7)
PATIENCE_S, NOTICED_S = 5.0, 15.0


@pytest.mark.timeout(300)
async def test_both_ends_notice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "_CLIENT_TIMEOUT_S", 7)
    with network(["c"]) as (c,), postgres(c.address, port=5432, prefix=c.within) as server:
        there = await asyncpg.connect(host=str(server.log.parent), port=5432, user=USER, database="framehouse")
        db = Database(server.url(), size=4, retry_for_s=PATIENCE_S)
        await db.open()
        heard: list[str] = []
        listening = asyncio.create_task(db.listen({"news": heard.append}, lock=LOCK))
        try:
            await until(lambda: heard == [""], 10)
            await asyncio.gather(*(db.value("select pg_sleep(0.1)") for _ in range(4)))  # all connections are there
            before = await sessions(there)
            assert len(before) == 5

            c.fall_silent()
            began = time.monotonic()
            # more than there are connections: who waits for one hears of it, too
            answers = await asyncio.gather(*(db.value("select 1") for _ in range(12)), return_exceptions=True)
            assert all(isinstance(answer, DatabaseUnavailable) for answer in answers), answers
            assert time.monotonic() - began < NOTICED_S
            while before & await sessions(there):
                assert time.monotonic() - began < NOTICED_S, "the server keeps sessions of who has vanished"
                await asyncio.sleep(0.1)
            assert not await there.fetch("select 1 from pg_locks where locktype = 'advisory'")

            c.come_back()
            began = time.monotonic()
            while True:
                with suppress(DatabaseUnavailable):
                    assert await db.value("select 1") == 1
                    break
            while "news" not in heard:
                await there.execute("notify news, 'news'")
                await asyncio.sleep(0.05)
            assert time.monotonic() - began < NOTICED_S
            assert await there.fetchval("select count(*) from pg_locks where locktype = 'advisory' and granted") == 1
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
            await db.close()
            await there.close()


async def until(check: Callable[[], bool], seconds: float) -> None:
    async with asyncio.timeout(seconds):
        while not check():  # noqa: ASYNC110 - what is waited for is told by a callback
            await asyncio.sleep(0.01)


async def sessions(there: "asyncpg.Connection[asyncpg.Record]") -> set[int]:
    """Those that came by the network, by their processes."""
    rows = await there.fetch("select pid from pg_stat_activity where client_addr is not null")
    return {row["pid"] for row in rows}


@pytest.mark.timeout(300)
async def test_who_listens_hears_again_after_a_restart_that_nobody_told_of() -> None:
    with network(["c"]) as (c,), postgres(c.address, port=5432, prefix=c.within) as server:
        db = Database(server.url(), size=1)
        await db.open()
        heard: list[str] = []
        listening = asyncio.create_task(db.listen({"news": heard.append}))
        try:
            await until(lambda: heard == [""], 10)
            c.fall_silent()
            server.kill()
            await asyncio.to_thread(c.forget_connections)
            server.start()
            c.come_back()
            async with asyncio.timeout(NOTICED_S):
                while "news" not in heard:
                    await db.rows("notify news, 'news'")
                    await asyncio.sleep(0.1)
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
            await db.close()
