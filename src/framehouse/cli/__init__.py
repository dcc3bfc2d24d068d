"""The command line. Commands are imported when they are called, and heavy modules inside them: help is instant."""

import os
import signal
import sys
import threading
from typing import NoReturn

EXIT_INTERRUPTED = 130


def main() -> NoReturn:
    """Run the command line. `commands.run` defines the exit codes."""
    sys.unraisablehook = _interrupt_again
    try:
        from framehouse.cli.commands import run  # here, so that Ctrl-C while it loads ends quietly too

        run()
    except KeyboardInterrupt:  # nothing is open yet, or a second Ctrl-C came while the first was being told
        os._exit(EXIT_INTERRUPTED)
    except RuntimeError as error:
        if isinstance(error.__cause__, KeyboardInterrupt):  # Python 3.11's word for one that meets a class being made
            os._exit(EXIT_INTERRUPTED)
        raise


def _interrupt_again(unraisable: "sys.UnraisableHookArgs") -> None:
    """A Ctrl-C that meets a callback of Python's own, such as the import system's, cannot be raised there and would be
    lost with a traceback: have it come once more a moment later."""
    if unraisable.exc_type is not KeyboardInterrupt:
        sys.__unraisablehook__(unraisable)
        return
    main_thread = threading.main_thread().ident
    assert main_thread is not None
    again = threading.Timer(0.01, signal.pthread_kill, (main_thread, signal.SIGINT))  # it also ends a sleep
    again.daemon = True
    again.start()
