"""What the house asks of a storage."""

from collections.abc import Sequence
from typing import BinaryIO, Protocol


class StorageAway(Exception):
    """The storage refused or did not answer; the message says how. Trying again later may help."""


class StorageWrong(StorageAway):
    """The storage answers, and does not let us in or has no such bucket: somebody must set something right."""


class Storage(Protocol):
    """Keys are relative paths of `[A-Za-z0-9._/-]`. All methods raise StorageAway where the storage is at fault."""

    async def check(self) -> None:
        """Ask something small of it, to see that it is there and lets us in."""
        ...

    async def presign(self, key: str, method: str, *, life_s: int) -> str | None:
        """A URL by which anybody may GET (or HEAD) the file for so long, a week at most; None: it has no such URLs."""
        ...

    async def put(self, key: str, content: bytes) -> None:
        """Store, replacing what was there. Whole or not at all, and on disk when this returns."""
        ...

    async def put_file(self, key: str, file: BinaryIO) -> None:
        """As `put`, of what `file` still holds, a piece at a time; the file is closed."""
        ...

    async def get(self, key: str) -> bytes | None:
        """The whole file, or None."""
        ...

    async def get_range(self, key: str, start: int, end: int) -> bytes:
        """Bytes from `start` up to but not including `end`. Raises FileNotFoundError."""
        ...

    async def size(self, key: str) -> int | None:
        """Size in bytes, or None where there is no such file."""
        ...

    async def delete(self, keys: Sequence[str]) -> None:
        """Remove files; those that are not there count as removed."""
        ...

    async def remove_unfinished(self, *, older_s: float) -> int:
        """Remove what writers that died have left half-written, where it is older than this; how many files."""
        ...

    async def delete_folder(self, prefix: str) -> None:
        """Remove all files whose key starts with `prefix`, which ends with a slash."""
        ...
