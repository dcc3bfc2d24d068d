"""Wait for a change in another process, without sleeping longer than needed."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any


async def eventually(check: Callable[[], Awaitable[Any]], *, seconds: float = 60) -> Any:
    """Call `check` until it returns a true value, and return that value. Raises TimeoutError after `seconds`.

    The default is much longer than any wait, even on a busy machine. It only ends a test that has failed.
    """
    async with asyncio.timeout(seconds):
        while not (answer := await check()):  # noqa: ASYNC110 - the state is in other processes
            await asyncio.sleep(0.02)
    return answer


def eventually_sync(check: Callable[[], Any], *, seconds: float = 60) -> Any:
    """Like `eventually`, but `check` is an ordinary function and the calling thread is blocked."""
    end = time.monotonic() + seconds
    while not (answer := check()):
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(0.02)
    return answer
