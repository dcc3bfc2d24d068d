"""Compare the tables with the same tables in weekly partitions by the time in a task's id.

Partitions cannot have the constraint `unique (account_id, external_task_id)`, because an index covers only one
partition. Here they have a plain index instead, which makes the partitions look better than they are. Both variants
have 395 days of ended tasks.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import asyncpg

from framehouse.adapters.postgres.embedded import EmbeddedPostgres
from framehouse.adapters.postgres.migrate import functions, migrate, migrations
from framehouse.adapters.postgres.pool import Database
from framehouse.adapters.postgres.task_store import TaskQuery, find_tasks
from scaling.counters import Cost, Meter, embedded_database
from scaling.filling import create_accounts, fill
from scaling.statements import LifecycleMeter

DAYS, WEEK = 395, timedelta(days=7)
UNIQUE = "    unique (account_id, external_task_id)\n);\ncomment on column tasks.owner"
REPLACEMENTS = {
    UNIQUE: "    check (true)\n) partition by range (id);\ncomment on column tasks.owner",
    "    height        integer,\n    primary key (task_id, index)\n);": "    height        integer,\n"
    "    primary key (task_id, index)\n) partition by range (task_id);",
    "create index tasks_by_account": "create index tasks_by_external on tasks (account_id, external_task_id);\n"
    "create index tasks_by_account",
    "concurrently": "",
    "-- Outside a transaction": "--",
}


def measure(quick: bool) -> dict[str, Cost]:
    all_costs: dict[str, Cost] = {}
    for variant in ("one table", "by weeks"):
        with embedded_database(max_wal_size="8GB") as (server, data_dir):
            rows, tasks = (20_000, 80) if quick else (1_000_000, 2000)
            costs = asyncio.run(_measure(server, data_dir, variant == "by weeks", rows, tasks))
        all_costs |= {f"{name}, {variant}": cost for name, cost in costs.items()}
        print(f"    {variant}", flush=True)
    return dict(sorted(all_costs.items()))


def _lowest_id(at: datetime) -> str:
    """Return the lowest task id of a moment."""
    return f"{int(at.timestamp() * 1000):012x}".ljust(32, "0")


async def _create_partitioned_tables(connection: "asyncpg.Connection[asyncpg.Record]") -> list[str]:
    """Apply the migrations with both tables partitioned. Returns the names of the partitions, oldest first."""
    for _, _, statements in migrations():
        for old, new in REPLACEMENTS.items():
            statements = statements.replace(old, new)
        await connection.execute(statements)
    await connection.execute("set check_function_bodies = off")
    await connection.execute(functions())
    begin, names = datetime.now(UTC) - timedelta(days=DAYS + 1), []
    while begin < datetime.now(UTC) + WEEK:
        names.append(f"{begin:%Y%m%d}")
        bounds = f"from ('{_lowest_id(begin)}') to ('{_lowest_id(begin + WEEK)}')"
        await connection.execute(
            f"create table tasks_{names[-1]} partition of tasks for values {bounds};"
            f"create table shots_{names[-1]} partition of shots for values {bounds};"
        )
        begin += WEEK
    return names


async def _measure(
    server: EmbeddedPostgres, data_dir: Path, partitioned: bool, rows: int, tasks: int
) -> dict[str, Cost]:
    connection = await asyncpg.connect(server.url)
    db = Database(server.url, size=1)
    await db.open()
    try:
        names = await _create_partitioned_tables(connection) if partitioned else await migrate(server.url)
        await create_accounts(connection, 1000)
        await fill(connection, rows=rows, accounts=1000, expired=rows * 8 // 10, days=DAYS)
        meter = Meter(data_dir, db)
        lifecycle = LifecycleMeter(meter, 1000)
        await lifecycle.run("one image", tasks)
        costs = lifecycle.costs
        # each external id with the account of its task, so that every query finds exactly that task
        records = await connection.fetch(
            "select account_id, external_task_id from tasks where external_task_id is not null order by id limit 300"
        )
        queries = [TaskQuery(record["account_id"], record["external_task_id"]) for record in records]
        costs["poll by external id, 1 per statement"] = await meter.cost_per_unit(
            len(queries),
            lambda: _call_each([lambda q=query: find_tasks(db, [q]) for query in random.sample(queries, len(queries))]),  # type: ignore[misc]
        )
        tasks_per_week = rows * 7 // DAYS
        if partitioned:
            drop = partial(_drop_week, connection, names[1])
            costs["remove a week, per task"] = await meter.cost_per_unit(tasks_per_week, drop)
        else:
            await lifecycle.delete_old(tasks_per_week)
            delete, vacuum = costs.pop("delete a task of one image"), costs.pop("vacuum after the deletes, per task")
            costs["remove a week, per task"] = {key: delete[key] + vacuum[key] for key in delete}
        return costs
    finally:
        await db.close()
        await connection.close()


async def _call_each(calls: list[Callable[[], Awaitable[object]]]) -> None:
    for call in calls:
        await call()


async def _drop_week(connection: "asyncpg.Connection[asyncpg.Record]", name: str) -> None:
    """Drop the partitions of a week. The shots are dropped first, because they refer to the tasks."""
    began = time.perf_counter()
    await connection.execute(f"drop table shots_{name}")
    await connection.execute(f"alter table tasks detach partition tasks_{name}")
    await connection.execute(f"drop table tasks_{name}")
    blocked_ms = (time.perf_counter() - began) * 1000
    print(f"    a week was dropped in {blocked_ms:.0f} ms; meanwhile all writes were blocked", flush=True)
