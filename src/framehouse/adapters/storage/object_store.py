"""Storage in a folder, or in an S3, GCS or Azure bucket, through the obstore library."""

import asyncio
import os
import re
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import BaseError, NotFoundError, PermissionDeniedError, UnauthenticatedError
from obstore.store import AzureStore, GCSStore, LocalStore, ObjectStore, S3Store, from_url

from framehouse.adapters.storage.protocol import Storage, StorageMisconfigured, StorageUnavailable

if TYPE_CHECKING:
    from obstore import HTTP_METHOD
    from obstore.store import RetryConfig

_FOLDER_PART_BYTES, _BUCKET_PART_BYTES = 512 * 1024, 5 * 1024 * 1024
"""The sizes of the parts in which a file is written to a folder and to a bucket, in bytes. A few parts are in memory at
the same time. S3 rejects parts that are smaller than 5 MiB."""
_RETRY: "RetryConfig" = {"max_retries": 4, "retry_timeout": timedelta(seconds=20)}
"""The limits on retries of one request. A client may be waiting, so an unavailable bucket must be reported quickly. The
code that saves generated images has its own retries, without these limits."""
_MEDIA_TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".webp": "image/webp"}


def open_storage(url: str) -> Storage:
    """Open the storage at `file:///folder`, `s3://bucket/prefix`, `gs://…` or `az://…`. A missing folder is created.

    The credentials and the endpoint of a bucket are read from the provider's usual environment variables, such as
    AWS_ACCESS_KEY_ID and AWS_ENDPOINT. Raises StorageUnavailable if the URL cannot be used.
    """
    try:
        if folder := folder_of(url):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            return _Store(LocalStore(folder, automatic_cleanup=True), folder)
        return _Store(from_url(url) if urlsplit(url).scheme == "memory" else from_url(url, retry_config=_RETRY), None)
    except (BaseError, OSError, ValueError) as error:
        raise StorageUnavailable(f"cannot use the storage {url}: {_message(error)}") from error


def folder_of(url: str) -> Path | None:
    """Return the folder of a storage URL `file:///folder`. Returns None for the URL of a bucket."""
    parts = urlsplit(url)
    return Path(unquote(parts.path)) if parts.scheme == "file" else None


class _Store:
    def __init__(self, store: ObjectStore, folder: Path | None) -> None:
        self._store = store
        self._folder = folder

    async def check(self) -> None:
        if self._folder:
            await self.size("images/ready")
            return
        # the check lists files, because a request for one file would not reveal that the bucket does not exist
        async with _missing_bucket_errors(""):
            await self._store.list(prefix="ready/", chunk_size=1).collect_async()

    async def presign(self, key: str, method: str, *, valid_s: int) -> str | None:
        if not isinstance(self._store, S3Store | GCSStore | AzureStore):
            return None
        async with _missing_bucket_errors(key):
            return await obstore.sign_async(self._store, cast("HTTP_METHOD", method), key, timedelta(seconds=valid_s))

    async def put(self, key: str, content: bytes) -> None:
        # if the API redirects a client to a presigned URL, the bucket sends this media type
        media_type = None if self._folder else _MEDIA_TYPES.get(Path(key).suffix)
        async with _missing_bucket_errors(key):
            await self._store.put_async(key, content, attributes={"Content-Type": media_type} if media_type else None)
            if self._folder:
                await asyncio.to_thread(_flush, self._folder / key)

    async def put_file(self, key: str, file: BinaryIO) -> None:
        with file:
            part_bytes = _FOLDER_PART_BYTES if self._folder else _BUCKET_PART_BYTES
            async with _missing_bucket_errors(key):
                await self._store.put_async(key, file, chunk_size=part_bytes, max_concurrency=1)
                if self._folder:
                    await asyncio.to_thread(_flush, self._folder / key)

    async def get(self, key: str) -> bytes | None:
        try:
            async with _storage_errors(key):
                result = await self._store.get_async(key)
                return bytes(await result.bytes_async())
        except FileNotFoundError:
            return None

    async def get_range(self, key: str, start: int, end: int) -> bytes:
        async with _storage_errors(key):
            return bytes(await self._store.get_range_async(key, start=start, end=end))

    async def size(self, key: str) -> int | None:
        try:
            async with _storage_errors(key):
                return (await self._store.head_async(key))["size"]
        except FileNotFoundError:
            return None

    async def delete(self, keys: Sequence[str]) -> None:
        for key in keys:
            try:
                async with _storage_errors(key):
                    await self._store.delete_async(key)
            except FileNotFoundError:
                continue

    async def delete_partial_files(self, *, older_than_s: float) -> int:
        return await asyncio.to_thread(_delete_partial_files, self._folder, older_than_s) if self._folder else 0

    async def delete_folder(self, prefix: str) -> None:
        async with _storage_errors(prefix):
            keys = [meta["path"] async for page in self._store.list(prefix=prefix) for meta in page]
        await self.delete(keys)


def _delete_partial_files(folder: Path, older_than_s: float) -> int:
    """Delete old partial files. Their names end in `#1`, because obstore writes to `name#1` and then renames the file.

    This function does not use the method `list` of obstore to find the files, because `list` omits partial files.
    """
    deleted = 0
    for path in folder.rglob("*#[0-9]*"):
        with suppress(FileNotFoundError):
            if path.is_file() and path.stat().st_mtime < time.time() - older_than_s:
                path.unlink()
                deleted += 1
    return deleted


def _flush(path: Path) -> None:
    """Flush a complete file to disk.

    obstore renames a complete file to its final name but does not flush the file. Without this flush, the file could be
    lost in a power failure.
    """
    # the parent folder is flushed, because it contains the new file name; the folder above it is flushed, because the
    # parent folder may also be new
    for flushed in (path, path.parent, path.parent.parent):
        descriptor = os.open(flushed, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@asynccontextmanager
async def _missing_bucket_errors(key: str) -> AsyncIterator[None]:
    """Translate the errors of a request that does not need an existing file.

    For such a request, "not found" means that the bucket or the folder does not exist.
    """
    try:
        async with _storage_errors(key):
            yield
    except FileNotFoundError as error:
        raise StorageMisconfigured(
            f"storage: no such bucket or folder: {_message(error.__cause__ or error)}"
        ) from error


@asynccontextmanager
async def _storage_errors(key: str) -> AsyncIterator[None]:
    """Translate errors of obstore into FileNotFoundError (with `key`), StorageUnavailable or StorageMisconfigured."""
    try:
        yield
    except (NotFoundError, FileNotFoundError) as error:
        raise FileNotFoundError(key) from error
    except (PermissionDeniedError, UnauthenticatedError) as error:
        raise StorageMisconfigured(f"storage: access denied: {_message(error)}") from error
    except (BaseError, OSError) as error:
        raise _error_from(_message(error)) from error


def _error_from(message: str) -> StorageUnavailable:
    """Return the exception for an error message of obstore.

    The HTTP status code is read from the message, because some exceptions do not contain the code elsewhere.
    """
    if "builder error" in message:  # obstore's message for an http:// URL that is not allowed
        return StorageMisconfigured("storage: the endpoint uses http://; set AWS_ALLOW_HTTP=true to allow it")
    if "169.254.169.254" in message:
        return StorageMisconfigured(
            f"storage: no credentials are set, and this machine has no role that provides credentials: {message}"
        )
    status = re.search(r"status code: (4\d\d)", message)
    match status and status[1]:
        case "401" | "403":
            return StorageMisconfigured(f"storage: access denied: {message}")
        case "404":
            return StorageMisconfigured(f"storage: no such bucket or folder: {message}")
        case None | "408" | "425" | "429":
            return StorageUnavailable(f"storage: {message}")
        case _:
            return StorageMisconfigured(f"storage: the request was rejected: {message}")


def _message(error: BaseException) -> str:
    """Return the error message of obstore and the response of the storage, without obstore's debug output."""
    return " ".join(str(error).partition("\n\nDebug source:")[0].split())[:600]
