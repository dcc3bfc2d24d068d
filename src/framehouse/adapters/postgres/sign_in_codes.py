"""One-time codes that are exchanged for an API key: the link that the first start prints."""

import secrets
from datetime import timedelta

from framehouse.adapters.postgres.account_store import find_bearer, key_hash, key_prefix, new_key
from framehouse.adapters.postgres.pool import Database, sql

CODE_LIFE = timedelta(minutes=10)


async def create_code(db: Database, account_id: int, *, life: timedelta = CODE_LIFE) -> str:
    """A new code, which is shown now or never: only its hash is stored. It ends all others of the account."""
    code = secrets.token_urlsafe(32)
    await db.row(
        "delete from sign_in_codes where account_id = :account_id or expires_at < now()", account_id=account_id
    )
    await db.row(
        "insert into sign_in_codes (hash, account_id, expires_at) values (:hash, :account_id, now() + :life::interval) "
        "on conflict (hash) do nothing",
        hash=key_hash(code),
        account_id=account_id,
        life=life,
    )
    return code


async def exchange_code(db: Database, code: str) -> tuple[str, str] | None:
    """A new key for a code, and its account's name. None: the code is unknown, used or too old. Of several calls at
    once, one gets a key. Codes are 256 random bits looked up by their hash, so timing tells nothing about them."""
    key = new_key()
    await db.row(sql("use_sign_in_code"), code_hash=key_hash(code), prefix=key_prefix(key), key_hash=key_hash(key))
    found = await find_bearer(db, key)  # rather than an answer of the statement, which may have run twice
    return (key, found[0].account_name) if found else None
