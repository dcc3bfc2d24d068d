"""Write complete files: after an error or a crash, a file has either its old content or its new content."""

import os
import tempfile
from contextlib import suppress
from pathlib import Path

from framehouse.cli.output import Problem


def write_file(path: Path, content: bytes, *, permissions: int = 0o666) -> None:
    """Write a file, or replace it. `permissions` are reduced by the umask. Raises Problem if the disk refuses this."""
    part = path.with_name(path.name + ".part")
    try:
        part.unlink(missing_ok=True)  # the permissions apply only to a new file
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, permissions), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise Problem(f"Cannot write {path}: {error.strerror}.") from error
    finally:
        with suppress(OSError):  # the folder may not exist, or may be read-only
            part.unlink(missing_ok=True)


def check_writable(folder: Path, option: str) -> None:
    """Create a folder, and create and delete a file in it. `option` is the option that selects another folder.

    Raises Problem.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"\0")
    except OSError as error:
        raise Problem(f"Cannot write to {folder}: {error.strerror}. Choose another folder with {option}.") from error
