"""Identifies the caller of a request by the API key or the signed JWT in the request."""

import asyncio
import hashlib
import json
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard, TypeVar, cast

from jwt.algorithms import HMACAlgorithm
from jwt.utils import base64url_decode
from starlette.types import Scope

from framehouse.adapters.postgres.account_store import find_bearer, find_jwt_key
from framehouse.adapters.postgres.admin_keys import ADMIN_KEY_PREFIX
from framehouse.adapters.postgres.pool import Database
from framehouse.domain.account import KEY_PREFIX, Caller
from framehouse.domain.errors import Refused
from framehouse.entrypoints.api.request_headers import find_header

_SKEW_S = 60
_MAX_TIME_S = 1e15  # later than any realistic date; below this limit, a float represents every second exactly
_MAX_TOKEN_CHARACTERS = 4096
_HS256 = HMACAlgorithm(HMACAlgorithm.SHA256)
_MAX_CACHED_KEYS = 10_000
_MAX_NEW_KEY_LOOKUPS = 4
_NEW_KEY_WAIT_S = 10.0
Found = TypeVar("Found")


class KeyCache:
    """A cache of the latest lookup result for each valid key, and a limit on the lookups of uncached keys.

    At most four lookups of uncached keys run at the same time, and further lookups wait. Requests with guessed keys
    therefore do not overload the database, and do not delay requests with cached keys.
    """

    def __init__(self) -> None:
        self._cached: OrderedDict[bytes, Any] = OrderedDict()
        self._new_key_slots = asyncio.Semaphore(_MAX_NEW_KEY_LOOKUPS)

    async def look_up(
        self, key: str, find: Callable[[], Awaitable[Found | None]], *, use_cached: bool = False
    ) -> Found | None:
        """Return the result of `find`, which looks up the key in the database. For an invalid key, the result is None.

        If `use_cached` is true, a cached result is returned without a lookup. A cached result may be out of date.
        Raises Refused (5001) if the lookup of an uncached key cannot start within ten seconds.
        """
        digest = hashlib.sha256(key.encode()).digest()
        if use_cached and (cached := self._cached.get(digest)) is not None:
            return cast(Found, cached)
        if digest in self._cached:
            found = await find()
        else:
            try:
                async with asyncio.timeout(_NEW_KEY_WAIT_S):
                    await self._new_key_slots.acquire()
            except TimeoutError:
                raise Refused(5001, "the service is temporarily unavailable; try again", retry_after_s=2) from None
            try:
                found = await find()
            finally:
                self._new_key_slots.release()
        self._cached.pop(digest, None)
        if found is not None:
            self._cached[digest] = found
            if len(self._cached) > _MAX_CACHED_KEYS:
                self._cached.popitem(last=False)
        return found


def authorization_of(scope: Scope) -> str | None:
    """Return the value of the Authorization header of a request, or None if the request has no key.

    The header `X-API-KEY: <key>`, which the API nodes of ComfyUI send, has the same meaning as `Authorization: Bearer
    <key>`. If a request has both headers, X-API-KEY is ignored.
    """
    if header := find_header(scope, b"authorization"):
        return header
    key = find_header(scope, b"x-api-key")
    return f"Bearer {key}" if key else None


async def authenticate(db: Database, header: str | None, key_cache: KeyCache, *, use_cached: bool = False) -> Caller:
    """Return the caller that an Authorization header identifies.

    If `use_cached` is true, no query is sent for a key with a cached result, unless the account is disabled in the
    cached result. The key may have been revoked since the result was cached, so the calling code must also verify the
    key in the SQL statement that it runs for the request.
    Raises Refused (1000 to 1004) if the key or the JWT is missing or invalid. Raises Refused (1100) if the account is
    disabled. Raises Refused (5001) as `KeyCache.look_up` does.
    """
    if not header or not header.strip():
        raise Refused(1001, "the Authorization header is missing; send Authorization: Bearer <key>")
    scheme, _, token = header.strip().partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token or len(token) > _MAX_TOKEN_CHARACTERS or not token.isascii():
        raise Refused(1002, "the Authorization header is malformed; send Authorization: Bearer <key>")
    if token.startswith(ADMIN_KEY_PREFIX):
        raise Refused(1002, "this is an admin key, which is valid only for the admin API; send an API key")
    find_caller = _find_by_key if token.startswith(KEY_PREFIX) else _find_by_jwt
    caller, disabled = await find_caller(db, token, key_cache, use_cached)
    if disabled and use_cached:
        caller, disabled = await find_caller(db, token, key_cache, False)
    if disabled:
        raise Refused(1100, "the account is disabled")
    return caller


async def _find_by_key(db: Database, key: str, key_cache: KeyCache, use_cached: bool) -> tuple[Caller, bool]:
    """Return the caller, and whether the caller's account is disabled. Raises Refused (1002 or 5001)."""
    found = await key_cache.look_up(key, lambda: find_bearer(db, key), use_cached=use_cached)
    if found is None:
        raise Refused(1002, "the API key is unknown or revoked")
    return found


async def _find_by_jwt(db: Database, token: str, key_cache: KeyCache, use_cached: bool) -> tuple[Caller, bool]:
    """Return the caller, and whether the caller's account is disabled. Raises Refused (1000, 1002 to 1004, or 5001)."""
    unverified = _read_jwt(token)
    payload, issuer = unverified.payload, unverified.payload.get("iss")
    if (
        unverified.header.get("alg") != "HS256"
        or "crit" in unverified.header
        or not isinstance(issuer, str)
        or not issuer.isascii()
        or "\0" in issuer
    ):
        raise Refused(1002, "the JWT must be signed with HS256, and its iss must be the access key")
    key = await key_cache.look_up(issuer, lambda: find_jwt_key(db, issuer), use_cached=use_cached)
    if key is None:
        raise Refused(1002, "the JWT's access key is unknown or revoked")
    if not _HS256.verify(unverified.signed, key.secret_key.encode(), unverified.signature):
        raise Refused(1000, "the JWT's signature is wrong")
    now = time.time()
    expires, not_before = payload.get("exp"), 0 if payload.get("nbf") is None else payload["nbf"]
    if not _is_time(expires) or not _is_time(not_before):
        raise Refused(1002, "exp (required) and nbf (optional) of the JWT must be Unix timestamps")
    if not_before > now + _SKEW_S:
        raise Refused(1003, "the JWT is not valid yet (nbf)")
    if expires <= now:
        raise Refused(1004, "the JWT has expired (exp)")
    return key.caller, key.disabled


@dataclass(frozen=True, slots=True)
class _UnverifiedJwt:
    """The parts of a JWT whose signature has not been verified. `signed` is the text that was signed."""

    header: Mapping[str, object]
    payload: Mapping[str, object]
    signed: bytes
    signature: bytes


def _read_jwt(token: str) -> _UnverifiedJwt:
    """Split a JWT into its parts. Raises Refused (1002).

    PyJWT's own function refuses tokens with a `kid` that is not a string, which some clients send.
    """
    try:
        signed, _, signature = token.encode().rpartition(b".")
        header, payload = (json.loads(base64url_decode(part)) for part in signed.split(b"."))
        parts = _UnverifiedJwt(header, payload, signed, base64url_decode(signature))
    except (ValueError, RecursionError):
        raise Refused(1002, "the token is neither an API key nor a JWT") from None
    if not isinstance(header, dict) or not isinstance(payload, dict):
        raise Refused(1002, "the token is neither an API key nor a JWT")
    return parts


def _is_time(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _MAX_TIME_S
