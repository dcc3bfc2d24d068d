"""A call whose result is shared by all callers that arrive while it runs."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

Result = TypeVar("Result")


class SharedCall(Generic[Result]):
    """Runs `call`, or waits for the run in progress and returns its result.

    It protects the database behind endpoints that need no key: any number of simultaneous requests costs one call.
    """

    def __init__(self, call: Callable[[], Coroutine[Any, Any, Result]]) -> None:
        self._call = call
        self._running: asyncio.Task[Result] | None = None

    async def __call__(self) -> Result:
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._call())
            self._running.add_done_callback(lambda done: done.cancelled() or done.exception())
        return await asyncio.shield(self._running)
