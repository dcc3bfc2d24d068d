"""Bearer key or signed JWT -> who is calling."""

import time
from typing import TypeGuard

import jwt

from framehouse.adapters.postgres.accounts import find_bearer, find_jwt_key
from framehouse.adapters.postgres.pool import Database
from framehouse.domain.account import KEY_PREFIX, Caller
from framehouse.domain.errors import Refused

_SKEW_S = 60
_LATEST = 1e15  # beyond any date, and below what floats cannot tell apart
_MAX_TOKEN_CHARACTERS = 4096


async def authenticate(db: Database, header: str | None) -> Caller:
    """The caller behind an Authorization header. Raises Refused: 1000 to 1004, or 1100 for a disabled account."""
    if not header or not header.strip():
        raise Refused(1001, "the Authorization header is missing; send Authorization: Bearer <key>")
    scheme, _, token = header.strip().partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token or len(token) > _MAX_TOKEN_CHARACTERS or not token.isascii():
        raise Refused(1002, "the Authorization header is malformed; send Authorization: Bearer <key>")
    caller, disabled = await (_by_key(db, token) if token.startswith(KEY_PREFIX) else _by_jwt(db, token))
    if disabled:
        raise Refused(1100, "the account is disabled")
    return caller


async def _by_key(db: Database, key: str) -> tuple[Caller, bool]:
    found = await find_bearer(db, key)
    if found is None:
        raise Refused(1002, "the API key is unknown or revoked")
    return found


async def _by_jwt(db: Database, token: str) -> tuple[Caller, bool]:
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
    key = await find_jwt_key(db, issuer)
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
