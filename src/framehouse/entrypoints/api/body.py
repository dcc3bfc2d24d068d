"""Request bodies: read up to the limit and not beyond, then parsed once."""

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

import pydantic_core
from starlette.requests import ClientDisconnect, Request

from framehouse.domain.errors import Refused

Result = TypeVar("Result")
_LARGE_BYTES = 200_000


async def read_body(request: Request, *, most_bytes: int) -> bytes:
    """The raw body of a JSON request. Raises Refused (1200) for another content type and as soon as it is too large."""
    kind = request.headers.get("content-type", "application/json").split(";")[0].strip().lower()
    if kind != "application/json":
        raise Refused(1200, "the Content-Type must be application/json", status=415)
    too_large = Refused(1200, f"the body is too large; at most {most_bytes:,} bytes are allowed", status=413)
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length[:18]) > most_bytes:
        raise too_large
    body = bytearray()
    try:
        async for piece in request.stream():
            body += piece
            if len(body) > most_bytes:
                raise too_large
    except ClientDisconnect:
        raise Refused(1200, "the body ended too early") from None
    return bytes(body)


async def parse_json(body: bytes) -> Any:
    """The JSON value. Raises Refused (1200); NaN, invalid UTF-8, lone surrogates and endless nesting are not JSON."""
    try:
        return await off_loop(_from_json, body)
    except ValueError as error:
        reason = "" if len(body) == 0 else f": {error}"
        raise Refused(1200, f"the body is not JSON{reason}") from None


def _from_json(body: bytes) -> Any:
    return pydantic_core.from_json(body, allow_inf_nan=False)


async def off_loop(work: Callable[[bytes], Result], body: bytes) -> Result:
    """Do something with a body: small ones at once, large ones in a thread, so that nobody waits behind them."""
    return work(body) if len(body) < _LARGE_BYTES else await asyncio.to_thread(work, body)
