"""Disks of their own for tests: small ones that can be filled."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

FILLING = "filling"
"""The file that fills a disk; where it is removed, there is room again."""


@contextmanager
def small_disk(folder: Path, size_bytes: int) -> Iterator[bool]:
    """The folder, which is made, as a file system of its own; whether it is one: only root may mount."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size_bytes},mode=0711", "tmpfs", str(folder)]
    mounted = os.getuid() == 0 and subprocess.run(mount, capture_output=True, check=False).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path) -> None:
    """Leave no room on its disk, not for a sector."""
    for piece_bytes in (1_000_000, 512):
        with suppress(OSError), (folder / FILLING).open("ab", buffering=0) as file:
            while True:
                file.write(b"\0" * piece_bytes)
