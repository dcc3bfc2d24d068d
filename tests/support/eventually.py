"""Wait for a change in another process, without sleeping longer than needed."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any


async def eventually(check: Callable[[], Awaitable[Any]], *, seconds: float = 60) -> Any:
    """Call `check` until it returns something true, and return that. `seconds` is far more than is ever needed: it only
    ends a test that has failed, also on a machine that is busy with others."""
    async with asyncio.timeout(seconds):
        while not (answer := await check()):  # noqa: ASYNC110 - what is asked lives in other processes
            await asyncio.sleep(0.02)
    return answer
