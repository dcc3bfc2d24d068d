"""What the endpoints of one API process share, and the first steps of most of them: the caller and the body."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

from starlette.requests import Request

from framehouse.adapters.postgres.coalesce import Coalesced
from framehouse.adapters.postgres.pool import Database
from framehouse.adapters.postgres.task_store import Asked, Found
from framehouse.adapters.storage import Storage
from framehouse.domain.account import Caller
from framehouse.domain.errors import Refused
from framehouse.domain.signed_urls import Links
from framehouse.engines.registry import Registry
from framehouse.entrypoints.api.authentication import Strangers, authenticate
from framehouse.entrypoints.api.long_poll import LongPolls
from framehouse.entrypoints.api.rate_limit import RateLimit
from framehouse.entrypoints.api.request_body import Bodies
from framehouse.entrypoints.api.request_headers import find_header
from framehouse.entrypoints.api.shared_call import SharedCall
from framehouse.pipeline.accept import AcceptCounter

Result = TypeVar("Result")
Idempotency = tuple[str, bytes]
"""An idempotency key, and the hash of the body that came with it."""
Readiness = tuple[dict[str, str], dict[str, dict[str, str]]]
"""The state of the database and the storage, and that of each model's routes."""
OPERATION, CREATED_TASK = "framehouse.operation", "framehouse.created_task"
"""Where the scope of a request has the name of its operation, and the id of the task that it created."""
_MAX_KEY_CHARACTERS = 255
_HOST = re.compile(r"(?:[A-Za-z0-9._-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")


@dataclass(frozen=True, slots=True)
class ApiContext:
    """See the module. `prefix` is the path prefix that the console and the OpenAPI document use."""

    db: Database
    storage: Storage
    registry: Registry
    links: Links
    rate: RateLimit
    bodies: Bodies
    accepts: AcceptCounter
    find_task: Coalesced[Asked, Found]
    long_polls: LongPolls
    readiness: SharedCall[Readiness]
    metrics: SharedCall[str]
    openapi: Callable[[], bytes]
    prefix: str
    retention: timedelta
    redirect_images: bool
    strangers: Strangers = field(default_factory=Strangers)

    async def caller(self, request: Request) -> Caller:
        """The caller of a request. Raises Refused: as `authenticate`, and 1302."""
        caller = await authenticate(self.db, find_header(request.scope, b"authorization"), self.strangers)
        self.rate.check(caller)
        return caller

    async def serve(self, request: Request, work: Callable[[Caller], Awaitable[Result]]) -> Result:
        """The result of `work` for the caller. The statement that `work` runs must check the key as well: this saves a
        round trip to the database. Raises as `caller`, which takes precedence over what `work` raises."""
        header = find_header(request.scope, b"authorization")
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
        """The JSON body, and the idempotency key with the hash of the body if there is a key. Images of the body last
        as long as the context. Raises as `Bodies.read`, and Refused (1201) for a key that is too long."""
        _check_key(key)
        account_id = caller.account_id if caller else 0
        async with self.bodies.read(request, account_id=account_id, digest=bool(key)) as body:
            yield body.value, (key, body.digest) if key else None

    async def small_body(self, request: Request, key: str | None) -> tuple[Any, Idempotency | None]:
        """As `body`, for a body that `is_small`."""
        _check_key(key)
        body = await self.bodies.read_small(request, digest=bool(key))
        return body.value, (key, body.digest) if key else None

    def links_for(self, request: Request) -> Links:
        """Links with the address that this client used, unless the settings contain an address. A Host header that
        cannot be a host is replaced by the address of our socket."""
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
