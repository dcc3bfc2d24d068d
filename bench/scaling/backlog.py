"""What a claim takes while very many batches wait, as after an hour without painters."""

import asyncio
import time

import asyncpg

from framehouse.adapters.postgres import batch_queue
from framehouse.adapters.postgres.embedded import EmbeddedPostgres
from framehouse.adapters.postgres.migrate import migrate
from framehouse.adapters.postgres.pool import Database
from scaling.counters import Spent, database
from scaling.filling import make_accounts
from scaling.statements import LEASE, ROUTES

CLAIMS = 100
_WAIT = """
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


def measure(quick: bool) -> dict[str, Spent]:
    with database() as (server, _):
        return asyncio.run(_measure(server, 20_000 if quick else 250_000))


async def _measure(server: EmbeddedPostgres, most: int) -> dict[str, Spent]:
    await migrate(server.url)
    connection = await asyncpg.connect(server.url)
    db = Database(server.url, size=1)
    await db.open()
    try:
        await make_accounts(connection, 100)
        found: dict[str, Spent] = {}
        waiting = 0
        for number in (2000, most):
            await connection.execute(_WAIT.format(number - waiting), timeout=300)
            if number == most:  # by a plan that was made when few waited; autovacuum makes it anew within minutes
                found[f"claim of 4, {number:,} wait, before analyze"] = await _claim(db)
            await connection.execute("analyze batches")
            found[f"claim of 4, {number:,} wait"] = await _claim(db)
            waiting = number
        return found
    finally:
        await db.close()
        await connection.close()


async def _claim(db: Database) -> Spent:
    began = time.perf_counter()
    for _ in range(CLAIMS):
        assert await batch_queue.claim_batches(db, worker=1, limit=4, lease=LEASE, routes=ROUTES)
    return {"took_s": (time.perf_counter() - began) / CLAIMS}
