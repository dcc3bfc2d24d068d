"""Handle SIGTERM and SIGINT during startup: cancel the startup and close all opened resources."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import FrameType

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@dataclass(slots=True)
class Start:
    """The startup of a process. `cancelled` is true if a signal has cancelled the startup."""

    cancelled: bool = False

    def hand_signals_to(self, handler: Callable[[int, FrameType | None], None]) -> None:
        """End the startup: from now on, both signals call `handler`, even if the event loop is busy.

        Both signals are blocked while the handlers are replaced. A signal that arrives during this time calls `handler`
        afterwards.
        """
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        for number in _SIGNALS:
            asyncio.get_running_loop().remove_signal_handler(number)
            signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)


@asynccontextmanager
async def stoppable_start() -> AsyncIterator[Start]:
    """Run the `with` body. A signal cancels the body, and the context then exits without an exception.

    The startup ends when the body replaces the signal handlers with `loop.add_signal_handler` or `hand_signals_to`.
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
