"""Record the response times and the number of errors of a storage as metrics."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import BinaryIO

from framehouse.adapters.storage.protocol import Storage, StorageUnavailable
from framehouse.adapters.telemetry import metrics

_TIMES = {name: metrics.STORAGE_SECONDS.labels(name) for name in ("put", "get", "size", "delete", "check")}
_ERRORS = {name: metrics.STORAGE_ERRORS.labels(name) for name in _TIMES}


@contextmanager
def _measured(operation: str) -> Iterator[None]:
    started = time.perf_counter()
    try:
        yield
    except StorageUnavailable:
        _ERRORS[operation].inc()
        raise
    _TIMES[operation].observe(time.perf_counter() - started)


class MeasuredStorage:
    """A storage that passes each call to another storage, and measures the calls to the operations in `_TIMES`."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    async def check(self) -> None:
        with _measured("check"):
            await self._storage.check()

    async def presign(self, key: str, method: str, *, valid_s: int) -> str | None:
        return await self._storage.presign(key, method, valid_s=valid_s)

    async def put(self, key: str, content: bytes) -> None:
        with _measured("put"):
            await self._storage.put(key, content)

    async def put_file(self, key: str, file: BinaryIO) -> None:
        with _measured("put"):
            await self._storage.put_file(key, file)

    async def get(self, key: str) -> bytes | None:
        with _measured("get"):
            return await self._storage.get(key)

    async def get_range(self, key: str, start: int, end: int) -> bytes:
        with _measured("get"):
            return await self._storage.get_range(key, start, end)

    async def size(self, key: str) -> int | None:
        with _measured("size"):
            return await self._storage.size(key)

    async def delete(self, keys: Sequence[str]) -> None:
        with _measured("delete"):
            await self._storage.delete(keys)

    async def delete_partial_files(self, *, older_than_s: float) -> int:
        return await self._storage.delete_partial_files(older_than_s=older_than_s)

    async def delete_folder(self, prefix: str) -> None:
        with _measured("delete"):
            await self._storage.delete_folder(prefix)
