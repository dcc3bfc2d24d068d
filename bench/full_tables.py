"""Measure get, list and claim with ten million tasks in the table, compared with ten thousand.

Both embedded servers have the same number of waiting batches. One of them also has ten million ended tasks, 10,000
accounts with waiting batches, and 100,000 postponed batches. The functions of the API and the worker send the measured
statements one after the other on one connection.
"""

import asyncio
import os
import random
import statistics
import time
from collections.abc import Awaitable, Sequence
from datetime import timedelta
from functools import partial

import asyncpg

from framehouse.adapters.postgres import batch_queue
from framehouse.adapters.postgres.embedded import EmbeddedPostgres
from framehouse.adapters.postgres.migrate import migrate
from framehouse.adapters.postgres.pool import Database
from framehouse.adapters.postgres.task_store import find_task, list_tasks
from measuring.comparisons import Figure, median, ratio
from measuring.framehouse_processes import temporary_folder

FEW, MANY = 10_000, int(os.environ.get("FILLED_ROWS", "10000000"))
CALLS, ACCOUNTS, WAITING = 300, 16, 3000
MANY_ACCOUNTS, MANY_POSTPONED = 10_000, 100_000
ROWS_PER_STATEMENT = 500_000

ID = "(lpad(to_hex(1800000000000 - n::bigint * 1000), 12, '0') || '70008' || substr(md5(n::text), 1, 15))::uuid"
"""The ids are sorted by time, as those of real tasks are."""
INSERT_TASKS = f"""
insert into tasks (id, account_id, external_task_id, status, model, prompt, elements, result_type, image_count,
                   images_done, resolution, ratio, watermark, units_reserved, units_charged, created_at, updated_at,
                   ended_at, expires_at)
select {ID}, 1 + n % {ACCOUNTS}, 'order-' || n, 'succeed', 'kling-v3-omni', 'a red fox in the forest', '{{{{}}}}',
       'single', 1, 1, '1k', '1:1', false, 8, 8, created, created, created, now() + interval '30 days'
from generate_series({{first}}, {{last}}) n, lateral (select now() - n * interval '1 second' as created) at
"""
INSERT_SHOTS = f"""
insert into shots (task_id, index, prompt, framing, seed, painted_at, engine, key, media_type, width, height)
select {ID}, 0, 'a red fox in the forest', '', n, now(), 'previz',
       'images/' || md5(n::text) || '/0.png', 'image/png', 1024, 1024
from generate_series({{first}}, {{last}}) n
"""
INSERT_WAITING = """
with task as (
    insert into tasks (id, account_id, model, prompt, elements, result_type, image_count, resolution, ratio, watermark,
                       units_reserved)
    select gen_random_uuid(), 1 + n % {accounts}, 'kling-v3-omni', 'a red fox', '{{}}', 'single', 1, '1k', '1:1',
           false, 8
    from generate_series(1, {count}) n returning id
), shot as (
    insert into shots (task_id, index, prompt, framing, seed) select id, 0, 'a red fox', '', 1 from task
)
insert into batches (task_id, model, shot_indexes, turn, run_at)
select id, 'kling-v3-omni', '{{0}}', {turn}, now() + {pause} from task
"""


async def _fill(url: str, rows: int, *, accounts: int, postponed: int) -> None:
    await migrate(url)
    connection = await asyncpg.connect(url)
    began = time.monotonic()
    await connection.execute(
        "insert into accounts (name, concurrency, callback_secret) "
        f"select 'bench-' || n, 1000000, '' from generate_series(1, {accounts}) n"
    )
    # As during a restore, foreign keys are not checked, and commits do not wait for the disk.
    await connection.execute("set session_replication_role = replica; set synchronous_commit = off")
    for first in range(1, rows + 1, ROWS_PER_STATEMENT):
        last = min(first + ROWS_PER_STATEMENT - 1, rows)
        await connection.execute(INSERT_TASKS.format(first=first, last=last), timeout=1200)
        await connection.execute(INSERT_SHOTS.format(first=first, last=last), timeout=1200)
        print(f"\r    {last:,} tasks, {time.monotonic() - began:.0f} s", end="", flush=True)
    print()
    for count, turn, pause in (
        (WAITING, "row_number() over ()", "interval '0'"),
        (postponed, "null", "interval '1 day'"),
    ):
        statement = INSERT_WAITING.format(accounts=accounts, count=count, turn=turn, pause=pause)
        await connection.execute(statement, timeout=1200)
    await connection.execute("vacuum analyze", timeout=3600)
    await connection.close()


class _Table:
    """The measured statements on one of the two servers."""

    def __init__(self, url: str) -> None:
        self.db = Database(url, size=1)
        self._recent: list[tuple[int, str]] = []

    async def open(self) -> None:
        """Connect, and run every statement once, so that frequently used pages are in memory as on a real server."""
        await self.db.open()
        for account in range(1, ACCOUNTS + 1):
            tasks = await list_tasks(self.db, account, limit=500, offset=0)
            self._recent += [(account, str(task.id)) for task in tasks]
        for statement in (self.get, self.list, self.claim):
            await statement()

    async def get(self) -> float:
        return await _median([find_task(self.db, *task) for task in random.sample(self._recent, CALLS)])

    async def list(self) -> float:
        return await _median([list_tasks(self.db, 1 + n % ACCOUNTS, limit=30, offset=0) for n in range(CALLS)])

    async def claim(self) -> float:
        lease = timedelta(seconds=30)
        claim = partial(
            batch_queue.claim_batches, self.db, worker=1, limit=4, lease=lease, routes=[("kling-v3-omni", "")]
        )
        return await _median([claim() for _ in range(CALLS // 5)])


async def _median(calls: Sequence[Awaitable[object]]) -> float:
    """Await the calls one after the other, and return their median time in seconds."""
    times = []
    for call in calls:
        began = time.perf_counter()
        await call
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def measure(rounds: int) -> list[Figure]:
    with temporary_folder() as folder:
        servers = {}
        for name in ("few", "many"):
            (folder / name).mkdir(mode=0o711)
            servers[name] = EmbeddedPostgres(folder / name)
            servers[name].start()
        try:
            return asyncio.run(_measure(servers["few"].url, servers["many"].url, rounds))
        finally:
            for server in servers.values():
                server.stop()


async def _measure(few: str, many: str, rounds: int) -> list[Figure]:
    await _fill(few, FEW, accounts=ACCOUNTS, postponed=0)
    await _fill(many, MANY, accounts=MANY_ACCOUNTS, postponed=MANY_POSTPONED)
    tables = {"few": _Table(few), "many": _Table(many)}
    for table in tables.values():
        await table.open()
    figures = []
    for operation in ("get", "list", "claim"):
        times: list[dict[str, float]] = []
        for number in range(rounds):
            order = list(tables) if number % 2 else list(tables)[::-1]
            times.append({name: await getattr(tables[name], operation)() for name in order})
            printed = ", ".join(f"{name} {s * 1000:.3f} ms" for name, s in times[-1].items())
            print(f"    {operation}", printed, flush=True)
        figures.append(
            Figure(
                f"{operation} with {MANY:,} tasks in the table",
                f"with {FEW:,}",
                ratio(times, "many", "few"),
                1.3,
                True,
                "×",
                f"{median(times, 'many') * 1000:.2f} ms",
                f"{median(times, 'few') * 1000:.2f} ms",
                rounds=times,
            )
        )
    for table in tables.values():
        await table.db.close()
    return figures
