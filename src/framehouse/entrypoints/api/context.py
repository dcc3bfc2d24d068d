"""The objects that all endpoints of an API process share, and the first steps of most endpoints.

These steps identify the caller and read the body.
"""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

from starlette.requests import Request

from framehouse.adapters.postgres.coalesce import Coalesced
from framehouse.adapters.postgres.pool import Database
from framehouse.adapters.postgres.task_store import FoundTask, TaskQuery
from framehouse.adapters.storage import Storage
from framehouse.domain.account import Caller
from framehouse.domain.errors import Refused
from framehouse.domain.signed_urls import Links
from framehouse.engines.registry import Registry
from framehouse.entrypoints.api.authentication import KeyCache, authenticate, authorization_of
from framehouse.entrypoints.api.callback_tester import CallbackTester
from framehouse.entrypoints.api.image_verifier import ImageVerifier
from framehouse.entrypoints.api.long_poll import LongPolls
from framehouse.entrypoints.api.rate_limit import RateLimit
from framehouse.entrypoints.api.request_body import BodyReader
from framehouse.entrypoints.api.shared_call import SharedCall
from framehouse.pipeline.accept import AcceptQueue

Result = TypeVar("Result")
Idempotency = tuple[str, bytes]
"""An idempotency key and the SHA-256 digest of the request's body."""
Readiness = tuple[dict[str, str], dict[str, dict[str, str]]]
"""The states of the database and the storage, and the states of the routes by model."""
OPERATION, CREATED_TASK = "framehouse.operation", "framehouse.created_task"
"""The keys of two entries in a request's scope: the name of the operation, and the id of the task that the request
created."""
_MAX_KEY_CHARACTERS = 255
_HOST = re.compile(r"(?:[A-Za-z0-9._-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")


@dataclass(frozen=True, slots=True)
class ApiContext:
    """The objects that endpoints share. `prefix` is the path prefix that the console and the OpenAPI document use."""

    db: Database
    storage: Storage
    registry: Registry
    links: Links
    rate: RateLimit
    bodies: BodyReader
    accept_queue: AcceptQueue
    find_task: Coalesced[TaskQuery, FoundTask]
    long_polls: LongPolls
    readiness: SharedCall[Readiness]
    metrics: SharedCall[str]
    openapi: Callable[[], bytes]
    prefix: str
    retention: timedelta
    redirect_images: bool
    verifier: ImageVerifier
    callback_tester: CallbackTester
    key_cache: KeyCache = field(default_factory=KeyCache)
    admin_key_cache: KeyCache = field(default_factory=KeyCache)

    async def caller(self, request: Request) -> Caller:
        """Return the caller of a request.

        Raises Refused as `authenticate` does. Raises Refused (1302) if the rate limit is exceeded.
        """
        caller = await authenticate(self.db, authorization_of(request.scope), self.key_cache)
        self.rate.check(caller)
        return caller

    async def serve(self, request: Request, work: Callable[[Caller], Awaitable[Result]]) -> Result:
        """Call `work` with the caller of a request, and return the result of `work`.

        If the key is cached, this method runs no separate query to verify the key, so the SQL statement that `work`
        runs must also verify the key. If the rate limit or `work` refuses the request, this method verifies the key
        itself, and an authentication error takes precedence over the refusal. Raises Refused as `caller` does.
        """
        header = authorization_of(request.scope)
        caller = await authenticate(self.db, header, self.key_cache, use_cached=True)
        try:
            self.rate.check(caller)
            return await work(caller)
        except Refused:
            await authenticate(self.db, header, self.key_cache)
            raise

    @asynccontextmanager
    async def body(
        self, request: Request, caller: Caller | None, idempotency_key: str | None = None
    ) -> AsyncIterator[tuple[Any, Idempotency | None]]:
        """Read the JSON body. Yield its value, and a pair of the idempotency key and the digest of the body.

        If there is no idempotency key, None is yielded instead of the pair. The temporary file with the images of a
        large body is deleted when the `async with` block ends. Raises the same errors as `BodyReader.read`. Raises
        Refused (1201) if the idempotency key is too long.
        """
        check_idempotency_key(idempotency_key)
        account_id = caller.account_id if caller else 0
        async with self.bodies.read(request, account_id=account_id, digest=bool(idempotency_key)) as body:
            yield body.value, (idempotency_key, body.digest) if idempotency_key else None

    async def small_body(self, request: Request, idempotency_key: str | None) -> tuple[Any, Idempotency | None]:
        """Read a small body (see `request_body.is_small`).

        Returns the same values and raises the same errors as `body`.
        """
        check_idempotency_key(idempotency_key)
        body = await self.bodies.read_small(request, digest=bool(idempotency_key))
        return body.value, (idempotency_key, body.digest) if idempotency_key else None

    def links_for(self, request: Request) -> Links:
        """Return links that start with the configured base URL or, if none is configured, with the Host header.

        If the Host header is not a valid host, the links start with the address of the server's socket.
        """
        if self.links.base:
            return self.links
        host = request.headers.get("host", "")
        if not _HOST.fullmatch(host):
            address, port = request.scope["server"]
            host = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
        return self.links.with_base(f"{request.scope['scheme']}://{host}")


def check_idempotency_key(idempotency_key: str | None) -> None:
    """Raise Refused (1201) if the idempotency key is too long."""
    if idempotency_key and len(idempotency_key) > _MAX_KEY_CHARACTERS:
        raise Refused(1201, f"Idempotency-Key has more than {_MAX_KEY_CHARACTERS} characters")
