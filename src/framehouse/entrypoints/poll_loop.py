"""How a loop looks at its queue: whenever it is woken, and now and then."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import NoReturn

from framehouse.adapters.postgres.pool import TROUBLE

log = logging.getLogger(__name__)


async def take_turns(
    turn: Callable[[], Awaitable[int]], wake: asyncio.Event, *, poll_s: float, what: str, rest_s: float = 0
) -> NoReturn:
    """Call `turn`, which says how much it took on, until cancelled; pause only where that was nothing: for `rest_s`
    whoever calls, then until woken."""
    while True:
        wake.clear()
        claimed = 0
        try:
            claimed = await turn()
        except TROUBLE as error:
            log.warning("cannot claim %s: %s", what, error)
        if not claimed:
            await asyncio.sleep(rest_s)
            with suppress(TimeoutError):
                async with asyncio.timeout(poll_s * random.uniform(0.8, 1.2)):
                    await wake.wait()
