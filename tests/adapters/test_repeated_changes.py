"""A statement that is repeated after a lost connection has the same result, and one entry in the audit log."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from framehouse.adapters.postgres.admin_keys import create_admin_key
from framehouse.adapters.postgres.pool import Database, sql

AT = datetime(2026, 1, 2, tzinfo=UTC)
ACCOUNT = {"name": "acme", "concurrency": 1, "units_limit": None, "weight": 1.0, "secret": "whsec_a", "actor": "test"}


async def key_of_acme(db: Database) -> int:
    await db.row(sql("create_account"), **ACCOUNT)
    await db.row(
        "insert into api_keys (account_id, prefix, hash) "
        "select id, 'fh_12345678', 'x' from accounts where name = 'acme'"
    )
    return int(await db.value("select id from api_keys"))


async def twice(db: Database, statement: str, /, **parameters: Any) -> None:
    first, second = [await db.value(sql(statement), **parameters) for _ in range(2)]
    assert first == second is not None
    assert await db.value("select count(*) from audit_log where action not like '%create'") <= 1


async def test_create_account(db: Database) -> None:
    await twice(db, "create_account", **ACCOUNT)
    assert await db.value("select count(*) from audit_log") == 1
    assert await db.value(sql("create_account"), **(ACCOUNT | {"secret": "whsec_b"})) is None, "another request"


async def test_revoke_key(db: Database) -> None:
    key_id = await key_of_acme(db)
    await twice(db, "revoke_key", key_id=key_id, at=AT, actor="test")
    assert await db.value(sql("revoke_key"), key_id=key_id, at=AT + timedelta(1), actor="test") is None


async def test_revoke_admin_key(db: Database) -> None:
    key = await create_admin_key(db, "scripts", actor="test")
    await twice(db, "revoke_admin_key", start=key[:12], at=AT, actor="test")
    assert await db.value(sql("revoke_admin_key"), start=key[:12], at=AT + timedelta(1), actor="test") is None


async def test_delete_account(db: Database) -> None:
    await key_of_acme(db)
    await twice(db, "delete_account", name="acme", at=AT, actor="test")
    assert await db.value(sql("delete_account"), name="acme", at=AT + timedelta(1), actor="test") is None


@pytest.mark.parametrize("overlap", [timedelta(0), timedelta(hours=1)])
async def test_rotate_secret(db: Database, overlap: timedelta) -> None:
    await key_of_acme(db)
    await twice(db, "rotate_secret", name="acme", secret="whsec_new", overlap=overlap, actor="test")
