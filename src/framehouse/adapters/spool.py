"""A temporary file for what is too large for memory. It has no name, so that nothing is left whoever dies."""

import io
import os
import tempfile
import threading
from collections.abc import Callable
from typing import BinaryIO

_BUFFER_BYTES = 256 * 1024


class SpoolFull(Exception):
    """There is no room, or no way, to write temporary files; the message says how."""


class Spool:
    """One file that holds many parts, one after the other. Its readers end with it.

    It may be closed at any time, also while a thread whose caller has gone still reads or writes: the lock keeps that
    thread from a file that has got the same number since.
    """

    def __init__(self) -> None:
        self._file: io.FileIO | None = None
        self._closed = False
        self._lock = threading.Lock()
        self._start = 0
        self._size = 0

    def write(self, piece: bytes) -> None:
        """Add to the part that is being written. Raises SpoolFull."""
        try:
            with self._lock:
                if self._closed:
                    raise OSError("closed")
                if self._file is None:
                    self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - close() does
                left = memoryview(piece)
                while left:
                    written = os.pwrite(self._file.fileno(), left, self._start + self._size)
                    self._size += written
                    left = left[written:]
        except OSError as error:
            raise SpoolFull(f"temporary files: {error}") from error

    def read(self, at: int, most: int) -> bytes:
        with self._lock:
            if self._file is None or self._closed:
                raise OSError("closed")
            return os.pread(self._file.fileno(), most, at)

    def end_part(self) -> Callable[[], BinaryIO]:
        """What opens the part just written, in any thread and any number of times; the next one begins."""
        start, size = self._start, self._size
        self._start, self._size = start + size, 0
        return lambda: io.BufferedReader(_Part(self, start, size), _BUFFER_BYTES)

    def drop_part(self) -> None:
        """Forget what was written of this part; its room is used again."""
        self._size = 0

    def close(self) -> None:
        with self._lock:
            self._closed = True
            if self._file:
                self._file.close()


class _Part(io.RawIOBase):
    def __init__(self, spool: Spool, start: int, size: int) -> None:
        self._spool = spool
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
        most = max(0, min(len(buffer), self._size - self._at))
        piece = self._spool.read(self._start + self._at, most) if most else b""
        buffer[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)
