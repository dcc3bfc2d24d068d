"""Start programs from a process that has already imported their heavy modules: the import of torch takes seconds.

`ForkServer.command` returns a normal command. Its process passes its arguments, environment and standard streams to the
server. The server forks a process that runs the module. Both processes exit at the same time with the same code or
signal: if one of them is killed, the other is killed too. Linux only.
"""

import gc
import importlib
import json
import os
import random
import runpy
import select
import signal
import socket
import struct
import subprocess
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support import fork_client

_READY = b"ready\n"


@dataclass(frozen=True)
class ForkServer:
    """A running server, which listens at the socket `path`."""

    path: Path

    def command(self, module: str, *arguments: str) -> list[str]:
        """Return a command that runs a module as `python -m` does."""
        return [sys.executable, "-I", "-S", fork_client.__file__, str(self.path), module, *arguments]


@contextmanager
def fork_server(folder: Path, modules: Sequence[str], environment: Mapping[str, str]) -> Iterator[ForkServer]:
    """Start a server that has imported `modules`. It imports them with the variables of `environment`."""
    path = folder / "fork"
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.fork_server", str(path), *modules],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
    )
    assert process.stdin
    assert process.stdout
    try:
        assert process.stdout.readline() == _READY
        yield ForkServer(path)
    finally:
        process.stdin.close()  # the server exits when its standard input is closed
        process.wait(timeout=30)
        process.stdout.close()


def main() -> None:
    path, *modules = sys.argv[1:]
    for module in modules:
        importlib.import_module(module)
    gc.freeze()  # otherwise, each collection copies the shared pages of the imported modules into the child process
    signal.signal(signal.SIGCHLD, _reap)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        os.write(1, _READY)
        while True:
            readable, _, _ = select.select([listener.fileno(), 0], [], [])
            if 0 in readable:
                return
            connection, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                _guard(connection)
            connection.close()


def _reap(signum: int, frame: object) -> None:
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _guard(connection: socket.socket) -> None:
    """Run the program in a child process. Send its exit code to the client, or kill the program if the client exits."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    head, streams, _, _ = socket.recv_fds(connection, fork_client.HEAD.size, 3)
    (length,) = fork_client.HEAD.unpack(head)
    request = json.loads(connection.recv(length, socket.MSG_WAITALL))
    pid = os.fork()
    if pid == 0:
        connection.close()
        _run(request, streams)
    for stream in (*streams, 0, 1):
        os.close(stream)
    program = os.pidfd_open(pid)
    readable, _, _ = select.select([program, connection.fileno()], [], [])
    if program not in readable:
        os.kill(pid, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    with suppress(OSError):  # the client may have been killed
        connection.sendall(struct.pack("!i", code))
    os._exit(0)


def _run(request: dict[str, Any], streams: Sequence[int]) -> None:
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    code = 1
    try:
        os.environ.clear()
        os.environ.update(request["environment"])
        os.chdir(request["folder"])
        random.seed()
        sys.argv = [request["module"], *request["arguments"]]
        runpy.run_module(request["module"], run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001 - printed, as Python does for an uncaught exception
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
