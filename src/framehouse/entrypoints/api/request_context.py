"""What every path of the contract asks first: who calls, which page, which body under which key."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from fastapi import Request

from framehouse.adapters.postgres.pool import Database
from framehouse.domain.account import Caller
from framehouse.domain.errors import Refused, refused_fields
from framehouse.domain.links import Links
from framehouse.domain.request import read_int, shown
from framehouse.entrypoints.api.authentication import Strangers, authenticate
from framehouse.entrypoints.api.rate_limit import RateLimit
from framehouse.entrypoints.api.request_body import Bodies

Answer = TypeVar("Answer")
Idempotency = tuple[str, bytes]
"""A key and the hash of the body that it came with."""
MAX_PAGE, MAX_PAGE_SIZE, PAGE_SIZE = 1000, 500, 30
_MAX_KEY_CHARACTERS = 255
_HOST = re.compile(r"(?:[A-Za-z0-9._-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")


@dataclass(frozen=True, slots=True)
class RequestContext:
    """What the paths of tasks and elements share."""

    db: Database
    links: Links
    rate: RateLimit
    bodies: Bodies
    strangers: Strangers = field(default_factory=Strangers)

    async def caller(self, request: Request) -> Caller:
        """Who calls. Raises Refused: as `authenticate`, and 1302."""
        caller = await authenticate(self.db, request.headers.get("authorization"), self.strangers)
        self.rate.check(caller)
        return caller

    async def serve(self, request: Request, work: Callable[[Caller], Awaitable[Answer]]) -> Answer:
        """What `work` makes for the caller, whose own statement finds out whether the key is still good: one look into
        the database instead of two. Raises as `caller`, which goes before anything that `work` refuses."""
        header = request.headers.get("authorization")
        caller = await authenticate(self.db, header, self.strangers, remembered=True)
        try:
            self.rate.check(caller)
            return await work(caller)
        except Refused:
            await authenticate(self.db, header, self.strangers)
            raise

    @asynccontextmanager
    async def body(
        self, request: Request, caller: Caller | None, key: str | None = None
    ) -> AsyncIterator[tuple[Any, Idempotency | None]]:
        """The JSON body, whose pictures last as long as the context; and the idempotency key, where there is one, with
        the hash of the body. Raises as `Bodies.read`, and Refused (1201) for a key that is too long."""
        _check_key(key)
        account_id = caller.account_id if caller else 0
        async with self.bodies.read(request, account_id=account_id, digest=bool(key)) as body:
            yield body.value, (key, body.digest) if key else None

    async def small_body(self, request: Request, key: str | None) -> tuple[Any, Idempotency | None]:
        """As `body`, for what `is_small`."""
        _check_key(key)
        body = await self.bodies.read_small(request, digest=bool(key))
        return body.value, (key, body.digest) if key else None

    def links_for(self, request: Request) -> Links:
        """Links to where this client reached us, unless the settings say where that is. He is told his own Host header
        again, where it can be a host's, and else the address of our socket."""
        if self.links.base:
            return self.links
        host = request.headers.get("host", "")
        if not _HOST.fullmatch(host):
            address, port = request.scope["server"]
            host = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
        return self.links.at(f"{request.scope['scheme']}://{host}")


def _check_key(key: str | None) -> None:
    if key and len(key) > _MAX_KEY_CHARACTERS:
        raise Refused(1201, f"Idempotency-Key has more than {_MAX_KEY_CHARACTERS} characters")


def findable(id: str) -> bool:
    """Whether something can have this id at all."""
    return len(id) <= 255 and "\0" not in id


def not_found(id: str) -> Refused:
    echo = "".join(c if c.isprintable() else "\ufffd" for c in id[:255])
    return Refused(1201, f"Task not found by id/external id: {echo}")


def page_of(page: str, size: str) -> tuple[int, int]:
    """Limit and offset of a page of a list. Raises Refused (1201)."""
    page, size = page or "1", size or str(PAGE_SIZE)
    problems = []
    number, limit = read_int(page), read_int(size)
    if number is None or not 1 <= number <= MAX_PAGE:
        problems.append(f"pageNum must be an integer from 1 to {MAX_PAGE}, not {shown(page)}")
    if limit is None or not 1 <= limit <= MAX_PAGE_SIZE:
        problems.append(f"pageSize must be an integer from 1 to {MAX_PAGE_SIZE}, not {shown(size)}")
    if problems or number is None or limit is None:
        raise refused_fields(problems)
    return limit, (number - 1) * limit
