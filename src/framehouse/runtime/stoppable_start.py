"""Handle SIGTERM and SIGINT while a process starts: cancel the start, and close all resources that it has opened."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@dataclass(slots=True)
class Start:
    """The start of a process. `cancelled`: a signal cancelled it."""

    cancelled: bool = False

    def remove_signal_handlers(self) -> None:
        """Remove the signal handlers, for a caller that handles the signals without the event loop."""
        for number in _SIGNALS:
            asyncio.get_running_loop().remove_signal_handler(number)


@asynccontextmanager
async def stoppable_start() -> AsyncIterator[Start]:
    """Run the body. A signal cancels the body, and the context then exits without an exception.

    The start ends when the body replaces the signal handlers: by `loop.add_signal_handler`, or by
    `remove_signal_handlers` if it handles the signals in another way.
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
