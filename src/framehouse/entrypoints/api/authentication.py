"""Bearer key or signed JWT -> who is calling."""

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any, TypeGuard, TypeVar, cast

import jwt

from framehouse.adapters.postgres.account_store import find_bearer, find_jwt_key
from framehouse.adapters.postgres.pool import Database
from framehouse.domain.account import KEY_PREFIX, Caller
from framehouse.domain.errors import Refused

_SKEW_S = 60
_LATEST = 1e15  # beyond any date, and below what floats cannot tell apart
_MAX_TOKEN_CHARACTERS = 4096
_MOST_KNOWN = 10_000
_STRANGERS_AT_ONCE = 4
_TURN_S = 10.0
Found = TypeVar("Found")


class Strangers:
    """Keys that have not opened anything in this process are looked up a few at a time. So whoever guesses keys, from
    however many addresses, waits for others who do, and does not keep the database from those whose keys are good."""

    def __init__(self) -> None:
        self._known: OrderedDict[bytes, Any] = OrderedDict()
        self._turns = asyncio.Semaphore(_STRANGERS_AT_ONCE)

    async def look_up(
        self, key: str, find: Callable[[], Awaitable[Found | None]], *, remembered: bool = False
    ) -> Found | None:
        """What `find` finds of the key, in its turn; `remembered` takes what it found last, which may have changed.
        Raises Refused (5001) where a turn does not come soon."""
        mark = hashlib.sha256(key.encode()).digest()
        if remembered and (last := self._known.get(mark)) is not None:
            return cast(Found, last)
        if mark in self._known:
            found = await find()
        else:
            try:
                async with asyncio.timeout(_TURN_S):
                    await self._turns.acquire()
            except TimeoutError:
                raise Refused(5001, "not available at the moment, try again", retry_after_s=2) from None
            try:
                found = await find()
            finally:
                self._turns.release()
        self._known.pop(mark, None)
        if found is not None:
            self._known[mark] = found
            if len(self._known) > _MOST_KNOWN:
                self._known.popitem(last=False)
        return found


async def authenticate(db: Database, header: str | None, strangers: Strangers, *, remembered: bool = False) -> Caller:
    """The caller behind an Authorization header. Raises Refused: 1000 to 1004, 1100 for a disabled account, or 5001.

    `remembered` saves the look into the database where the key opened something before: whether it still does, is then
    for the statement to find out that serves the caller.
    """
    if not header or not header.strip():
        raise Refused(1001, "the Authorization header is missing; send Authorization: Bearer <key>")
    scheme, _, token = header.strip().partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token or len(token) > _MAX_TOKEN_CHARACTERS or not token.isascii():
        raise Refused(1002, "the Authorization header is malformed; send Authorization: Bearer <key>")
    by = _by_key if token.startswith(KEY_PREFIX) else _by_jwt
    caller, disabled = await by(db, token, strangers, remembered)
    if disabled and remembered:
        caller, disabled = await by(db, token, strangers, False)
    if disabled:
        raise Refused(1100, "the account is disabled")
    return caller


async def _by_key(db: Database, key: str, strangers: Strangers, remembered: bool) -> tuple[Caller, bool]:
    found = await strangers.look_up(key, lambda: find_bearer(db, key), remembered=remembered)
    if found is None:
        raise Refused(1002, "the API key is unknown or revoked")
    return found


async def _by_jwt(db: Database, token: str, strangers: Strangers, remembered: bool) -> tuple[Caller, bool]:
    try:
        unchecked = jwt.decode_complete(token, options={"verify_signature": False})
    except (jwt.InvalidTokenError, ValueError, RecursionError):
        raise Refused(1002, "the token is neither an API key nor a JWT") from None
    issuer = unchecked["payload"].get("iss")
    if (
        unchecked["header"].get("alg") != "HS256"
        or not isinstance(issuer, str)
        or not issuer.isascii()
        or "\0" in issuer
    ):
        raise Refused(1002, "the JWT must be HS256 with the access key as iss")
    key = await strangers.look_up(issuer, lambda: find_jwt_key(db, issuer), remembered=remembered)
    if key is None:
        raise Refused(1002, "the JWT's access key is unknown or revoked")
    try:
        checks = {"verify_exp": False, "verify_nbf": False, "verify_iat": False, "verify_aud": False}
        payload = jwt.decode(token, key.secret_key, algorithms=["HS256"], options=checks)  # type: ignore[arg-type]
    except jwt.InvalidSignatureError:
        raise Refused(1000, "the JWT's signature is wrong") from None
    except jwt.InvalidTokenError:
        raise Refused(1002, "the JWT is malformed") from None
    now = time.time()
    expires, not_before = payload.get("exp"), payload.get("nbf", 0)
    if not _is_time(expires) or not _is_time(not_before):
        raise Refused(1002, "the JWT must hold exp, and may hold nbf, as Unix seconds")
    if not_before > now + _SKEW_S:
        raise Refused(1003, "the JWT is not valid yet (nbf)")
    if expires <= now:
        raise Refused(1004, "the JWT has expired (exp)")
    return key.caller, key.disabled


def _is_time(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _LATEST
