"""The messages between the engine and its child process: one line of JSON, followed by binary files.

The line contains the lengths of the files. The format can change in any release, because both processes always run the
same release.

The engine sends commands to the child process. The first command is `{"command": "probe"}` or `{"command": "load",
...}`. After a load command, the engine sends any number of commands of the form
`{"command": "generate", "call": N, ...}` or `{"command": "cancel", "call": N}`.

The child process sends events of the form `{"event": E, ...}` to the engine. The response to a probe command is the
event `devices`. The response to a load command is the event `loaded` or `load_failed`. The event `loaded` contains the
abilities of the pipeline's class (`pipeline_classes`). A call produces the events `progress` and `image`, and ends with
the event `done`, `cancelled`, `out_of_memory`, `device_fault`, `unsupported` or `failed`. After the event
`device_fault`, the engine kills the child process.
"""

import json
from collections.abc import Sequence
from typing import Any, BinaryIO

PROGRAM = "framehouse.engines.diffusers.process"


def write(stream: BinaryIO, message: dict[str, Any], files: Sequence[bytes | memoryview] = ()) -> None:
    """Send a message and its files. Raises OSError if the receiving process has exited."""
    lengths = [len(file) for file in files]
    stream.write(json.dumps(message | {"files": lengths}).encode() + b"\n")
    for file in files:
        stream.write(file)
    stream.flush()


def read(stream: BinaryIO) -> tuple[dict[str, Any], list[bytes]]:
    """Receive a message and its files. Raises EOFError if the stream ends, even in the middle of a message."""
    line = stream.readline()
    if not line.endswith(b"\n"):
        raise EOFError
    message = json.loads(line)
    lengths = message.pop("files")
    files = [stream.read(length) for length in lengths]
    if [len(file) for file in files] != lengths:
        raise EOFError
    return message, files
