"""The entry point of the command line.

A command's module is imported only when the command is invoked. Command modules import slow modules only inside
functions. For these reasons, help and shell completion are fast.
"""

import _thread
import os
import signal
import sys
import threading
import time
from types import FrameType
from typing import NoReturn

EXIT_INTERRUPTED = 130


def main() -> NoReturn:
    """Run the command line and exit. `commands.run` defines the exit codes."""
    sys.unraisablehook = _interrupt_again
    try:
        from framehouse.cli.commands import run  # imported here, so that Ctrl-C during the import prints no traceback

        run()
    except KeyboardInterrupt:  # Ctrl-C during the import, or a second Ctrl-C while `run` handles the first Ctrl-C
        os._exit(EXIT_INTERRUPTED)
    except RuntimeError as error:
        # Python 3.11 raises a RuntimeError if Ctrl-C arrives while a class is being created.
        if isinstance(error.__cause__, KeyboardInterrupt):
            os._exit(EXIT_INTERRUPTED)
        raise


def _interrupt_again(unraisable: "sys.UnraisableHookArgs") -> None:
    """Send SIGINT again after 0.01 s if Python could not propagate a KeyboardInterrupt.

    Python cannot propagate exceptions from some callbacks, such as the callbacks of the import system. Without this
    hook, Python would print a traceback and ignore the Ctrl-C.
    """
    if unraisable.exc_type is not KeyboardInterrupt:
        sys.__unraisablehook__(unraisable)
        return
    main_thread = threading.main_thread().ident
    assert main_thread is not None
    _thread.start_new_thread(_interrupt_after_hook, (main_thread,))  # Thread.start would wait inside the hook


def _interrupt_after_hook(main_thread: int) -> None:
    time.sleep(0.01)
    while _runs_hook(sys._current_frames().get(main_thread)):
        time.sleep(0.001)  # Python would also ignore a KeyboardInterrupt inside the hook
    signal.pthread_kill(main_thread, signal.SIGINT)  # also interrupts the main thread if it is sleeping


def _runs_hook(frame: FrameType | None) -> bool:
    while frame:
        if frame.f_code is _interrupt_again.__code__:
            return True
        frame = frame.f_back
    return False
