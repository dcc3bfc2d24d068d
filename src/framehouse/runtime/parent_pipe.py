"""A pipe that stops child processes after their supervisor has died, even if the supervisor was killed.

When the supervisor dies, the operating system closes the supervisor's end of the pipe. The child processes wait until
this end is closed.
"""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def parent_pipe() -> Iterator[int]:
    """Yield the end of the pipe that child processes read. The other end is open only in this process."""
    read_end, write_end = os.pipe()
    try:
        yield read_end
    finally:
        os.close(read_end)
        os.close(write_end)


def stop_with_parent(pipe: int, *, gracefully: bool) -> None:
    """Stop this process when the supervisor's end of the pipe closes.

    If `gracefully` is true, this process sends itself SIGTERM. Otherwise, it exits immediately.
    """

    def watch() -> None:
        os.read(pipe, 1)
        if not gracefully:
            os._exit(1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="stop-with-parent", daemon=True).start()
