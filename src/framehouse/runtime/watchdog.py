"""The watchdog: a process sends heartbeats while its event loop turns, and ends itself when it hangs."""

import asyncio
import contextlib
import faulthandler
import os
from collections.abc import AsyncIterator

_HEARTBEAT_S = 0.5


@contextlib.asynccontextmanager
async def watchdog(heartbeat_fd: int | None, *, hung_after_s: float) -> AsyncIterator[None]:
    """While this is open, send heartbeats to `heartbeat_fd`, if there is one.

    If the event loop does not turn for `hung_after_s`, the process writes where it hangs and exits. By then its leases
    have run out.
    """

    async def send_heartbeats() -> None:
        while True:
            faulthandler.dump_traceback_later(hung_after_s, exit=True)  # its thread does not need Python's lock
            if heartbeat_fd is not None:
                with contextlib.suppress(OSError):  # the pipe is full or closed
                    os.write(heartbeat_fd, b".")
            await asyncio.sleep(_HEARTBEAT_S)

    if heartbeat_fd is not None:
        os.set_blocking(heartbeat_fd, False)
    sending = asyncio.create_task(send_heartbeats())
    try:
        yield
    finally:
        sending.cancel()
        faulthandler.cancel_dump_traceback_later()
