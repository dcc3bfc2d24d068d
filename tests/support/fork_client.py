"""Run a program in a fork server (`fork_server`), and exit with the same code or signal as the program.

This module imports little, so that it starts within milliseconds.
"""

import json
import os
import signal
import socket
import struct
import sys

HEAD = struct.Struct("!I")


def main() -> None:
    path, module, *arguments = sys.argv[1:]
    request = json.dumps(
        {"module": module, "arguments": arguments, "folder": os.getcwd(), "environment": dict(os.environ)}  # noqa: PTH109 - pathlib is slow to import
    ).encode()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        socket.send_fds(connection, [HEAD.pack(len(request))], [0, 1, 2])
        connection.sendall(request)
        answer = connection.recv(4, socket.MSG_WAITALL)
    code = struct.unpack("!i", answer)[0] if len(answer) == 4 else -signal.SIGKILL
    if code < 0:
        os.kill(os.getpid(), -code)
        signal.pause()
    sys.exit(code)


if __name__ == "__main__":
    main()
