"""Coalesce concurrent requests: the requests that arrive while a statement runs share the next statements."""

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from framehouse.adapters.postgres.pool import DatabaseUnavailable

RequestT = TypeVar("RequestT")
ResultT = TypeVar("ResultT")
MAX_GROUP = 64
"""The maximum number of requests that share a statement."""
MIN_HALF = 8
"""The minimum size of the first half if `in_halves` is true (see `Coalesced`). If at most this number of requests are
waiting, they share one statement."""


class Coalesced(Generic[RequestT, ResultT]):
    """A callable that executes the concurrent requests of many callers in shared statements.

    `execute` runs one statement for a list of requests and returns one result per request, in the same order. If no
    statement is running, a request is executed immediately. Otherwise, the request is executed with one of the next
    statements. A caller receives its result when the statement that contains its request ends. The cancellation of one
    caller does not affect the other callers.

    If a statement for several requests fails, each request is executed again in a separate statement, so an invalid
    request does not affect the other requests. `execute` must be safe to call twice with the same request. If a
    statement raises DatabaseUnavailable, its requests are not executed again, and their callers receive the error.

    Use `in_halves` if the database and this process need about the same time for the coalesced requests. With
    `in_halves`, half of the waiting requests are executed first. While the database executes the second half, this
    process responds to the first half.
    """

    def __init__(
        self, execute: Callable[[Sequence[RequestT]], Awaitable[Sequence[ResultT]]], *, in_halves: bool = False
    ) -> None:
        self._execute = execute
        self._in_halves = in_halves
        self._waiting: list[tuple[RequestT, asyncio.Future[ResultT]]] = []
        self._task: asyncio.Task[None] | None = None

    async def __call__(self, request: RequestT) -> ResultT:
        future: asyncio.Future[ResultT] = asyncio.get_running_loop().create_future()
        self._waiting.append((request, future))
        if self._task is None or self._task.done():
            # the asyncio task gets an empty context, because its log lines must not contain the id of the first
            # caller's request
            self._task = asyncio.create_task(self._run(), context=contextvars.Context())
        return await future

    async def _run(self) -> None:
        while self._waiting:
            await self._gather()
            size = min(MAX_GROUP, max(MIN_HALF, (len(self._waiting) + 1) // 2)) if self._in_halves else MAX_GROUP
            group, self._waiting = self._waiting[:size], self._waiting[size:]
            await self._execute_group(group)

    async def _gather(self) -> None:
        """Yield to the event loop until an iteration of the loop adds no requests, or `MAX_GROUP` requests are waiting.

        During these iterations, the event loop reads requests that have already arrived at the sockets of this process.
        These requests therefore share the next statement.
        """
        count = 0
        while count < len(self._waiting) < MAX_GROUP:
            count = len(self._waiting)
            await asyncio.sleep(0)

    async def _execute_group(self, group: list[tuple[RequestT, asyncio.Future[ResultT]]]) -> None:
        try:
            results = await self._execute([request for request, _ in group])
        except Exception as error:  # noqa: BLE001 - every error is raised in the callers
            if len(group) > 1 and not isinstance(error, DatabaseUnavailable):
                for single in group:
                    await self._execute_group([single])
                return
            for _, future in group:
                if not future.done():
                    future.set_exception(error)
            return
        for (_, future), result in zip(group, results, strict=True):
            if not future.done():
                future.set_result(result)
