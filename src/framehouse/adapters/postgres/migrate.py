"""Apply numbered SQL files in order, then the functions; under a lock, so that ten starts at once do it once.

Older processes may be serving meanwhile: a migration never waits long for a lock, for all others queue behind it.
"""

import asyncio
import hashlib
from importlib.resources import files

import asyncpg

from framehouse.adapters.postgres.pool import notice_silence

LOCK = 0x66726D68  # "frmh"
_LOCK_PATIENCE = "1s"
_TRIES = 120
_OUTSIDE = "-- Outside a transaction"
FUNCTIONS = "functions"
"""Name of the folder, and of what was applied when one of its files has changed."""


class NewerDatabase(Exception):
    """The database was migrated by a newer Framehouse; the message says what to do."""


def migrations() -> list[tuple[int, str, str]]:
    """Number, name and SQL of every migration, in order."""
    found = [f for f in (files(__package__) / "migrations").iterdir() if f.name.endswith(".sql")]
    return sorted((int(f.name.split("_")[0]), f.name, f.read_text()) for f in found)


def functions() -> str:
    """SQL of all functions, in an order that stays the same."""
    found = [f for f in (files(__package__) / FUNCTIONS).iterdir() if f.name.endswith(".sql")]
    return "\n".join(f.read_text() for f in sorted(found, key=lambda f: f.name))


async def migrate(url: str) -> list[str]:
    """Bring the database up to date; the names of what was applied. One that is interrupted goes on the next time."""
    connection = await asyncpg.connect(url, timeout=30)
    try:
        await notice_silence(connection)
        # asked for again and again: a statement that waits is a transaction, and building an index waits for those
        while not await connection.fetchval("select pg_try_advisory_lock($1)", LOCK):  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(0.05)
        await connection.execute(
            "create table if not exists migrations "
            "(number int primary key, name text not null, applied_at timestamptz not null default now())"
        )
        done = {row["number"]: row["name"] for row in await connection.fetch("select number, name from migrations")}
        known = migrations()
        if done and max(done) > known[-1][0]:
            raise NewerDatabase(
                f"The database was made by a newer Framehouse (migration {done[max(done)]}). Upgrade this one."
            )
        applied = []
        for number, name, statements in known:
            if number in done:
                continue
            if statements.startswith(_OUTSIDE):  # each statement by itself, and each may run again
                for statement in filter(str.strip, statements.split(";\n")):
                    await connection.execute(statement)
                statements = "select 1"
            await _in_one(connection, statements, number, name)
            applied.append(name)
        if await _put_functions(connection):
            applied.append(FUNCTIONS)
        return applied
    finally:
        await connection.close()


async def _in_one(connection: "asyncpg.Connection[asyncpg.Record]", statements: str, number: int, name: str) -> None:
    """Apply in one transaction, again and again where somebody holds a lock that it needs."""
    for left in reversed(range(_TRIES)):
        try:
            async with connection.transaction():
                await connection.execute(f"set local lock_timeout = '{_LOCK_PATIENCE}'")
                await connection.execute(statements)
                await connection.execute("insert into migrations (number, name) values ($1, $2)", number, name)
        except asyncpg.LockNotAvailableError:
            if not left:
                raise
        else:
            return
        await asyncio.sleep(0.5)


async def _put_functions(connection: "asyncpg.Connection[asyncpg.Record]") -> bool:
    """Replace the functions if one of them has changed; whether one had. functions/README.md has the rules."""
    text = functions()
    digest = hashlib.sha256(text.encode()).hexdigest()
    if await connection.fetchval("select value from settings where name = 'functions'") == digest:
        return False
    async with connection.transaction():
        await connection.execute("set local check_function_bodies = off")  # some call functions of later files
        await connection.execute(text)
        await connection.execute(
            "insert into settings (name, value) values ('functions', $1) "
            "on conflict (name) do update set value = excluded.value",
            digest,
        )
    return True
