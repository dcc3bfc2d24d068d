"""Packet loss without errors: the client and PostgreSQL notice it within a limited time, and the client reconnects."""

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
RETRY_S, NOTICED_S = 5.0, 30.0
pytestmark = pytest.mark.xdist_group("hosts")  # one test process, because the hosts' network exists only once


@pytest.mark.timeout(300)
async def test_client_and_server_notice_that_all_packets_are_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "_CLIENT_TIMEOUT_S", 7)
    with network(["c"]) as (c,), postgres(c.address, port=5432, prefix=c.within) as server:
        local = await asyncpg.connect(host=str(server.log.parent), port=5432, user=USER, database="framehouse")
        db = Database(server.url(), size=4, retry_for_s=RETRY_S)
        await db.open()
        received: list[str] = []
        listening = asyncio.create_task(db.listen({"news": received.append}, lock=LOCK))
        try:
            await wait_until(lambda: received == [""], 60)
            await asyncio.gather(*(db.value("select pg_sleep(0.1)") for _ in range(4)))  # opens all connections
            before = await network_sessions(local)
            assert len(before) == 5

            c.drop_packets()
            began = time.monotonic()
            # more queries than connections: a query that waits for a connection must fail too
            answers = await asyncio.gather(*(db.value("select 1") for _ in range(12)), return_exceptions=True)
            assert all(isinstance(answer, DatabaseUnavailable) for answer in answers), answers
            assert time.monotonic() - began < NOTICED_S
            while before & await network_sessions(local):
                assert time.monotonic() - began < NOTICED_S, "the server keeps the sessions of the lost client"
                await asyncio.sleep(0.1)
            assert not await local.fetch("select 1 from pg_locks where locktype = 'advisory'")

            c.reconnect()
            began = time.monotonic()
            while True:
                with suppress(DatabaseUnavailable):
                    assert await db.value("select 1") == 1
                    break
            while "news" not in received:
                await local.execute("notify news, 'news'")
                await asyncio.sleep(0.05)
            assert time.monotonic() - began < NOTICED_S
            assert await local.fetchval("select count(*) from pg_locks where locktype = 'advisory' and granted") == 1
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
            await db.close()
            await local.close()


async def wait_until(check: Callable[[], bool], seconds: float) -> None:
    async with asyncio.timeout(seconds):
        while not check():  # noqa: ASYNC110 - a callback changes the state
            await asyncio.sleep(0.01)


async def network_sessions(local: "asyncpg.Connection[asyncpg.Record]") -> set[int]:
    """The pids of the sessions that use the network."""
    rows = await local.fetch("select pid from pg_stat_activity where client_addr is not null")
    return {row["pid"] for row in rows}


@pytest.mark.timeout(300)
async def test_a_listener_reconnects_after_an_unnoticed_restart_of_the_server() -> None:
    with network(["c"]) as (c,), postgres(c.address, port=5432, prefix=c.within) as server:
        db = Database(server.url(), size=1)
        await db.open()
        received: list[str] = []
        listening = asyncio.create_task(db.listen({"news": received.append}))
        try:
            await wait_until(lambda: received == [""], 60)
            c.drop_packets()
            server.kill()
            await asyncio.to_thread(c.forget_connections)
            server.start()
            c.reconnect()
            async with asyncio.timeout(NOTICED_S):
                while "news" not in received:
                    await db.rows("notify news, 'news'")
                    await asyncio.sleep(0.1)
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
            await db.close()
