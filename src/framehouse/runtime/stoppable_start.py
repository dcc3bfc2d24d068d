"""SIGTERM and SIGINT while a process starts: the start is cancelled, and what it has opened is closed again."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@dataclass(slots=True)
class Start:
    """The start of a process; `cancelled` by a signal."""

    cancelled: bool = False

    def end(self) -> None:
        """Give the signals back, for a caller that handles them without the event loop."""
        for number in _SIGNALS:
            asyncio.get_running_loop().remove_signal_handler(number)


@asynccontextmanager
async def stoppable_start() -> AsyncIterator[Start]:
    """Run the body; at a signal, cancel it and return normally. The start is over once the body handles signals itself,
    by `loop.add_signal_handler` or after `Start.end`."""
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
