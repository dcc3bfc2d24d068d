"""Wait for a change in another process, without sleeping longer than needed."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any


async def eventually(check: Callable[[], Awaitable[Any]], *, seconds: float = 20) -> Any:
    """The first true answer of `check`, which is asked again and again."""
    async with asyncio.timeout(seconds):
        while not (answer := await check()):  # noqa: ASYNC110 - what is asked lives in other processes
            await asyncio.sleep(0.02)
    return answer
