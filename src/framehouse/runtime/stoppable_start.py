"""Handle SIGTERM and SIGINT during startup: cancel the startup and close all opened resources."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@dataclass(slots=True)
class Start:
    """The startup of a process. `cancelled` is true if a signal has cancelled the startup."""

    cancelled: bool = False

    def remove_signal_handlers(self) -> None:
        """Remove the signal handlers. A caller that handles signals without the event loop must call this method."""
        for number in _SIGNALS:
            asyncio.get_running_loop().remove_signal_handler(number)


@asynccontextmanager
async def stoppable_start() -> AsyncIterator[Start]:
    """Run the `with` body. A signal cancels the body, and the context then exits without an exception.

    The startup ends when the body replaces the signal handlers with `loop.add_signal_handler`. A body that handles
    signals in another way must call `remove_signal_handlers`.
    """
    start, task = Start(), asyncio.current_task()
    assert task is not None

    def cancel() -> None:
        start.cancelled = True
        task.cancel()

    for number in _SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, cancel)
    try:
        yield start
    except asyncio.CancelledError:
        if not start.cancelled:
            raise
