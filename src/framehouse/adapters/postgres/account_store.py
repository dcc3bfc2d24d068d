"""Accounts and their keys in Postgres."""

import hashlib
import hmac
import secrets
from base64 import b64encode
from dataclasses import dataclass
from datetime import timedelta

import asyncpg

from framehouse.adapters.postgres.pool import Database, sql
from framehouse.domain.account import DEFAULT_CONCURRENCY, KEY_PREFIX, Account, Caller, Key

_PREFIX_CHARACTERS = len(KEY_PREFIX) + 8


@dataclass(frozen=True, slots=True)
class JwtKey:
    """What is needed to check a token signed by a client."""

    caller: Caller
    secret_key: str
    disabled: bool


def key_hash(key: str) -> bytes:
    """How a bearer key is stored. Keys are 256 random bits, so a plain hash is enough: there is nothing to guess."""
    return hashlib.sha256(key.encode()).digest()


def new_key() -> str:
    """A bearer key that nobody has yet."""
    return KEY_PREFIX + secrets.token_urlsafe(32)


def key_prefix(key: str) -> str:
    """What of a key may be shown, to tell it from others."""
    return key[:_PREFIX_CHARACTERS]


def _new_secret() -> str:
    return "whsec_" + b64encode(secrets.token_bytes(32)).decode()


async def create_account(
    db: Database, name: str, *, concurrency: int = DEFAULT_CONCURRENCY, units_limit: int | None = None
) -> bool:
    """Make an account with a callback secret of its own. False: the name is taken, and nothing was changed."""
    made = await db.value(
        "insert into accounts (name, concurrency, units_limit, callback_secret) "
        "values (:name, :concurrency, :units_limit, :secret) on conflict (name) do nothing returning id",
        name=name,
        concurrency=concurrency,
        units_limit=units_limit,
        secret=_new_secret(),
    )
    return made is not None


async def get_account(db: Database, account_id: int) -> Account:
    """The account of a caller. Raises LookupError."""
    row = await db.row("select * from accounts where id = :id", id=account_id)
    if row is None:
        raise LookupError(account_id)
    return _account(row)


async def list_accounts(db: Database) -> list[tuple[Account, int]]:
    """All accounts by name, each with the number of its active keys."""
    return [(_account(row), row["keys"]) for row in await db.rows(sql("list_accounts"))]


async def find_account(db: Database, name: str) -> Account | None:
    row = await db.row("select * from accounts where name = :name", name=name)
    return _account(row) if row else None


async def set_account(
    db: Database, name: str, *, concurrency: int | None, units_limit: int | None, no_limit: bool, disabled: bool | None
) -> bool:
    """Change what is given and leave the rest. Work under way is not touched. False: no such account."""
    changed = await db.value(
        sql("set_account"),
        name=name,
        concurrency=concurrency,
        units_limit=units_limit,
        no_limit=no_limit,
        disabled=disabled,
    )
    return changed is not None


async def rotate_secret(db: Database, name: str, overlap: timedelta) -> str | None:
    """A new callback secret; the old one signs too until the overlap is over. None: no such account."""
    secret = await db.value(sql("rotate_secret"), name=name, secret=_new_secret(), overlap=overlap)
    return str(secret) if secret else None


async def create_key(db: Database, account_id: int, *, models: list[str] | None = None) -> str:
    """A new bearer key. It is shown now or never: only its hash is stored."""
    key = new_key()
    await db.row(
        "insert into api_keys (account_id, prefix, hash, models) values (:account_id, :prefix, :hash, :models) "
        "on conflict (hash) do nothing",
        account_id=account_id,
        prefix=key_prefix(key),
        hash=key_hash(key),
        models=models,
    )
    return key


async def create_jwt_key(db: Database, account_id: int, *, models: list[str] | None = None) -> tuple[str, str]:
    """A new access key and secret key, for clients that sign their tokens themselves."""
    access_key, secret_key = "ak_" + secrets.token_urlsafe(24), secrets.token_urlsafe(32)
    await db.row(
        "insert into api_keys (account_id, prefix, access_key, secret_key, models) "
        "values (:account_id, :prefix, :access_key, :secret_key, :models) on conflict (access_key) do nothing",
        account_id=account_id,
        prefix=key_prefix(access_key),
        access_key=access_key,
        secret_key=secret_key,
        models=models,
    )
    return access_key, secret_key


async def list_keys(db: Database, account_id: int) -> list[Key]:
    rows = await db.rows(
        "select id, prefix, access_key is not null as jwt, models, created_at, revoked_at "
        "from api_keys where account_id = :account_id order by id",
        account_id=account_id,
    )
    return [Key(*row) for row in rows]


async def revoke_key(db: Database, key_id: int) -> str | None:
    """Revoke a key, immediately and for ever; its prefix, or None if it was revoked before."""
    prefix = await db.value(
        "update api_keys set revoked_at = now() where id = :key_id and revoked_at is null returning prefix",
        key_id=key_id,
    )
    return str(prefix) if prefix else None


async def find_keys(db: Database, account_id: int, start: str) -> list[tuple[int, str]]:
    """Ids and prefixes of the account's active keys that begin with `start`; only the key itself, if `start` is one."""
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
    """The caller behind a bearer key and whether the account is disabled, or None."""
    wanted = key_hash(key)
    row = await db.row(sql("find_bearer_key"), hash=wanted)
    if row is None or not hmac.compare_digest(row["hash"], wanted):
        return None
    return _caller(row), row["disabled"]


async def find_jwt_key(db: Database, access_key: str) -> JwtKey | None:
    row = await db.row(sql("find_jwt_key"), access_key=access_key)
    return JwtKey(_caller(row), row["secret_key"], row["disabled"]) if row else None


async def shared_secret(db: Database, name: str) -> str:
    """A secret that all processes agree on, made by whoever asks first."""
    await db.row(
        "insert into settings (name, value) values (:name, :value) on conflict (name) do nothing",
        name=name,
        value=secrets.token_hex(32),
    )
    return str(await db.value("select value from settings where name = :name", name=name))
