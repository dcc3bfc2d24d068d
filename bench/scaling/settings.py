"""Measure the effect of settings of PostgreSQL and of its tables on the cost of a task.

Groups of tasks are accepted, claimed, renewed ten times and settled, and as many old tasks are deleted. The tables have
300,000 old tasks. After each checkpoint, the first change of a page writes the whole page to the WAL; therefore rare
checkpoints are cheap.
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
from scaling.counters import Cost, Meter, embedded_database
from scaling.filling import create_accounts, fill, new_task
from scaling.statements import LEASE, RETENTION, ROUTES

GROUP, RENEWALS = 8, 10
SPARSE_INDEX = "drop index tasks_owned; create index tasks_owned on tasks (owner) where owner is not null"
FILLFACTOR_70 = "alter table tasks set (fillfactor = 70); alter table shots set (fillfactor = 70)"
CLAIM_INDEX = "drop index batches_claimed; create index batches_claimed on batches (claim) where claim is not null"
BATCHES_FILLFACTOR_50 = "alter table batches set (fillfactor = 50)"
OWNED_AND_FILLFACTOR = f"{SPARSE_INDEX}; {FILLFACTOR_70}"
CLAIM_AND_FILLFACTOR = f"{CLAIM_INDEX}; {BATCHES_FILLFACTOR_50}"
VARIANTS: dict[str, tuple[dict[str, str], str, int]] = {
    "a checkpoint every 500 tasks": ({}, "", 8),
    "every 2,000 tasks": ({}, "", 2),
    "every 4,000 tasks": ({}, "", 1),
    "every 2,000 tasks, wal_compression": ({"wal_compression": "on"}, "", 2),
    "every 2,000 tasks, fillfactor 70": ({}, FILLFACTOR_70, 2),
    "every 2,000 tasks, tasks_owned without the status": ({}, SPARSE_INDEX, 2),
    "every 2,000 tasks, tasks_owned and fillfactor 70": ({}, OWNED_AND_FILLFACTOR, 2),
    "every 2,000 tasks, batches_claimed on the claim, fillfactor 50": ({}, CLAIM_AND_FILLFACTOR, 2),
    "every 2,000 tasks, all of these changes": ({}, f"{OWNED_AND_FILLFACTOR}; {CLAIM_AND_FILLFACTOR}", 2),
}
"""The settings of the server, the changes of the tables, and the number of checkpoints during the measurement."""


def measure(quick: bool) -> dict[str, Cost]:
    costs = {}
    rows, tasks = (20_000, 160) if quick else (300_000, 4000)
    for name, (settings, changes, checkpoints) in VARIANTS.items():
        with embedded_database(**settings) as (server, data_dir):
            costs[name] = asyncio.run(_measure(server, data_dir, changes, checkpoints, rows, tasks))
        print(f"    {name}", flush=True)
    return costs


async def _measure(
    server: EmbeddedPostgres, data_dir: Path, changes: str, checkpoints: int, rows: int, tasks: int
) -> Cost:
    await migrate(server.url)
    connection = await asyncpg.connect(server.url)
    db = Database(server.url, size=1)
    await db.open()
    try:
        for statement in filter(None, changes.split("; ")):
            await connection.execute(statement)
        await create_accounts(connection, 1000)
        await fill(connection, rows=rows, accounts=1000, expired=rows * 8 // 10)
        meter = Meter(data_dir, db)
        return await meter.cost_per_unit(tasks, lambda: _run_tasks(db, connection, tasks, tasks // checkpoints))
    finally:
        await db.close()
        await connection.close()


async def _run_tasks(
    db: Database, connection: "asyncpg.Connection[asyncpg.Record]", tasks: int, tasks_per_checkpoint: int
) -> None:
    for number in range(0, tasks, GROUP):
        if number % tasks_per_checkpoint < GROUP:
            await connection.execute("checkpoint")
        await accept_tasks(db, [new_task(1 + int(1000 * random.random() ** 3)) for _ in range(GROUP)])
        batches = await batch_queue.claim_batches(db, worker=1, limit=GROUP, lease=LEASE, routes=ROUTES)
        for _ in range(RENEWALS):
            await batch_queue.renew_leases(db, {batch.id: (batch.claim, 0.5) for batch in batches}, LEASE)
        await _settle(db, batches)
        await delete_old_tasks(db, timedelta(days=1), GROUP)


async def _settle(db: Database, batches: Sequence[batch_queue.Claimed]) -> None:
    for batch in batches:
        key = f"images/{batch.task_id}/0.png"
        shot = batch_queue.StoredShot(0, "diffusers", key, "", "image/png", 1024, 1024)
        assert await batch_queue.settle_shot(db, batch.task_id, batch.id, batch.claim, shot, RETENTION) == "succeeded"
