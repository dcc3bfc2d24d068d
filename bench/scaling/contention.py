"""What many at once do to each other: one account's row, a transaction that stays open, listening_sessions for notifications."""

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
from scaling.counters import Meter, Cost, database
from scaling.filling import fill, create_accounts, new_task
from scaling.statements import LEASE, RETENTION, ROUTES

ACCOUNTS, SESSIONS = 64, 16


def measure(quick: bool) -> dict[str, Cost]:
    with database() as (server, data):
        return asyncio.run(_measure(server, data, 200 if quick else 3000, 1 if quick else 6))


async def _measure(server: EmbeddedPostgres, data: Path, tasks: int, rounds: int) -> dict[str, Cost]:
    await migrate(server.url)
    connection = await asyncpg.connect(server.url)
    one, many = Database(server.url, size=1), Database(server.url, size=SESSIONS)
    await one.open()
    await many.open()
    try:
        await create_accounts(connection, ACCOUNTS)
        await fill(connection, rows=tasks * 10, accounts=ACCOUNTS)
        found = {}
        for accounts in (1, ACCOUNTS):
            found[f"settle, {SESSIONS} at once, {accounts} accounts"] = await _settle(many, tasks, accounts)
        found |= await _notify(server.url, Meter(data, one), tasks)
        return found | await _beside_a_long_transaction(server.url, one, tasks, rounds)
    finally:
        await one.close()
        await many.close()
        await connection.close()


async def _held(db: Database, tasks: int, accounts: int) -> list[batch_queue.Claimed]:
    held: list[batch_queue.Claimed] = []
    for at in range(0, tasks, 16):
        await accept_tasks(db, [new_task(1 + (at + n) % accounts) for n in range(16)])
        held += await batch_queue.claim_batches(db, worker=1, limit=16, lease=LEASE, routes=ROUTES)
    return held


async def _settle(db: Database, tasks: int, accounts: int) -> Cost:
    """Seconds between two ends of tasks."""
    held = iter(await _held(db, tasks, accounts))
    began = time.perf_counter()
    await asyncio.gather(*(_settle_all(db, held) for _ in range(SESSIONS)))
    return {"time_s": (time.perf_counter() - began) / tasks}


async def _settle_all(db: Database, held: Iterable[batch_queue.Claimed]) -> None:
    for batch in held:
        made = batch_queue.StoredShot(0, "diffusers", f"images/{batch.task_id}/0.png", "", "image/png", 1024, 1024)
        await batch_queue.settle_shot(db, batch.task_id, batch.id, batch.claim, made, RETENTION)


async def _notify(url: str, meter: Meter, times: int) -> dict[str, Cost]:
    """With so many sessions that listen."""
    found = {}
    listening_sessions: list[asyncpg.Connection[asyncpg.Record]] = []
    try:
        for number in (0, 50, 150):
            while len(listening_sessions) < number:
                listening_sessions.append(await asyncpg.connect(url))
                await listening_sessions[-1].add_listener(ENDED_CHANNEL, lambda *_: None)

            async def work() -> None:
                for _ in range(times):
                    await notify(meter.db, ENDED_CHANNEL, "x" * 36)
                await asyncio.sleep(0.5)

            found[f"notify, {number} listen"] = await meter.cost_per_unit(times, work)
    finally:
        for ear in listening_sessions:
            await ear.close()
    return found


async def _beside_a_long_transaction(url: str, db: Database, tasks: int, rounds: int) -> dict[str, Cost]:
    """Seconds of an accept of one, and of a claim, after so many tasks went by while a backup, say, was reading."""
    found = {}
    reader = await asyncpg.connect(url)
    try:
        transaction = reader.transaction(isolation="repeatable_read")
        await transaction.start()
        await reader.fetchval("select count(*) from accounts")
        for number in range(rounds):
            await _go_by(db, tasks)
            found[f"after {(number + 1) * tasks:,} tasks beside an open transaction"] = await _timed(db)
        await transaction.rollback()
        await reader.execute("vacuum")
        found["after its end, and vacuum"] = await _timed(db)
        return found
    finally:
        await reader.close()


async def _go_by(db: Database, tasks: int) -> None:
    await _settle_all(db, await _held(db, tasks, 4))


async def _timed(db: Database) -> Cost:
    took = {"accept_s": 0.0, "claim_s": 0.0, "settle_s": 0.0}
    for _ in range(50):
        began = time.perf_counter()
        await accept_tasks(db, [new_task(1)])
        accepted = time.perf_counter()
        held = await batch_queue.claim_batches(db, worker=1, limit=1, lease=LEASE, routes=ROUTES)
        claimed = time.perf_counter()
        await _settle_all(db, held)
        took["accept_s"] += (accepted - began) / 50
        took["claim_s"] += (claimed - accepted) / 50
        took["settle_s"] += (time.perf_counter() - claimed) / 50
    return took
