"""Store accounts and their keys in Postgres."""

import hashlib
import hmac
import secrets
from base64 import b64encode
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import asyncpg

from framehouse.adapters.postgres.audit_log import SYSTEM
from framehouse.adapters.postgres.pool import Database, sql
from framehouse.domain.account import DEFAULT_CONCURRENCY, KEY_PREFIX, Account, Caller, Key

_PREFIX_CHARACTERS = len(KEY_PREFIX) + 8


@dataclass(frozen=True, slots=True)
class JwtKey:
    """The secret key with which the server verifies the JWTs of a client.

    `disabled` is true if the caller's account is disabled.
    """

    caller: Caller
    secret_key: str
    disabled: bool


def key_hash(key: str) -> bytes:
    """Return the SHA-256 hash of a bearer key. The database contains this hash instead of the key.

    The hash needs no salt, because a key of 256 random bits cannot be guessed.
    """
    return hashlib.sha256(key.encode()).digest()


def new_key() -> str:
    """Return a new random bearer key. This function does not store the key."""
    return KEY_PREFIX + secrets.token_urlsafe(32)


def key_prefix(key: str) -> str:
    """Return the prefix of a key: its first characters, which identify the key and may be displayed."""
    return key[:_PREFIX_CHARACTERS]


def _new_secret() -> str:
    return "whsec_" + b64encode(secrets.token_bytes(32)).decode()


async def create_account(
    db: Database,
    name: str,
    *,
    concurrency: int = DEFAULT_CONCURRENCY,
    units_limit: int | None = None,
    weight: float = 1.0,
    actor: str = SYSTEM,
) -> bool:
    """Create an account with a new callback secret. Returns False and changes nothing if the name is already used."""
    account_id = await db.value(
        sql("create_account"),
        name=name,
        concurrency=concurrency,
        units_limit=units_limit,
        weight=weight,
        secret=_new_secret(),
        actor=actor,
    )
    return account_id is not None


async def get_account(db: Database, account_id: int) -> Account:
    """Return the account with this id. Raises LookupError if there is no such account."""
    row = await db.row("select * from accounts where id = :id", id=account_id)
    if row is None:
        raise LookupError(account_id)
    return _account(row)


async def list_accounts(db: Database) -> list[tuple[Account, int]]:
    """Return all accounts that are not deleted, sorted by name, each with the number of its active keys."""
    return [(_account(row), row["keys"]) for row in await db.rows(sql("list_accounts"))]


async def find_account(db: Database, name: str) -> Account | None:
    row = await db.row("select * from accounts where name = :name and deleted_at is null", name=name)
    return _account(row) if row else None


async def set_account(
    db: Database,
    name: str,
    *,
    concurrency: int | None,
    units_limit: int | None,
    no_limit: bool,
    disabled: bool | None,
    weight: float | None = None,
    actor: str = SYSTEM,
) -> bool:
    """Change an account. An argument that is None changes nothing. `no_limit` removes the units limit.

    `weight` determines the account's share of the workers, relative to other accounts. A new weight does not affect
    tasks that are already accepted. Returns False if the account does not exist.
    """
    changed = await db.value(
        sql("set_account"),
        name=name,
        concurrency=concurrency,
        units_limit=units_limit,
        no_limit=no_limit,
        disabled=disabled,
        weight=weight,
        actor=actor,
    )
    return changed is not None


async def rotate_secret(db: Database, name: str, overlap: timedelta, *, actor: str = SYSTEM) -> str | None:
    """Create a new callback secret and return the secret.

    During the period `overlap`, callbacks are signed with the new secret, and with all secrets that were valid at the
    time of the call. Returns None if the account does not exist.
    """
    secret = await db.value(sql("rotate_secret"), name=name, secret=_new_secret(), overlap=overlap, actor=actor)
    return str(secret) if secret else None


async def valid_secrets(db: Database, account_id: int) -> list[str]:
    """Return the callback secrets with which the account's callbacks are signed now, newest first."""
    row = await db.row(
        "select callback_secret, case when callback_secret_old_until > now() then callback_secret_old end as old "
        "from accounts where id = :account_id",
        account_id=account_id,
    )
    if row is None:
        raise LookupError(account_id)
    return [row["callback_secret"], *(row["old"] or "").split()]


async def delete_account(db: Database, name: str, *, actor: str = SYSTEM) -> int | None:
    """Mark an account as deleted. Returns the id of the account, or None if there is no such account.

    The keys of the account become invalid immediately. The pipeline then ends its tasks, and the sweeper deletes its
    data (see `pipeline/delete_account.py`).
    """
    account_id: int | None = await db.value(sql("delete_account"), name=name, at=datetime.now(UTC), actor=actor)
    return account_id


async def count_tasks(db: Database, account_id: int) -> int:
    """Count the tasks of an account, including the tasks whose images have expired."""
    return int(await db.value("select count(*) from tasks where account_id = :account_id", account_id=account_id))


async def create_key(db: Database, account_id: int, *, models: list[str] | None = None, actor: str = SYSTEM) -> str:
    """Create a bearer key and return it. The key cannot be displayed again, because the database does not contain it.

    `models` contains the names of the models that the key may use. None means all models.
    """
    key = new_key()
    await db.row(
        sql("create_key"),
        account_id=account_id,
        prefix=key_prefix(key),
        hash=key_hash(key),
        access_key=None,
        secret_key=None,
        models=models,
        actor=actor,
    )
    return key


async def create_jwt_key(
    db: Database, account_id: int, *, models: list[str] | None = None, actor: str = SYSTEM
) -> tuple[str, str]:
    """Create an access key and a secret key for a client that signs its own JWTs. Returns both keys.

    For `models`, see `create_key`.
    """
    access_key, secret_key = "ak_" + secrets.token_urlsafe(24), secrets.token_urlsafe(32)
    await db.row(
        sql("create_key"),
        account_id=account_id,
        prefix=key_prefix(access_key),
        hash=None,
        access_key=access_key,
        secret_key=secret_key,
        models=models,
        actor=actor,
    )
    return access_key, secret_key


async def list_keys(db: Database, account_id: int) -> list[Key]:
    rows = await db.rows(
        "select id, prefix, access_key is not null as jwt, models, created_at, revoked_at "
        "from api_keys where account_id = :account_id order by id",
        account_id=account_id,
    )
    return [Key(*row) for row in rows]


async def revoke_key(db: Database, key_id: int, *, actor: str = SYSTEM) -> str | None:
    """Revoke a key immediately and permanently. Returns the prefix of the key.

    Returns None if the key does not exist or is already revoked.
    """
    prefix = await db.value(sql("revoke_key"), key_id=key_id, at=datetime.now(UTC), actor=actor)
    return str(prefix) if prefix else None


async def find_keys(db: Database, account_id: int, start: str) -> list[tuple[int, str]]:
    """Return the ids and prefixes of the account's active keys that begin with `start`.

    If `start` is longer than the prefix of a key, `start` must be the complete bearer key or access key.
    """
    rows = await db.rows(
        "select id, prefix from api_keys where account_id = :account_id and revoked_at is null and case "
        "when length(:start) > length(prefix) then hash = :hash or access_key = :start "
        "else starts_with(prefix, :start) end",
        account_id=account_id,
        start=start,
        hash=key_hash(start),
    )
    return [(row["id"], row["prefix"]) for row in rows]


def _account(row: asyncpg.Record) -> Account:
    return Account(*(row[column] for column in Account._fields))


def _caller(row: asyncpg.Record) -> Caller:
    models = tuple(row["models"]) if row["models"] is not None else None
    return Caller(row["account_id"], row["name"], models, row["key_id"])


async def find_bearer(db: Database, key: str) -> tuple[Caller, bool] | None:
    """Return the caller of a bearer key, and whether the caller's account is disabled.

    Returns None if no active key matches.
    """
    digest = key_hash(key)
    row = await db.row(sql("find_bearer_key"), hash=digest)
    if row is None or not hmac.compare_digest(row["hash"], digest):
        return None
    return _caller(row), row["disabled"]


async def find_jwt_key(db: Database, access_key: str) -> JwtKey | None:
    row = await db.row(sql("find_jwt_key"), access_key=access_key)
    return JwtKey(_caller(row), row["secret_key"], row["disabled"]) if row else None


async def shared_secret(db: Database, name: str) -> str:
    """Return the secret with this name, which all processes share. The first call creates the secret."""
    await db.row(
        "insert into settings (name, value) values (:name, :value) on conflict (name) do nothing",
        name=name,
        value=secrets.token_hex(32),
    )
    return str(await db.value("select value from settings where name = :name", name=name))
