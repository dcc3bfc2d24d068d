"""Store the keys of the admin API. These keys belong to operators, and not to accounts."""

import hmac
import secrets
from datetime import UTC, datetime
from typing import NamedTuple

from framehouse.adapters.postgres.account_store import key_hash
from framehouse.adapters.postgres.pool import Database, sql

ADMIN_KEY_PREFIX = "fha_"
_PREFIX_CHARACTERS = len(ADMIN_KEY_PREFIX) + 8


class AdminKey(NamedTuple):
    """A key of the admin API, without its secret. `name` states who uses the key, or what it is used for."""

    id: int
    name: str
    prefix: str
    created_at: datetime
    revoked_at: datetime | None


async def create_admin_key(db: Database, name: str, *, actor: str) -> str:
    """Create a key of the admin API and return it. The key cannot be displayed again: only its hash is stored."""
    key = ADMIN_KEY_PREFIX + secrets.token_urlsafe(32)
    await db.row(sql("create_admin_key"), name=name, prefix=key[:_PREFIX_CHARACTERS], hash=key_hash(key), actor=actor)
    return key


async def list_admin_keys(db: Database) -> list[AdminKey]:
    rows = await db.rows("select id, name, prefix, created_at, revoked_at from admin_keys order by id")
    return [AdminKey(*row) for row in rows]


async def revoke_admin_key(db: Database, prefix: str, *, actor: str) -> str | None:
    """Revoke the active key that starts with `prefix`. Returns the stored prefix of the revoked key.

    Only the first 12 characters of `prefix` are compared. Returns None and changes nothing if no active key, or more
    than one active key, starts with these characters.
    """
    revoked = await db.value(
        sql("revoke_admin_key"), start=prefix[:_PREFIX_CHARACTERS], at=datetime.now(UTC), actor=actor
    )
    return str(revoked) if revoked else None


async def find_admin_key(db: Database, key: str) -> AdminKey | None:
    """Return the admin key whose secret is `key`. Returns None if the key is unknown or revoked."""
    digest = key_hash(key)
    row = await db.row("select * from admin_keys where hash = :hash and revoked_at is null", hash=digest)
    if row is None or not hmac.compare_digest(row["hash"], digest):
        return None
    return AdminKey(row["id"], row["name"], row["prefix"], row["created_at"], None)
