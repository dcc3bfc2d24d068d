"""Small separate file systems that a test can fill."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

FILLING = "filling"
"""The file that fills a disk. Removing the file frees the space."""


@contextmanager
def small_disk(folder: Path, size_bytes: int) -> Iterator[bool]:
    """Create the folder and mount a file system there. Yields whether it is mounted; only root may mount."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size_bytes},mode=0711", "tmpfs", str(folder)]
    mounted = os.getuid() == 0 and subprocess.run(mount, capture_output=True, check=False).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path) -> None:
    """Fill the disk of the folder completely, down to the last sector."""
    for chunk_bytes in (1_000_000, 512):
        with suppress(OSError), (folder / FILLING).open("ab", buffering=0) as file:
            while True:
                file.write(b"\0" * chunk_bytes)
