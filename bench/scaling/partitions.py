"""The same tables in partitions of a week, by the time in a task's id, against the ones that there are.

Partitions cannot hold `unique (account_id, external_task_id)`, for an index reaches no further than its own: here it is
an index that only finds, which does the partitions a favour. Both have 395 days of ended tasks.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg

from framehouse.adapters.postgres.embedded import EmbeddedPostgres
from framehouse.adapters.postgres.migrate import functions, migrate, migrations
from framehouse.adapters.postgres.pool import Database
from framehouse.adapters.postgres.task_store import TaskQuery, find_tasks
from scaling.counters import Meter, Cost, database
from scaling.filling import fill, create_accounts
from scaling.statements import LifecycleMeter

DAYS, WEEK = 395, timedelta(days=7)
UNIQUE = "    unique (account_id, external_task_id)\n);\ncomment on column tasks.owner"
ENDS = {
    UNIQUE: "    check (true)\n) partition by range (id);\ncomment on column tasks.owner",
    "    height        integer,\n    primary key (task_id, index)\n);": "    height        integer,\n"
    "    primary key (task_id, index)\n) partition by range (task_id);",
    "create index tasks_by_account": "create index tasks_by_external on tasks (account_id, external_task_id);\n"
    "create index tasks_by_account",
    "concurrently": "",
    "-- Outside a transaction": "--",
}


def measure(quick: bool) -> dict[str, Cost]:
    found: dict[str, Cost] = {}
    for name in ("one table", "by weeks"):
        with database(max_wal_size="8GB") as (server, data):
            rows, tasks = (20_000, 80) if quick else (1_000_000, 2000)
            costs = asyncio.run(_measure(server, data, name == "by weeks", rows, tasks))
        found |= {f"{what}, {name}": spent for what, spent in costs.items()}
        print(f"    {name}", flush=True)
    return dict(sorted(found.items()))


def _bound(at: datetime) -> str:
    """The lowest id of a moment."""
    return f"{int(at.timestamp() * 1000):012x}".ljust(32, "0")


async def _make_partitions(connection: "asyncpg.Connection[asyncpg.Record]") -> list[str]:
    """The migrations with both tables in partitions; the names of these, oldest first."""
    for _, _, text in migrations():
        changed = text
        for what, instead in ENDS.items():
            changed = changed.replace(what, instead)
        await connection.execute(changed)
    await connection.execute("set check_function_bodies = off")
    await connection.execute(functions())
    begin, names = datetime.now(UTC) - timedelta(days=DAYS + 1), []
    while begin < datetime.now(UTC) + WEEK:
        names.append(f"{begin:%Y%m%d}")
        bounds = f"from ('{_bound(begin)}') to ('{_bound(begin + WEEK)}')"
        await connection.execute(
            f"create table tasks_{names[-1]} partition of tasks for values {bounds};"
            f"create table shots_{names[-1]} partition of shots for values {bounds};"
        )
        begin += WEEK
    return names


async def _measure(server: EmbeddedPostgres, data: Path, partitioned: bool, rows: int, tasks: int) -> dict[str, Cost]:
    connection = await asyncpg.connect(server.url)
    db = Database(server.url, size=1)
    await db.open()
    try:
        names = await _make_partitions(connection) if partitioned else await migrate(server.url)
        await create_accounts(connection, 1000)
        await fill(connection, rows=rows, accounts=1000, expired=rows * 8 // 10, days=DAYS)
        meter = Meter(data, db)
        lives = LifecycleMeter(meter, 1000)
        await lives.life("one picture", tasks)
        found = lives.costs
        # of the account that is asked, so that nobody's is found by chance
        some = await connection.fetch(
            "select account_id, external_task_id from tasks where external_task_id is not null order by id limit 300"
        )
        asked = [TaskQuery(one["account_id"], one["external_task_id"]) for one in some]
        found["poll by external id, 1 at once"] = await meter.cost_per_unit(
            len(asked),
            lambda: _each([lambda a=one: find_tasks(db, [a]) for one in random.sample(asked, len(asked))]),  # type: ignore[misc]
        )
        week = rows * 7 // DAYS
        if partitioned:
            found["a week goes, each task"] = await meter.cost_per_unit(week, lambda: _drop(connection, names[1]))
        else:
            await lives.forget(week)
            gone, vacuum = found.pop("delete a task of one picture"), found.pop("vacuum after it, for each task")
            found["a week goes, each task"] = {key: gone[key] + vacuum[key] for key in gone}
        return found
    finally:
        await db.close()
        await connection.close()


async def _each(calls: list[Callable[[], Awaitable[object]]]) -> None:
    for call in calls:
        await call()


async def _drop(connection: "asyncpg.Connection[asyncpg.Record]", name: str) -> None:
    """First the shots, which name the tasks."""
    began = time.perf_counter()
    await connection.execute(f"drop table shots_{name}")
    await connection.execute(f"alter table tasks detach partition tasks_{name}")
    await connection.execute(f"drop table tasks_{name}")
    print(
        f"    a week dropped in {(time.perf_counter() - began) * 1000:.0f} ms, nobody could write meanwhile", flush=True
    )
