"""A storage that tells the metrics how long it takes, and what it refuses."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import BinaryIO

from framehouse.adapters.storage.protocol import Storage, StorageAway
from framehouse.adapters.telemetry import metrics

_TIMES = {name: metrics.STORAGE_SECONDS.labels(name) for name in ("put", "get", "size", "delete", "check")}
_ERRORS = {name: metrics.STORAGE_ERRORS.labels(name) for name in _TIMES}


@contextmanager
def _watched(operation: str) -> Iterator[None]:
    began = time.perf_counter()
    try:
        yield
    except StorageAway:
        _ERRORS[operation].inc()
        raise
    _TIMES[operation].observe(time.perf_counter() - began)


class WatchedStorage:
    """Another storage, watched."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    async def check(self) -> None:
        with _watched("check"):
            await self._storage.check()

    async def presign(self, key: str, method: str, *, life_s: int) -> str | None:
        return await self._storage.presign(key, method, life_s=life_s)

    async def put(self, key: str, content: bytes) -> None:
        with _watched("put"):
            await self._storage.put(key, content)

    async def put_file(self, key: str, file: BinaryIO) -> None:
        with _watched("put"):
            await self._storage.put_file(key, file)

    async def get(self, key: str) -> bytes | None:
        with _watched("get"):
            return await self._storage.get(key)

    async def get_range(self, key: str, start: int, end: int) -> bytes:
        with _watched("get"):
            return await self._storage.get_range(key, start, end)

    async def size(self, key: str) -> int | None:
        with _watched("size"):
            return await self._storage.size(key)

    async def delete(self, keys: Sequence[str]) -> None:
        with _watched("delete"):
            await self._storage.delete(keys)

    async def remove_unfinished(self, *, older_s: float) -> int:
        return await self._storage.remove_unfinished(older_s=older_s)

    async def delete_folder(self, prefix: str) -> None:
        with _watched("delete"):
            await self._storage.delete_folder(prefix)
