"""Handle SIGTERM and SIGINT during startup: cancel the startup and close all opened resources."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import FrameType


@asynccontextmanager
async def stoppable_start() -> AsyncIterator[None]:
    """Run the `with` body. SIGTERM or SIGINT cancels the body, and the `with` statement then suppresses CancelledError.

    The startup ends when the body replaces the signal handlers. A signal that arrives before this replacement still
    cancels the body, even if the event loop does not run between the signal and the replacement. With
    `loop.add_signal_handler`, such a signal would be lost, because the loop calls a handler only in its next iteration,
    and only if the handler has not been replaced by then.
    """
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    cancelled = False

    def cancel(_number: int, _frame: FrameType | None) -> None:
        nonlocal cancelled
        cancelled = True
        loop.call_soon_threadsafe(task.cancel)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, cancel)
    try:
        yield
    except asyncio.CancelledError:
        if not cancelled:
            raise
