"""Measure a claim while very many batches wait, as after an hour without GPUs."""

import asyncio
import time

import asyncpg

from framehouse.adapters.postgres import batch_queue
from framehouse.adapters.postgres.embedded import EmbeddedPostgres
from framehouse.adapters.postgres.migrate import migrate
from framehouse.adapters.postgres.pool import Database
from scaling.counters import Cost, embedded_database
from scaling.filling import create_accounts
from scaling.statements import LEASE, ROUTES

CLAIMS = 100
_INSERT_WAITING = """
with task as (
    insert into tasks (id, account_id, model, prompt, elements, result_type, image_count, resolution, ratio, watermark,
                       units_reserved)
    select gen_random_uuid(), 1 + n % 100, 'kling-v3-omni', 'a red fox', '{{}}', 'single', 1, '1k', '1:1', false, 8
    from generate_series(1, {}) n returning id
), shot as (
    insert into shots (task_id, index, prompt, framing, seed) select id, 0, 'a red fox', '', 1 from task
)
insert into batches (task_id, model, shot_indexes) select id, 'kling-v3-omni', '{{0}}' from task
"""


def measure(quick: bool) -> dict[str, Cost]:
    with embedded_database() as (server, _):
        return asyncio.run(_measure(server, 20_000 if quick else 250_000))


async def _measure(server: EmbeddedPostgres, max_waiting: int) -> dict[str, Cost]:
    await migrate(server.url)
    connection = await asyncpg.connect(server.url)
    db = Database(server.url, size=1)
    await db.open()
    try:
        await create_accounts(connection, 100)
        costs: dict[str, Cost] = {}
        waiting = 0
        for number in (2000, max_waiting):
            await connection.execute(_INSERT_WAITING.format(number - waiting), timeout=300)
            if number == max_waiting:  # the plan is that for few waiting batches, until autovacuum runs minutes later
                costs[f"claim 4 batches, {number:,} waiting, before analyze"] = await _claim(db)
            await connection.execute("analyze batches")
            costs[f"claim 4 batches, {number:,} waiting"] = await _claim(db)
            waiting = number
        return costs
    finally:
        await db.close()
        await connection.close()


async def _claim(db: Database) -> Cost:
    began = time.perf_counter()
    for _ in range(CLAIMS):
        assert await batch_queue.claim_batches(db, worker=1, limit=4, lease=LEASE, routes=ROUTES)
    return {"time_s": (time.perf_counter() - began) / CLAIMS}
