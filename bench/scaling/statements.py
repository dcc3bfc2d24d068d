"""What each statement of a task's life costs PostgreSQL, sent by our own functions, alone and in groups.

On one connection, one after the other, with a million ended tasks of a thousand accounts in the tables. CPU is that of
all of PostgreSQL's processes, the writers of WAL and of pages among them.
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
from scaling.counters import Meter, Cost, database
from scaling.filling import fill, create_accounts, new_task

GROUP = 16
ROUTES = [("kling-v3-omni", "")]
LEASE = timedelta(seconds=Settings.model_fields["lease_s"].default)
RETENTION = timedelta(days=Settings.model_fields["retention_days"].default)
Costs = dict[str, Cost]


class LifecycleMeter:
    """Takes tasks through their lives, many at a time, and measures each step for a piece of it."""

    def __init__(self, meter: Meter, accounts: int) -> None:
        self._meter = meter
        self._db = meter.db
        self._accounts = accounts
        self.costs: Costs = {}

    def _account(self) -> int:
        return 1 + int(self._accounts * random.random() ** 3)

    async def _accept(self, name: str, offered: Sequence[NewTask], group: int) -> list[tuple[int, str]]:
        tasks = len(offered)

        async def work() -> None:
            for at in range(0, tasks, group):
                answers = await accept_tasks(self._db, offered[at : at + group])
                assert {answer.outcome for answer in answers} == {"accepted"}

        self.costs[name] = await self._meter.cost_per_unit(tasks, work)
        return [(task.account_id, str(task.task_id)) for task in offered]

    async def _claim(self, batches: int, most: int, *, name: str) -> list[batch_queue.Claimed]:
        held: list[batch_queue.Claimed] = []

        async def work() -> None:
            while len(held) < batches:
                more = min(most, batches - len(held))
                found = await batch_queue.claim_batches(self._db, worker=1, limit=more, lease=LEASE, routes=ROUTES)
                assert found
                held.extend(found)

        self.costs[name] = await self._meter.cost_per_unit(batches, work)
        return held

    async def _settle(self, held: Sequence[batch_queue.Claimed], *, name: str) -> None:
        async def work() -> None:
            for batch in held:
                for shot in batch.shots:
                    key = f"images/{batch.task_id}/{shot.index}-{batch.claim.hex[:12]}.png"
                    made = batch_queue.StoredShot(shot.index, "diffusers", key, "", "image/png", 1024, 1024)
                    how = await batch_queue.settle_shot(self._db, batch.task_id, batch.id, batch.claim, made, RETENTION)
                    assert how != "lost"

        self.costs[name] = await self._meter.cost_per_unit(len(held), work)

    async def life(self, kind: str, tasks: int, *, images: int = 1, references: int = 0, callback: str = "") -> None:
        """The whole of it: half of the tasks one by one, half in groups."""
        asked: list[tuple[int, str]] = []
        for group in (1, GROUP):
            offered = [
                new_task(self._account(), images=images, references=references, callback=callback)
                for _ in range(tasks // 2)
            ]
            asked += await self._accept(f"{kind}: accept, {group} at once", offered, group)
        batches = tasks * images
        held = await self._claim(batches // 2, 1, name=f"{kind}: claim a batch, 1 at once")
        held += await self._claim(batches - batches // 2, GROUP, name=f"{kind}: claim a batch, {GROUP} at once")
        if images == 1 and not callback and not references:
            await self._repeat(held, asked)
        await self._settle(held, name=f"{kind}: settle a picture")
        if callback:
            await self._deliver(tasks)

    async def _repeat(self, held: Sequence[batch_queue.Claimed], asked: Sequence[tuple[int, str]]) -> None:
        """What is done again and again while tasks are at work, and by whoever only looks."""
        for group in (1, GROUP):
            some = {batch.id: (batch.claim, 0.5) for batch in random.sample(held, group)}
            await self._often(
                f"renew leases, {group} at once", 200, partial(batch_queue.renew_leases, self._db, some, LEASE)
            )
        for group in (1, GROUP):
            questions = [TaskQuery(account, id, 1) for account, id in random.sample(asked, group)]
            await self._often(f"poll, {group} at once", 500, partial(find_tasks, self._db, questions))
        await self._often("list 30", 300, lambda: list_tasks(self._db, self._account(), limit=30, offset=0))
        await self._often(
            "claim, nothing due",
            500,
            lambda: batch_queue.claim_batches(self._db, worker=1, limit=1, lease=LEASE, routes=ROUTES),
        )
        await self._often("claim callbacks, none due", 500, self._claim_callbacks)
        await self._often(
            "look for lost work",
            500,
            lambda: orphaned_batches.unrenewed_batches(self._db, lease=LEASE, unrenewed_for=LEASE),  # there are none
        )
        await self._often("notify, nobody listens", 500, lambda: notify(self._db, "nobody", "x" * 36))

    async def _claim_callbacks(self) -> list[callback_queue.CallbackMessage]:
        return await callback_queue.claim_callbacks(
            self._db, limit=100, host_limits=callback_queue.HostLimits(), healthy=[], failing=[], lease=LEASE
        )

    async def _deliver(self, tasks: int) -> None:
        async def work() -> None:
            while found := await self._claim_callbacks():
                for message in found:
                    await callback_queue.end_callback(self._db, message, state="delivered", code=200, error="")

        self.costs["callbacks: claim and end a message"] = await self._meter.cost_per_unit(2 * tasks, work)

    async def _often(self, name: str, times: int, call: Callable[[], Awaitable[object]]) -> None:
        async def work() -> None:
            for _ in range(times):
                await call()

        await work()
        self.costs[name] = await self._meter.cost_per_unit(times, work)

    async def expire(self, ids: Sequence[UUID]) -> None:
        async def work() -> None:
            for at in range(0, len(ids), 100):  # as many as the sweeper marks at once
                await mark_expired(self._db, ids[at : at + 100])

        self.costs["mark a task expired"] = await self._meter.cost_per_unit(len(ids), work)

    async def forget(self, tasks: int) -> None:
        """Delete what is old, then vacuum: for each task that is deleted."""

        async def delete() -> None:
            left = tasks
            while left > 0:
                left -= await delete_old_tasks(self._db, timedelta(days=1), min(500, left))

        self.costs["delete a task of one picture"] = await self._meter.cost_per_unit(tasks, delete)

        async def vacuum() -> None:
            for table in ("tasks", "shots"):
                await self._db.row(f"vacuum {table}")

        self.costs["vacuum after it, for each task"] = await self._meter.cost_per_unit(tasks, vacuum)


def measure(quick: bool) -> Costs:
    rows, accounts, tasks = (20_000, 100, 64) if quick else (1_000_000, 1000, 3000)
    with database() as (server, data):
        return asyncio.run(_measure(server, data, rows, accounts, tasks))


async def _measure(server: EmbeddedPostgres, data: Path, rows: int, accounts: int, tasks: int) -> Costs:
    await migrate(server.url)
    connection = await asyncpg.connect(server.url)
    db = Database(server.url, size=1)
    await db.open()
    try:
        await create_accounts(connection, accounts)
        took = await fill(connection, rows=rows, accounts=accounts, expired=rows * 8 // 10, days=395)
        print(f"    filled in {took:.0f} s", flush=True)
        kept = await sizes(connection, rows)
        lives = LifecycleMeter(Meter(data, db), accounts)
        await lives.life("one picture", tasks)
        await lives.life("nine pictures", tasks // 10, images=9)
        await lives.life("three references", tasks // 4, references=3)
        await lives.life("callbacks", tasks // 4, callback="https://example.com/callback")
        await lives.expire(await tasks_to_expire(db, tasks))
        await lives.forget(rows // 20)
        return lives.costs | kept
    finally:
        await db.close()
        await connection.close()


async def sizes(connection: "asyncpg.Connection[asyncpg.Record]", rows: int) -> Costs:
    """Bytes that an ended task keeps, of the table and of its indexes."""
    found: Costs = {}
    for table in ("tasks", "shots"):
        heap, indexes = await connection.fetchrow(  # type: ignore[misc]
            "select pg_table_size($1::regclass), pg_indexes_size($1::regclass)", table
        )
        found[f"kept in {table}"] = {"heap_bytes": heap / rows, "index_bytes": indexes / rows}
    for index, size in await connection.fetch(
        "select indexrelid::regclass::text, pg_relation_size(indexrelid) from pg_stat_user_indexes "
        "where relname in ('tasks', 'shots') order by 2 desc"
    ):
        found[f"  {index}"] = {"index_bytes": size / rows}
    return found
