"""What settings of PostgreSQL and of the tables change in what a task writes: whole lives, with and without each.

Groups of tasks go from acceptance to their end, ten renewals of their leases included, and as many old ones are
deleted, on tables of 300,000. After each checkpoint the first change of a page writes the whole of it: rare checkpoints
are cheap.
"""

import asyncio
import random
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import asyncpg

from framehouse.adapters.postgres import batch_queue
from framehouse.adapters.postgres.embedded import EmbeddedPostgres
from framehouse.adapters.postgres.migrate import migrate
from framehouse.adapters.postgres.pool import Database
from framehouse.adapters.postgres.task_store import accept_tasks, delete_old_tasks
from scaling.counters import Meter, Spent, database
from scaling.filling import fill, make_accounts, new_task
from scaling.statements import LEASE, RETENTION, ROUTES

GROUP, RENEWALS = 8, 10
SPARSE_INDEX = "drop index tasks_owned; create index tasks_owned on tasks (owner) where owner is not null"
ROOM = "alter table tasks set (fillfactor = 70); alter table shots set (fillfactor = 70)"
BY_CLAIM = "drop index batches_claimed; create index batches_claimed on batches (claim) where claim is not null"
BATCH_ROOM = "alter table batches set (fillfactor = 50)"
VARIANTS: dict[str, tuple[dict[str, str], str, int]] = {
    "as it is, a checkpoint every 500 tasks": ({}, "", 8),
    "every 2,000": ({}, "", 2),
    "every 4,000": ({}, "", 1),
    "every 2,000, wal_compression": ({"wal_compression": "on"}, "", 2),
    "every 2,000, fillfactor 70": ({}, ROOM, 2),
    "every 2,000, tasks_owned without the status": ({}, SPARSE_INDEX, 2),
    "every 2,000, both of these": ({}, f"{SPARSE_INDEX}; {ROOM}", 2),
    "every 2,000, batches_claimed by claim, with room": ({}, f"{BY_CLAIM}; {BATCH_ROOM}", 2),
    "every 2,000, all of these": ({}, f"{SPARSE_INDEX}; {ROOM}; {BY_CLAIM}; {BATCH_ROOM}", 2),
}


def measure(quick: bool) -> dict[str, Spent]:
    found = {}
    size = (20_000, 160) if quick else (300_000, 4000)
    for name, (settings, change, checkpoints) in VARIANTS.items():
        with database(**settings) as (server, data):
            found[name] = asyncio.run(_measure(server, data, change, checkpoints, *size))
        print(f"    {name}", flush=True)
    return found


async def _measure(server: EmbeddedPostgres, data: Path, change: str, checkpoints: int, rows: int, tasks: int) -> Spent:
    await migrate(server.url)
    connection = await asyncpg.connect(server.url)
    db = Database(server.url, size=1)
    await db.open()
    try:
        for statement in filter(None, change.split("; ")):
            await connection.execute(statement)
        await make_accounts(connection, 1000)
        await fill(connection, rows=rows, accounts=1000, expired=rows * 8 // 10)
        meter = Meter(data, db)
        return await meter.per_piece(tasks, lambda: _live(db, connection, tasks, tasks // checkpoints))
    finally:
        await db.close()
        await connection.close()


async def _live(db: Database, connection: "asyncpg.Connection[asyncpg.Record]", tasks: int, apart: int) -> None:
    for at in range(0, tasks, GROUP):
        if at % apart < GROUP:
            await connection.execute("checkpoint")
        await accept_tasks(db, [new_task(1 + int(1000 * random.random() ** 3)) for _ in range(GROUP)])
        held = await batch_queue.claim_batches(db, worker=1, limit=GROUP, lease=LEASE, routes=ROUTES)
        for _ in range(RENEWALS):
            await batch_queue.renew_leases(db, {batch.id: (batch.claim, 0.5) for batch in held}, LEASE)
        await _settle(db, held)
        await delete_old_tasks(db, timedelta(days=1), GROUP)


async def _settle(db: Database, held: Sequence[batch_queue.Claimed]) -> None:
    for batch in held:
        made = batch_queue.StoredShot(0, "diffusers", f"images/{batch.task_id}/0.png", "", "image/png", 1024, 1024)
        assert await batch_queue.settle_shot(db, batch.task_id, batch.id, batch.claim, made, RETENTION) == "succeeded"
