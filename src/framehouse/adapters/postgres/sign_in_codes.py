"""One-time codes that can be exchanged for an API key.

When a server starts for the first time, the server prints a link that contains such a code.
"""

import secrets
from datetime import timedelta

from framehouse.adapters.postgres.account_store import find_bearer, key_hash, key_prefix, new_key
from framehouse.adapters.postgres.pool import Database, sql

CODE_LIFE = timedelta(minutes=10)


async def create_code(db: Database, account_id: int, *, life: timedelta = CODE_LIFE) -> str:
    """Create a code and return it. All earlier codes of the account become invalid.

    The code cannot be displayed again, because only its hash is stored.
    """
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
    """Exchange a code for a new API key. Returns the key and the name of its account.

    Returns None if the code is unknown, used or expired, or if the account is disabled. If several calls exchange the
    same code at the same time, only one call receives a key. A code consists of 256 random bits, and is looked up by
    its hash. The response time therefore reveals nothing about valid codes.
    """
    key = new_key()
    await db.row(sql("use_sign_in_code"), code_hash=key_hash(code), prefix=key_prefix(key), key_hash=key_hash(key))
    # look up the key instead of using the result of the statement: if the connection is lost, the statement is
    # repeated, and the second run inserts nothing, although the first run may have exchanged the code
    bearer = await find_bearer(db, key)
    return (key, bearer[0].account_name) if bearer else None
