"""What passes between the engine and its process: a line of JSON with the lengths of the files that follow it."""

import json
from collections.abc import Sequence
from typing import Any, BinaryIO

PROGRAM = "framehouse.engines.diffusers.process"


def write(stream: BinaryIO, message: dict[str, Any], files: Sequence[bytes | memoryview] = ()) -> None:
    """Send a message, whole. Raises OSError where nobody is at the other end any more."""
    lengths = [len(file) for file in files]
    stream.write(json.dumps(message | {"files": lengths}).encode() + b"\n")
    for file in files:
        stream.write(file)
    stream.flush()


def read(stream: BinaryIO) -> tuple[dict[str, Any], list[bytes]]:
    """The next message. Raises EOFError where the other end is gone, also in the middle of one."""
    line = stream.readline()
    if not line.endswith(b"\n"):
        raise EOFError
    message = json.loads(line)
    lengths = message.pop("files")
    files = [stream.read(length) for length in lengths]
    if [len(file) for file in files] != lengths:
        raise EOFError
    return message, files
