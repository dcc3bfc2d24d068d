"""The interface of the object storage, and its errors."""

from collections.abc import Sequence
from typing import BinaryIO, Protocol


class StorageUnavailable(Exception):
    """Raised when the storage does not respond or rejects a request. The message contains the reason.

    A retry may succeed, unless the error is a StorageMisconfigured.
    """


class StorageMisconfigured(StorageUnavailable):
    """Raised when the storage rejects the credentials or the request, or when the bucket does not exist.

    An operator must change the configuration.
    """


class Storage(Protocol):
    """The object storage: a folder or a bucket.

    Keys are relative paths that consist of the characters `[A-Za-z0-9._/-]`. Each method raises StorageUnavailable if
    the storage does not respond or rejects the request.
    """

    async def check(self) -> None:
        """Send a small request to test that the storage responds and accepts the credentials."""
        ...

    async def presign(self, key: str, method: str, *, valid_s: int) -> str | None:
        """Return a URL with which anyone can request the file for the next `valid_s` seconds.

        `valid_s` must be at most a week. `method` is GET or HEAD. Returns None if the storage does not support
        presigned URLs.
        """
        ...

    async def put(self, key: str, content: bytes) -> None:
        """Store a file, or replace an existing file. The operation is atomic.

        The file is on disk when this method returns.
        """
        ...

    async def put_file(self, key: str, file: BinaryIO) -> None:
        """Store the content of `file`, from its current position to its end, with the same guarantees as `put`.

        Reads `file` in chunks and then closes it.
        """
        ...

    async def get(self, key: str) -> bytes | None:
        """Return the content of a file. Returns None if the file does not exist."""
        ...

    async def get_range(self, key: str, start: int, end: int) -> bytes:
        """Return the bytes of a file from `start` up to but not including `end`.

        Raises FileNotFoundError if the file does not exist.
        """
        ...

    async def size(self, key: str) -> int | None:
        """Return the size of a file in bytes. Returns None if the file does not exist."""
        ...

    async def delete(self, keys: Sequence[str]) -> None:
        """Delete files. Keys that do not exist are ignored."""
        ...

    async def delete_partial_files(self, *, older_than_s: float) -> int:
        """Delete partial files that are older than `older_than_s` seconds. Returns the number of deleted files.

        A process that crashes while it writes a file leaves a partial file.
        """
        ...

    async def delete_folder(self, prefix: str) -> None:
        """Delete all files whose keys start with `prefix`, which must end with a slash."""
        ...
