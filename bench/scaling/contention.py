"""Measure contention: concurrent settles of one account, many listening sessions, and an open transaction."""

import asyncio
import time
from collections.abc import Iterable
from pathlib import Path

import asyncpg

from framehouse.adapters.postgres import batch_queue
from framehouse.adapters.postgres.channels import ENDED_CHANNEL, notify
from framehouse.adapters.postgres.embedded import EmbeddedPostgres
from framehouse.adapters.postgres.migrate import migrate
from framehouse.adapters.postgres.pool import Database
from framehouse.adapters.postgres.task_store import accept_tasks
from scaling.counters import Cost, Meter, embedded_database
from scaling.filling import create_accounts, fill, new_task
from scaling.statements import LEASE, RETENTION, ROUTES

ACCOUNTS, SESSIONS = 64, 16


def measure(quick: bool) -> dict[str, Cost]:
    with embedded_database() as (server, data_dir):
        return asyncio.run(_measure(server, data_dir, 200 if quick else 3000, 1 if quick else 6))


async def _measure(server: EmbeddedPostgres, data_dir: Path, tasks: int, rounds: int) -> dict[str, Cost]:
    await migrate(server.url)
    connection = await asyncpg.connect(server.url)
    one_session, many_sessions = Database(server.url, size=1), Database(server.url, size=SESSIONS)
    await one_session.open()
    await many_sessions.open()
    try:
        await create_accounts(connection, ACCOUNTS)
        await fill(connection, rows=tasks * 10, accounts=ACCOUNTS)
        costs = {}
        for accounts in (1, ACCOUNTS):
            costs[f"settle, {SESSIONS} concurrent, {accounts} accounts"] = await _settle(many_sessions, tasks, accounts)
        costs |= await _notify(server.url, Meter(data_dir, one_session), tasks)
        return costs | await _during_a_long_transaction(server.url, one_session, tasks, rounds)
    finally:
        await one_session.close()
        await many_sessions.close()
        await connection.close()


async def _claim_new_batches(db: Database, tasks: int, accounts: int) -> list[batch_queue.Claimed]:
    batches: list[batch_queue.Claimed] = []
    for start in range(0, tasks, 16):
        await accept_tasks(db, [new_task(1 + (start + n) % accounts) for n in range(16)])
        batches += await batch_queue.claim_batches(db, worker=1, limit=16, lease=LEASE, routes=ROUTES)
    return batches


async def _settle(db: Database, tasks: int, accounts: int) -> Cost:
    """Settle batches in concurrent sessions. Returns the time per task."""
    batches = iter(await _claim_new_batches(db, tasks, accounts))
    began = time.perf_counter()
    await asyncio.gather(*(_settle_all(db, batches) for _ in range(SESSIONS)))
    return {"time_s": (time.perf_counter() - began) / tasks}


async def _settle_all(db: Database, batches: Iterable[batch_queue.Claimed]) -> None:
    for batch in batches:
        shot = batch_queue.StoredShot(0, "diffusers", f"images/{batch.task_id}/0.png", "", "image/png", 1024, 1024)
        await batch_queue.settle_shot(db, batch.task_id, batch.id, batch.claim, shot, RETENTION)


async def _notify(url: str, meter: Meter, times: int) -> dict[str, Cost]:
    """Return the cost of a notification for different numbers of listening sessions."""
    costs = {}
    sessions: list[asyncpg.Connection[asyncpg.Record]] = []
    try:
        for number in (0, 50, 150):
            while len(sessions) < number:
                sessions.append(await asyncpg.connect(url))
                await sessions[-1].add_listener(ENDED_CHANNEL, lambda *_: None)

            async def work() -> None:
                for _ in range(times):
                    await notify(meter.db, ENDED_CHANNEL, "x" * 36)
                await asyncio.sleep(0.5)

            costs[f"notify, {number} sessions listen"] = await meter.cost_per_unit(times, work)
    finally:
        for session in sessions:
            await session.close()
    return costs


async def _during_a_long_transaction(url: str, db: Database, tasks: int, rounds: int) -> dict[str, Cost]:
    """Return the times of statements while a transaction stays open, as that of a backup does.

    The times grow with the number of tasks that run during the transaction.
    """
    costs = {}
    reader = await asyncpg.connect(url)
    try:
        transaction = reader.transaction(isolation="repeatable_read")
        await transaction.start()
        await reader.fetchval("select count(*) from accounts")
        for number in range(rounds):
            await _run_tasks(db, tasks)
            costs[f"after {(number + 1) * tasks:,} tasks during an open transaction"] = await _statement_times(db)
        await transaction.rollback()
        await reader.execute("vacuum")
        costs["after its end and vacuum"] = await _statement_times(db)
        return costs
    finally:
        await reader.close()


async def _run_tasks(db: Database, tasks: int) -> None:
    await _settle_all(db, await _claim_new_batches(db, tasks, 4))


async def _statement_times(db: Database) -> Cost:
    times = {"accept_s": 0.0, "claim_s": 0.0, "settle_s": 0.0}
    for _ in range(50):
        began = time.perf_counter()
        await accept_tasks(db, [new_task(1)])
        accepted = time.perf_counter()
        batches = await batch_queue.claim_batches(db, worker=1, limit=1, lease=LEASE, routes=ROUTES)
        claimed = time.perf_counter()
        await _settle_all(db, batches)
        times["accept_s"] += (accepted - began) / 50
        times["claim_s"] += (claimed - accepted) / 50
        times["settle_s"] += (time.perf_counter() - claimed) / 50
    return times
