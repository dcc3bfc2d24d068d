"""Recognize a request that OpenAI's clients repeat, so that the repetition does not create a second task.

The official clients repeat a request after a lost response, but send no Idempotency-Key. They send the header
`X-Stainless-Retry-Count`, which is greater than 0 if the request is a repetition.
"""

import secrets

from starlette.requests import Request

from framehouse.adapters.postgres.pool import Database
from framehouse.adapters.postgres.task_store import find_latest_key
from framehouse.entrypoints.api.context import Idempotency
from framehouse.entrypoints.api.request_headers import find_header

_PREFIX = "openairetry"


def retry_count(request: Request) -> int | None:
    """Return the number of times that a client has already sent the request, or None if the client does not count."""
    count = find_header(request.scope, b"x-stainless-retry-count") or ""
    return int(count[:9]) if count.isascii() and count.isdecimal() else None


async def retry_key(db: Database, account_id: int, digest: bytes, count: int) -> Idempotency:
    """Return an idempotency key for a request without such a key. `digest` is the digest of the request.

    The first attempt gets a new key, so two equal requests create two tasks. A repetition gets the key of the latest
    equal request whose response has not been sent, or was sent less than a minute ago.
    """
    prefix = _PREFIX + digest.hex()
    key = await find_latest_key(db, account_id, prefix) if count else None
    return key or prefix + secrets.token_hex(16), digest
