"""A storage on obstore: one library for folders and for the buckets of S3, GCS and Azure."""

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

from framehouse.adapters.storage.protocol import Storage, StorageAway, StorageWrong

if TYPE_CHECKING:
    from obstore import HTTP_METHOD
    from obstore.store import RetryConfig

_FOLDER_PART_BYTES, _BUCKET_PART_BYTES = 512 * 1024, 5 * 1024 * 1024
"""What a file is read in; a few of them are in memory at once. S3 takes no smaller ones."""
_RETRY: "RetryConfig" = {"max_retries": 4, "retry_timeout": timedelta(seconds=20)}
"""Who stores tries again himself, and whoever waits for an answer should hear within it that the bucket is away."""
_MEDIA_TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".webp": "image/webp"}


def open_storage(url: str) -> Storage:
    """The storage behind `file:///folder`, `s3://bucket/prefix`, `gs://…` or `az://…`.

    Bucket credentials come from where the cloud's own tools look (AWS_ACCESS_KEY_ID, AWS_ENDPOINT, …).
    Raises StorageAway where the URL names nothing usable.
    """
    try:
        if folder := folder_of(url):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            return _Store(LocalStore(folder, automatic_cleanup=True), folder)
        return _Store(from_url(url) if urlsplit(url).scheme == "memory" else from_url(url, retry_config=_RETRY), None)
    except (BaseError, OSError, ValueError) as error:
        raise StorageAway(f"cannot use the storage {url}: {_said(error)}") from error


def folder_of(url: str) -> Path | None:
    """The folder behind `file:///folder`; None for a bucket."""
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
        async with _storing(""):  # unlike asking for a file, listing tells an empty bucket from none
            await self._store.list(prefix="ready/", chunk_size=1).collect_async()

    async def presign(self, key: str, method: str, *, life_s: int) -> str | None:
        if not isinstance(self._store, S3Store | GCSStore | AzureStore):
            return None
        async with _storing(key):
            return await obstore.sign_async(self._store, cast("HTTP_METHOD", method), key, timedelta(seconds=life_s))

    async def put(self, key: str, content: bytes) -> None:
        media_type = None if self._folder else _MEDIA_TYPES.get(Path(key).suffix)  # for who is sent to the bucket
        async with _storing(key):
            await self._store.put_async(key, content, attributes={"Content-Type": media_type} if media_type else None)
            if self._folder:
                await asyncio.to_thread(_flush, self._folder / key)

    async def put_file(self, key: str, file: BinaryIO) -> None:
        with file:
            part_bytes = _FOLDER_PART_BYTES if self._folder else _BUCKET_PART_BYTES
            async with _storing(key):
                await self._store.put_async(key, file, chunk_size=part_bytes, max_concurrency=1)
                if self._folder:
                    await asyncio.to_thread(_flush, self._folder / key)

    async def get(self, key: str) -> bytes | None:
        try:
            async with _storage_errors(key):
                found = await self._store.get_async(key)
                return bytes(await found.bytes_async())
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

    async def remove_unfinished(self, *, older_s: float) -> int:
        return await asyncio.to_thread(_remove_unfinished, self._folder, older_s) if self._folder else 0

    async def delete_folder(self, prefix: str) -> None:
        async with _storage_errors(prefix):
            found = [meta["path"] async for page in self._store.list(prefix=prefix) for meta in page]
        await self.delete(found)


def _remove_unfinished(folder: Path, older_s: float) -> int:
    """The library writes `name#1` and renames it; its own listing does not show those."""
    removed = 0
    for path in folder.rglob("*#[0-9]*"):
        with suppress(FileNotFoundError):
            if path.is_file() and path.stat().st_mtime < time.time() - older_s:
                path.unlink()
                removed += 1
    return removed


def _flush(path: Path) -> None:
    """The library renames a finished file into place but leaves it in the page cache; a power cut would lose it."""
    for place in (path, path.parent, path.parent.parent):  # the folder may be new itself
        descriptor = os.open(place, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@asynccontextmanager
async def _storing(key: str) -> AsyncIterator[None]:
    """Who stores needs no file to be there: what is not found is the bucket."""
    try:
        async with _storage_errors(key):
            yield
    except FileNotFoundError as error:
        raise StorageWrong(f"storage: there is no such bucket or folder: {_said(error.__cause__ or error)}") from error


@asynccontextmanager
async def _storage_errors(key: str) -> AsyncIterator[None]:
    try:
        yield
    except (NotFoundError, FileNotFoundError) as error:
        raise FileNotFoundError(key) from error
    except (PermissionDeniedError, UnauthenticatedError) as error:
        raise StorageWrong(f"storage: it does not let us in: {_said(error)}") from error
    except (BaseError, OSError) as error:
        raise _fault(_said(error)) from error


def _fault(said: str) -> StorageAway:
    """Listing tells what a server answered by its words alone."""
    if "builder error" in said:  # its words for a URL that it may not ask
        return StorageWrong("storage: the endpoint is http://, which AWS_ALLOW_HTTP=true must allow")
    if "169.254.169.254" in said:
        return StorageWrong(f"storage: no credentials are set, and this machine has no role that gives some: {said}")
    found = re.search(r"status code: (4\d\d)", said)
    match found and found[1]:
        case "401" | "403":
            return StorageWrong(f"storage: it does not let us in: {said}")
        case "404":
            return StorageWrong(f"storage: there is no such bucket or folder: {said}")
        case None | "408" | "425" | "429":
            return StorageAway(f"storage: {said}")
        case _:
            return StorageWrong(f"storage: it does not take what we ask: {said}")


def _said(error: BaseException) -> str:
    """The library's own words, without the pages of its insides that it adds; what a server answered is a part."""
    return " ".join(str(error).partition("\n\nDebug source:")[0].split())[:600]
