"""The watchdog: a process sends heartbeats while its event loop runs, and exits when the event loop hangs."""

import asyncio
import contextlib
import faulthandler
import os
from collections.abc import AsyncIterator

_HEARTBEAT_S = 0.5


@contextlib.asynccontextmanager
async def watchdog(heartbeat_fd: int | None, *, hung_after_s: float) -> AsyncIterator[None]:
    """Send heartbeats to `heartbeat_fd` while the `with` body runs.

    If `heartbeat_fd` is None, no heartbeats are sent, but the event loop is still watched. If the event loop hangs for
    `hung_after_s` seconds, the process writes a traceback to standard error and exits. `hung_after_s` must not be
    shorter than a lease, so that the leases of a worker's batches have expired when the worker exits.
    """

    async def send_heartbeats() -> None:
        while True:
            # faulthandler's thread does not need the GIL, so the process exits even if another thread never releases
            # the GIL
            faulthandler.dump_traceback_later(hung_after_s, exit=True)
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
