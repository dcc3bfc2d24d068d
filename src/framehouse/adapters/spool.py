"""A temporary file for data that is too large for memory.

The file has no name, so no file remains after a process is killed.
"""

import io
import os
import tempfile
import threading
from collections.abc import Callable
from typing import BinaryIO

_BUFFER_BYTES = 256 * 1024


class SpoolFull(Exception):
    """Raised when a temporary file cannot be written, for example because the disk is full.

    The message contains the reason.
    """


class Spool:
    """A temporary file that consists of consecutive parts. Closing the spool makes its readers unusable.

    `close` may be called while a thread is still reading or writing, for example after the asyncio task that was
    waiting for the thread has been cancelled. After `close`, the operating system may reuse the file descriptor for
    another file. A lock prevents the thread from accessing that file.
    """

    def __init__(self) -> None:
        self._file: io.FileIO | None = None
        self._closed = False
        self._lock = threading.Lock()
        self._start = 0
        self._size = 0

    def write(self, data: bytes) -> None:
        """Append data to the current part. Raises SpoolFull if the data cannot be written or the spool is closed."""
        try:
            with self._lock:
                if self._closed:
                    raise OSError("closed")
                if self._file is None:
                    self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - `close` closes the file
                remaining = memoryview(data)
                while remaining:
                    written = os.pwrite(self._file.fileno(), remaining, self._start + self._size)
                    self._size += written
                    remaining = remaining[written:]
        except OSError as error:
            raise SpoolFull(f"cannot write a temporary file: {error}") from error

    def read(self, at: int, max_bytes: int) -> bytes:
        """Return at most `max_bytes` bytes from position `at` of the file. Raises OSError if the spool is closed."""
        with self._lock:
            if self._file is None or self._closed:
                raise OSError("closed")
            return os.pread(self._file.fileno(), max_bytes, at)

    def end_part(self) -> Callable[[], BinaryIO]:
        """End the current part and start a new part. Returns a function that opens a reader for the part just ended.

        The returned function may be called several times and from any thread.
        """
        start, size = self._start, self._size
        self._start, self._size = start + size, 0
        return lambda: io.BufferedReader(_Part(self.read, start, size), _BUFFER_BYTES)

    def drop_part(self) -> None:
        """Discard the data of the current part. New data overwrites the discarded data in the file."""
        self._size = 0

    def close(self) -> None:
        with self._lock:
            self._closed = True
            if self._file:
                self._file.close()


def part_of(open_file: Callable[[], BinaryIO], start: int, size: int) -> Callable[[], BinaryIO]:
    """Return a function that opens a reader for a part of a file. `start` and `size` are in bytes."""

    def open_part() -> BinaryIO:
        file = open_file()

        def read(at: int, max_bytes: int) -> bytes:
            file.seek(at)
            return file.read(max_bytes)

        return io.BufferedReader(_Part(read, start, size), _BUFFER_BYTES)

    return open_part


class _Part(io.RawIOBase):
    """A reader for a part of a file. `read` returns bytes of the file at a position."""

    def __init__(self, read: Callable[[int, int], bytes], start: int, size: int) -> None:
        self._read = read
        self._start = start
        self._size = size
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer: "bytearray | memoryview") -> int:  # type: ignore[override]
        max_bytes = max(0, min(len(buffer), self._size - self._at))
        data = self._read(self._start + self._at, max_bytes) if max_bytes else b""
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)
