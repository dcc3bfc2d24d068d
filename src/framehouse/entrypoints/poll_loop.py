"""A loop that polls a queue after each wake-up and at regular intervals."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import NoReturn

from framehouse.adapters.postgres.pool import DATABASE_ERRORS

log = logging.getLogger(__name__)


async def poll_until_cancelled(
    poll_once: Callable[[], Awaitable[int]],
    wake: asyncio.Event,
    *,
    poll_s: float,
    subject: str,
    min_pause_s: float = 0,
) -> NoReturn:
    """Call `poll_once` repeatedly until cancelled. `poll_once` returns the number of claimed queue entries.

    If `poll_once` claimed entries, the loop calls it again immediately. If `poll_once` claimed no entries, the loop
    sleeps for `min_pause_s` seconds, and then waits until `wake` is set or about `poll_s` seconds have passed. If
    `wake` was set during the sleep, the wait ends immediately. `subject` names the entries in log messages.
    """
    while True:
        wake.clear()
        claimed = 0
        try:
            claimed = await poll_once()
        except DATABASE_ERRORS as error:
            log.warning("cannot claim %s: %s", subject, error)
        if not claimed:
            await asyncio.sleep(min_pause_s)
            with suppress(TimeoutError):
                async with asyncio.timeout(poll_s * random.uniform(0.8, 1.2)):
                    await wake.wait()
