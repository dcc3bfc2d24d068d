"""Migrate the database: apply the numbered SQL files in order, then replace the database functions.

A lock ensures that only one process migrates at a time. Processes of an older version can serve requests during the
migration. While a migration waits for the lock on a table, all later statements on that table also wait. A migration
therefore waits at most one second, and is then retried.
"""

import asyncio
import hashlib
from importlib.resources import files

import asyncpg

from framehouse.adapters.postgres.pool import set_tcp_timeouts

LOCK = 0x66726D68  # "frmh"
_LOCK_TIMEOUT = "1s"
_ATTEMPTS = 120
_OUTSIDE_TRANSACTION = "-- Outside a transaction"
FUNCTIONS = "functions"
"""The name of the folder with the database functions. The step that replaces these functions has the same name."""


class NewerDatabase(Exception):
    """Raised when a newer version of Framehouse has migrated the database. The message contains advice."""


def migrations() -> list[tuple[int, str, str]]:
    """Return the number, the name and the SQL of every migration, in order."""
    sql_files = [f for f in (files(__package__) / "migrations").iterdir() if f.name.endswith(".sql")]
    return sorted((int(f.name.split("_")[0]), f.name, f.read_text()) for f in sql_files)


def functions() -> str:
    """Return the SQL of all functions, sorted by file name."""
    sql_files = [f for f in (files(__package__) / FUNCTIONS).iterdir() if f.name.endswith(".sql")]
    return "\n".join(f.read_text() for f in sorted(sql_files, key=lambda f: f.name))


async def migrate(url: str) -> list[str]:
    """Apply the pending migrations and replace the functions. Returns the names of the applied steps.

    If this function is interrupted, the next call applies the migrations that are still pending. Raises NewerDatabase.
    """
    connection = await asyncpg.connect(url, timeout=30)
    try:
        await set_tcp_timeouts(connection)
        # This loop polls for the lock, because a statement that waits for the lock would keep a transaction open.
        # `create index concurrently` in another process would wait for this transaction.
        while not await connection.fetchval("select pg_try_advisory_lock($1)", LOCK):  # noqa: ASYNC110 - there is no event
            await asyncio.sleep(0.05)
        await connection.execute(
            "create table if not exists migrations "
            "(number int primary key, name text not null, applied_at timestamptz not null default now())"
        )
        applied_before = {
            row["number"]: row["name"] for row in await connection.fetch("select number, name from migrations")
        }
        available = migrations()
        if applied_before and max(applied_before) > available[-1][0]:
            raise NewerDatabase(
                f"A newer version of Framehouse has migrated the database ({applied_before[max(applied_before)]}). "
                "Upgrade this installation."
            )
        applied = []
        for number, name, statements in available:
            if number in applied_before:
                continue
            # outside a transaction, each statement of a migration is committed separately; if the migration is
            # interrupted, the next run repeats all its statements
            if statements.startswith(_OUTSIDE_TRANSACTION):
                for statement in filter(str.strip, statements.split(";\n")):
                    await connection.execute(statement)
                statements = "select 1"
            await _apply_in_transaction(connection, statements, number, name)
            applied.append(name)
        if await _replace_functions(connection):
            applied.append(FUNCTIONS)
        return applied
    finally:
        await connection.close()


async def _apply_in_transaction(
    connection: "asyncpg.Connection[asyncpg.Record]", statements: str, number: int, name: str
) -> None:
    """Apply a migration in one transaction. Retry if another session holds a lock that the migration needs."""
    for attempts_left in reversed(range(_ATTEMPTS)):
        try:
            async with connection.transaction():
                await connection.execute(f"set local lock_timeout = '{_LOCK_TIMEOUT}'")
                await connection.execute(statements)
                await connection.execute("insert into migrations (number, name) values ($1, $2)", number, name)
        except asyncpg.LockNotAvailableError:
            if not attempts_left:
                raise
        else:
            return
        await asyncio.sleep(0.5)


async def _replace_functions(connection: "asyncpg.Connection[asyncpg.Record]") -> bool:
    """Replace all database functions if one of their files has changed. Returns whether they were replaced.

    functions/README.md contains the rules for these files.
    """
    text = functions()
    digest = hashlib.sha256(text.encode()).hexdigest()
    if await connection.fetchval("select value from settings where name = 'functions'") == digest:
        return False
    async with connection.transaction():
        await connection.execute(
            "set local check_function_bodies = off"
        )  # function bodies are not checked, because some functions call functions that later files create
        await connection.execute(text)
        await connection.execute(
            "insert into settings (name, value) values ('functions', $1) "
            "on conflict (name) do update set value = excluded.value",
            digest,
        )
    return True
