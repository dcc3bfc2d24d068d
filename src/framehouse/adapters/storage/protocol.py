"""The interface of an object storage, and its errors."""

from collections.abc import Sequence
from typing import BinaryIO, Protocol


class StorageUnavailable(Exception):
    """The storage did not respond, or rejected a request. The message has the reason. A retry may succeed."""


class StorageMisconfigured(StorageUnavailable):
    """The storage responds, but rejects the credentials or the request, or has no such bucket.

    An operator must change the configuration.
    """


class Storage(Protocol):
    """An object storage.

    Keys are relative paths of the characters `[A-Za-z0-9._/-]`. Each method raises StorageUnavailable if the storage
    does not respond or rejects the request.
    """

    async def check(self) -> None:
        """Send a small request to test that the storage responds and accepts the credentials."""
        ...

    async def presign(self, key: str, method: str, *, valid_s: int) -> str | None:
        """Return a URL that allows anyone to GET (or HEAD) the file for `valid_s` seconds, at most a week.

        None if the storage does not support presigned URLs.
        """
        ...

    async def put(self, key: str, content: bytes) -> None:
        """Store a file; an existing file is replaced. Atomic; the file is on disk when this method returns."""
        ...

    async def put_file(self, key: str, file: BinaryIO) -> None:
        """Store the rest of `file`, like `put`, but read it in chunks. Closes `file`."""
        ...

    async def get(self, key: str) -> bytes | None:
        """Return the content of a file, None if it does not exist."""
        ...

    async def get_range(self, key: str, start: int, end: int) -> bytes:
        """Return the bytes from `start` up to but not including `end`. Raises FileNotFoundError."""
        ...

    async def size(self, key: str) -> int | None:
        """Return the size of a file in bytes, None if it does not exist."""
        ...

    async def delete(self, keys: Sequence[str]) -> None:
        """Delete files. Keys that do not exist are ignored."""
        ...

    async def delete_partial_files(self, *, older_than_s: float) -> int:
        """Delete the partial files that crashed writers left, if they are old enough. Returns the number of files."""
        ...

    async def delete_folder(self, prefix: str) -> None:
        """Delete all files whose key starts with `prefix`, which must end with a slash."""
        ...
