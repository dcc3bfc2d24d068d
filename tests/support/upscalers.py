"""Programs that take the place of the process that enlarges images."""

_READ = """
import os, struct, sys, time
def read():
    width, height, factor = struct.unpack(">III", sys.stdin.buffer.read(12))
    sys.stdin.buffer.read(width * height * 3)
    return width * height * factor * factor * 3
"""
CRASHING = ("-c", _READ + "read(); sys.stdout.buffer.write(b'x' * 100); sys.stdout.flush(); os.kill(os.getpid(), 11)")
"""The process dies in the middle of its first image."""
EXITING = ("-c", "raise SystemExit(3)")
HANGING = ("-c", _READ + "read(); time.sleep(3600)")
COUNTING = ("-c", _READ + "n = 0\nwhile True: n += 1; sys.stdout.buffer.write(bytes([n]) * read()); sys.stdout.flush()")
"""The value of all pixels is the number of images that this process has enlarged."""


def once(program: tuple[str, str], marker: str) -> tuple[str, str]:
    """Return a program that behaves like `program` the first time, and like COUNTING from then on."""
    mark = f"import os\nif not os.path.exists({marker!r}):\n    open({marker!r}, 'w').close()\n    "
    return ("-c", f"{mark}exec({program[1]!r})\nelse:\n    exec({COUNTING[1]!r})")
