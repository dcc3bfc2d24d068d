"""Migrations: once, whoever starts; never in the way of those who serve."""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from framehouse.adapters.postgres import migrate as module
from framehouse.adapters.postgres.migrate import NewerDatabase, functions, migrate, migrations


@pytest.fixture
async def forget(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection to a database whose last migrations are still to come."""
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


async def test_ten_starts_at_once_apply_each_once(database_url: str, forget: asyncpg.Connection) -> None:
    await forget.execute("drop index elements_gone; delete from migrations where number = 9; delete from settings")
    applied = await asyncio.gather(*(migrate(database_url) for _ in range(10)))
    assert sorted(map(len, applied)) == [0] * 9 + [2], applied
    assert await migrate(database_url) == []


async def test_an_index_that_was_half_made_is_made_anew(database_url: str, forget: asyncpg.Connection) -> None:
    """Killed in the midst of it, PostgreSQL leaves an index that is not valid."""
    await forget.execute("delete from migrations where number = 9")
    await forget.execute("update pg_index set indisvalid = false where indexrelid = 'tasks_expired'::regclass")
    assert await migrate(database_url) == ["0009_history_indexes.sql"]
    assert await forget.fetchval("select indisvalid from pg_index where indexrelid = 'tasks_expired'::regclass")


async def test_changed_functions_are_put_in_place(database_url: str, forget: asyncpg.Connection) -> None:
    await forget.execute("update settings set value = 'other' where name = 'functions'")
    await forget.execute("drop function cancel_task")
    assert await migrate(database_url) == ["functions"]
    assert await forget.fetchval("select cancel_task(gen_random_uuid(), 1, '', '1 day')") is None


async def test_bodies_of_functions_are_valid(forget: asyncpg.Connection) -> None:
    """migrate() does not check them, because some call functions of later files."""
    await forget.execute("set check_function_bodies = on")
    await forget.execute(functions())


def test_each_file_creates_one_function_that_it_is_named_after() -> None:
    folder = Path(module.__file__).parent / "functions"
    for file in folder.glob("*.sql"):
        (name,) = re.findall(r"^create or replace function (\w+)", file.read_text(), re.MULTILINE)
        assert file.stem in (name, f"{name}_of_task", f"{name}_of_element")


async def test_a_newer_database_is_left_alone(database_url: str, forget: asyncpg.Connection) -> None:
    await forget.execute("insert into migrations (number, name) values (9999, '9999_later.sql')")
    await forget.execute("delete from settings")
    with pytest.raises(NewerDatabase, match="9999_later"):
        await migrate(database_url)
    assert await forget.fetchval("select count(*) from settings") == 0


async def test_a_migration_that_must_wait_lets_others_pass(
    database_url: str, forget: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody reads for long; what would queue behind the migration's lock must not wait as long."""
    later = (9998, "9998_later.sql", "alter table tasks add column later int")
    monkeypatch.setattr(module, "migrations", lambda: [*migrations(), later])
    reading = forget.transaction()
    await reading.start()
    await forget.fetchval("select count(*) from tasks")
    migrating = asyncio.create_task(migrate(database_url))
    other = await asyncpg.connect(database_url)
    slowest_s = 0.0
    end = time.monotonic() + 3.5
    while time.monotonic() < end:
        began = time.monotonic()
        await other.fetchval("select count(*) from tasks")
        slowest_s = max(slowest_s, time.monotonic() - began)
        await asyncio.sleep(0.05)
    assert not migrating.done()
    assert slowest_s > 0.3, "it does try"
    assert slowest_s < 2.5
    await reading.rollback()
    assert await migrating == ["9998_later.sql"]
    await other.close()
