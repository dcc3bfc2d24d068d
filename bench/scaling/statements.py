"""Measure the cost of each statement of a task for PostgreSQL, for one task and for groups of tasks.

The functions of the server send the statements one after the other on one connection. The tables have a million ended
tasks of a thousand accounts. The CPU time is that of all processes of PostgreSQL, including the writers of WAL and
pages.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from uuid import UUID

import asyncpg

from framehouse.adapters.postgres import batch_queue, callback_queue, orphaned_batches
from framehouse.adapters.postgres.channels import notify
from framehouse.adapters.postgres.embedded import EmbeddedPostgres
from framehouse.adapters.postgres.migrate import migrate
from framehouse.adapters.postgres.new_task import NewTask
from framehouse.adapters.postgres.pool import Database
from framehouse.adapters.postgres.task_store import (
    TaskQuery,
    accept_tasks,
    delete_old_tasks,
    find_tasks,
    list_tasks,
    mark_expired,
    tasks_to_expire,
)
from framehouse.settings import Settings
from scaling.counters import Cost, Meter, embedded_database
from scaling.filling import create_accounts, fill, new_task

GROUP = 16
ROUTES = [("kling-v3-omni", "")]
LEASE = timedelta(seconds=Settings.model_fields["lease_s"].default)
RETENTION = timedelta(days=Settings.model_fields["retention_days"].default)
CostTable = dict[str, Cost]


class LifecycleMeter:
    """Runs many tasks through all steps, and measures the cost of each step per task or batch."""

    def __init__(self, meter: Meter, accounts: int) -> None:
        self._meter = meter
        self._db = meter.db
        self._accounts = accounts
        self.costs: CostTable = {}

    def _account(self) -> int:
        return 1 + int(self._accounts * random.random() ** 3)

    async def _accept(self, name: str, tasks: Sequence[NewTask], per_statement: int) -> list[tuple[int, str]]:
        """Accept the tasks. Returns the account and the id of each task."""

        async def work() -> None:
            for start in range(0, len(tasks), per_statement):
                answers = await accept_tasks(self._db, tasks[start : start + per_statement])
                assert {answer.outcome for answer in answers} == {"accepted"}

        self.costs[name] = await self._meter.cost_per_unit(len(tasks), work)
        return [(task.account_id, str(task.task_id)) for task in tasks]

    async def _claim(self, count: int, per_statement: int, *, name: str) -> list[batch_queue.Claimed]:
        batches: list[batch_queue.Claimed] = []

        async def work() -> None:
            while len(batches) < count:
                limit = min(per_statement, count - len(batches))
                claimed = await batch_queue.claim_batches(self._db, worker=1, limit=limit, lease=LEASE, routes=ROUTES)
                assert claimed
                batches.extend(claimed)

        self.costs[name] = await self._meter.cost_per_unit(count, work)
        return batches

    async def _settle(self, batches: Sequence[batch_queue.Claimed], *, name: str) -> None:
        async def work() -> None:
            for batch in batches:
                for shot in batch.shots:
                    key = f"images/{batch.task_id}/{shot.index}-{batch.claim.hex[:12]}.png"
                    stored = batch_queue.StoredShot(shot.index, "diffusers", key, "", "image/png", 1024, 1024)
                    result = await batch_queue.settle_shot(
                        self._db, batch.task_id, batch.id, batch.claim, stored, RETENTION
                    )
                    assert result != "lost"

        self.costs[name] = await self._meter.cost_per_unit(len(batches), work)

    async def run(self, kind: str, tasks: int, *, images: int = 1, references: int = 0, callback: str = "") -> None:
        """Measure all steps of tasks of a kind: half of the tasks one per statement, half in groups."""
        accepted: list[tuple[int, str]] = []
        for group in (1, GROUP):
            new_tasks = [
                new_task(self._account(), images=images, references=references, callback=callback)
                for _ in range(tasks // 2)
            ]
            accepted += await self._accept(f"{kind}: accept, {group} per statement", new_tasks, group)
        count = tasks * images
        batches = await self._claim(count // 2, 1, name=f"{kind}: claim a batch, 1 per statement")
        batches += await self._claim(count - count // 2, GROUP, name=f"{kind}: claim a batch, {GROUP} per statement")
        if images == 1 and not callback and not references:
            await self._measure_repeated_statements(batches, accepted)
        await self._settle(batches, name=f"{kind}: settle an image")
        if callback:
            await self._deliver(tasks)

    async def _measure_repeated_statements(
        self, batches: Sequence[batch_queue.Claimed], tasks: Sequence[tuple[int, str]]
    ) -> None:
        """Measure the statements that are repeated while tasks run, and those of idle workers."""
        for group in (1, GROUP):
            leases = {batch.id: (batch.claim, 0.5) for batch in random.sample(batches, group)}
            await self._repeat(
                f"renew leases, {group} per statement", 200, partial(batch_queue.renew_leases, self._db, leases, LEASE)
            )
        for group in (1, GROUP):
            queries = [TaskQuery(account, id, 1) for account, id in random.sample(tasks, group)]
            await self._repeat(f"poll, {group} per statement", 500, partial(find_tasks, self._db, queries))
        await self._repeat("list 30", 300, lambda: list_tasks(self._db, self._account(), limit=30, offset=0))
        await self._repeat(
            "claim, nothing due",
            500,
            lambda: batch_queue.claim_batches(self._db, worker=1, limit=1, lease=LEASE, routes=ROUTES),
        )
        await self._repeat("claim callbacks, none due", 500, self._claim_callbacks)
        await self._repeat(
            "find orphaned batches",
            500,
            lambda: orphaned_batches.unrenewed_batches(self._db, lease=LEASE, unrenewed_for=LEASE),  # there are none
        )
        await self._repeat("notify, 0 sessions listen", 500, lambda: notify(self._db, "unused", "x" * 36))

    async def _claim_callbacks(self) -> list[callback_queue.CallbackMessage]:
        return await callback_queue.claim_callbacks(
            self._db, limit=100, host_limits=callback_queue.HostLimits(), healthy=[], failing=[], lease=LEASE
        )

    async def _deliver(self, tasks: int) -> None:
        async def work() -> None:
            while messages := await self._claim_callbacks():
                for message in messages:
                    await callback_queue.end_callback(self._db, message, state="delivered", code=200, error="")

        self.costs["callbacks: claim and end a message"] = await self._meter.cost_per_unit(2 * tasks, work)

    async def _repeat(self, name: str, times: int, call: Callable[[], Awaitable[object]]) -> None:
        """Measure a statement, after it has run the same number of times without measurement."""

        async def work() -> None:
            for _ in range(times):
                await call()

        await work()
        self.costs[name] = await self._meter.cost_per_unit(times, work)

    async def expire(self, ids: Sequence[UUID]) -> None:
        async def work() -> None:
            for start in range(0, len(ids), 100):  # the sweeper marks 100 tasks per statement
                await mark_expired(self._db, ids[start : start + 100])

        self.costs["mark a task expired"] = await self._meter.cost_per_unit(len(ids), work)

    async def delete_old(self, tasks: int) -> None:
        """Delete old tasks, then vacuum. Both costs are per deleted task."""

        async def delete() -> None:
            remaining = tasks
            while remaining > 0:
                remaining -= await delete_old_tasks(self._db, timedelta(days=1), min(500, remaining))

        self.costs["delete a task of one image"] = await self._meter.cost_per_unit(tasks, delete)

        async def vacuum() -> None:
            for table in ("tasks", "shots"):
                await self._db.row(f"vacuum {table}")

        self.costs["vacuum after the deletes, per task"] = await self._meter.cost_per_unit(tasks, vacuum)


def measure(quick: bool) -> CostTable:
    rows, accounts, tasks = (20_000, 100, 64) if quick else (1_000_000, 1000, 3000)
    with embedded_database() as (server, data_dir):
        return asyncio.run(_measure(server, data_dir, rows, accounts, tasks))


async def _measure(server: EmbeddedPostgres, data_dir: Path, rows: int, accounts: int, tasks: int) -> CostTable:
    await migrate(server.url)
    connection = await asyncpg.connect(server.url)
    db = Database(server.url, size=1)
    await db.open()
    try:
        await create_accounts(connection, accounts)
        seconds = await fill(connection, rows=rows, accounts=accounts, expired=rows * 8 // 10, days=395)
        print(f"    filled in {seconds:.0f} s", flush=True)
        sizes = await _stored_bytes(connection, rows)
        lifecycle = LifecycleMeter(Meter(data_dir, db), accounts)
        await lifecycle.run("one image", tasks)
        await lifecycle.run("nine images", tasks // 10, images=9)
        await lifecycle.run("three references", tasks // 4, references=3)
        await lifecycle.run("callbacks", tasks // 4, callback="https://example.com/callback")
        await lifecycle.expire(await tasks_to_expire(db, tasks))
        await lifecycle.delete_old(rows // 20)
        return lifecycle.costs | sizes
    finally:
        await db.close()
        await connection.close()


async def _stored_bytes(connection: "asyncpg.Connection[asyncpg.Record]", rows: int) -> CostTable:
    """Return the bytes of an ended task in each table and in its indexes."""
    sizes: CostTable = {}
    for table in ("tasks", "shots"):
        heap, indexes = await connection.fetchrow(  # type: ignore[misc]
            "select pg_table_size($1::regclass), pg_indexes_size($1::regclass)", table
        )
        sizes[f"stored in {table}"] = {"heap_bytes": heap / rows, "index_bytes": indexes / rows}
    for index, size in await connection.fetch(
        "select indexrelid::regclass::text, pg_relation_size(indexrelid) from pg_stat_user_indexes "
        "where relname in ('tasks', 'shots') order by 2 desc"
    ):
        sizes[f"  {index}"] = {"index_bytes": size / rows}
    return sizes
