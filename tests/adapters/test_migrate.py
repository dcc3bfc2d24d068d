"""Migrations: concurrent starts apply each migration once, and a waiting migration does not block other statements."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from framehouse.adapters.postgres import migrate as module
from framehouse.adapters.postgres.migrate import NewerDatabase, functions, migrate, migrations
from tests.support.eventually import eventually

WAITING_MIGRATIONS = (
    "select count(*) from pg_locks where not granted and mode = 'AccessExclusiveLock' and relation = 'tasks'::regclass "
    "and database = (select oid from pg_database where datname = current_database())"
)


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """Connect to the migrated database. Tests delete rows of `migrations`, so that these migrations apply again."""
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


async def test_ten_concurrent_starts_apply_each_migration_once(
    database_url: str, connection: asyncpg.Connection
) -> None:
    await connection.execute("drop index elements_gone; delete from migrations where number = 9; delete from settings")
    applied = await asyncio.gather(*(migrate(database_url) for _ in range(10)))
    assert sorted(map(len, applied)) == [0] * 9 + [2], applied
    assert await migrate(database_url) == []


async def test_an_invalid_index_is_created_again(database_url: str, connection: asyncpg.Connection) -> None:
    """PostgreSQL leaves an invalid index if the process that creates the index is killed."""
    await connection.execute("delete from migrations where number = 9")
    await connection.execute("update pg_index set indisvalid = false where indexrelid = 'tasks_expired'::regclass")
    assert await migrate(database_url) == ["0009_history_indexes.sql"]
    assert await connection.fetchval("select indisvalid from pg_index where indexrelid = 'tasks_expired'::regclass")


async def test_changed_functions_are_replaced(database_url: str, connection: asyncpg.Connection) -> None:
    await connection.execute("update settings set value = 'other' where name = 'functions'")
    await connection.execute("drop function cancel_task")
    assert await migrate(database_url) == ["functions"]
    assert await connection.fetchval("select cancel_task(gen_random_uuid(), 1, '', '1 day')") is None


async def test_bodies_of_functions_are_valid(connection: asyncpg.Connection) -> None:
    """`migrate` does not check the bodies, because some functions call functions of later files."""
    await connection.execute("set check_function_bodies = on")
    await connection.execute(functions())


def test_each_file_creates_one_function_and_has_its_name() -> None:
    folder = Path(module.__file__).parent / "functions"
    for file in folder.glob("*.sql"):
        (name,) = re.findall(r"^create or replace function (\w+)", file.read_text(), re.MULTILINE)
        assert file.stem in (name, f"{name}_of_task", f"{name}_of_element")


async def test_a_newer_database_is_not_changed(database_url: str, connection: asyncpg.Connection) -> None:
    await connection.execute("insert into migrations (number, name) values (9999, '9999_later.sql')")
    await connection.execute("delete from settings")
    with pytest.raises(NewerDatabase, match="9999_later"):
        await migrate(database_url)
    assert await connection.fetchval("select count(*) from settings") == 0


async def test_a_migration_that_waits_for_a_lock_does_not_block_other_statements(
    database_url: str, connection: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long transaction reads a table, and the migration waits for its lock.

    Other statements on the table queue behind the migration, but must not wait until the long transaction ends.
    """
    later = (9998, "9998_later.sql", "alter table tasks add column later int")
    monkeypatch.setattr(module, "migrations", lambda: [*migrations(), later])
    long_transaction = connection.transaction()
    await long_transaction.start()
    await connection.fetchval("select count(*) from tasks")
    migrating = asyncio.create_task(migrate(database_url))
    other = await asyncpg.connect(database_url)
    for _ in range(3):
        await eventually(lambda: connection.fetchval(WAITING_MIGRATIONS))
        async with asyncio.timeout(20):  # much longer than the migration waits for the lock
            await other.fetchval("select count(*) from tasks")
    assert not migrating.done()
    await long_transaction.rollback()
    assert await migrating == ["9998_later.sql"]
    await other.close()


async def test_processes_of_the_previous_release_can_claim_while_a_migration_waits(
    database_url: str, connection: asyncpg.Connection
) -> None:
    """`create index concurrently` waits for all open transactions, for example for the transaction of a backup."""
    old_claim = "claim_batches(text[], text[], int, uuid, int, interval, uuid, boolean, bigint[])"
    call = (
        "select count(*) from claim_batches('{m}', '{\"\"}', 1, gen_random_uuid(), 1, interval '1 minute', null, "
        "false, array[]::bigint[])"
    )
    await connection.execute(
        "drop function claim_batches; drop index batches_with_orders; delete from migrations where number = 24; "
        "update settings set value = 'old' where name = 'functions'; "
        f"create function {old_claim} returns table (id bigint) language sql as 'select 1::bigint'"
    )
    other = await asyncpg.connect(database_url)
    transaction = other.transaction(isolation="repeatable_read")
    await transaction.start()
    await other.execute("select count(*) from batches")
    migrating = asyncio.create_task(migrate(database_url))
    for _ in range(20):
        assert await connection.fetchval(call) == 1
        await asyncio.sleep(0.02)
    assert not migrating.done()
    await transaction.rollback()
    await migrating
    assert await connection.fetchval(call) == 0, "the new function"
    assert await connection.fetchval("select count(*) from pg_proc where proname = 'claim_batches'") == 1
    await other.close()
