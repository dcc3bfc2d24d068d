"""Numbered SQL files, applied in order, each in a transaction, under a lock so that ten starts at once do it once."""

from importlib.resources import files

import asyncpg

_LOCK = 0x66726D68  # "frmh"


class NewerDatabase(Exception):
    """The database was migrated by a newer Framehouse; the message says what to do."""


def migrations() -> list[tuple[int, str, str]]:
    """Number, name and SQL of every migration, in order."""
    found = [f for f in (files(__package__) / "migrations").iterdir() if f.name.endswith(".sql")]
    return sorted((int(f.name.split("_")[0]), f.name, f.read_text()) for f in found)


async def migrate(url: str) -> list[str]:
    """Bring the database up to date; the names of what was applied."""
    connection = await asyncpg.connect(url, timeout=30)
    try:
        await connection.execute("select pg_advisory_lock($1)", _LOCK)
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
            async with connection.transaction():
                await connection.execute(statements)
                await connection.execute("insert into migrations (number, name) values ($1, $2)", number, name)
            applied.append(name)
        return applied
    finally:
        await connection.close()
