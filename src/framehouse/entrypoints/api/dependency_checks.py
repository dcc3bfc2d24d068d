"""Check whether the database and the storage respond, for `/readyz` and `/metrics`."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from framehouse.adapters.postgres.pool import Database, DatabaseUnavailable
from framehouse.adapters.storage import Storage, StorageUnavailable

_DATABASE_TIMEOUT_S = 1.2
"""The time limit for the check of the database, in seconds. A load balancer must learn quickly that the database does
not respond. `Database` itself retries a statement for a longer time."""
_STORAGE_TIMEOUT_S = 6.0
"""The time limit for the check of the storage, in seconds. A bucket may be slow for a moment. This limit must be
shorter than Prometheus's scrape timeout of ten seconds, because a scrape that times out returns no metrics."""


async def database_responds(db: Database) -> bool:
    return await _succeeds(db.value("select 1"), DatabaseUnavailable, _DATABASE_TIMEOUT_S)


async def storage_responds(storage: Storage) -> bool:
    return await _succeeds(storage.check(), StorageUnavailable, _STORAGE_TIMEOUT_S)


async def _succeeds(check: Coroutine[Any, Any, object], failure: type[Exception], timeout_s: float) -> bool:
    """Return whether `check` ends within `timeout_s` seconds and does not raise `failure`.

    A check that takes longer is cancelled. This function does not wait for the end of the cancelled check, because the
    cancellation of a statement on a hung connection takes seconds.
    """
    task = asyncio.create_task(check)
    task.add_done_callback(lambda done: done.cancelled() or done.exception())
    try:
        await asyncio.wait({task}, timeout=timeout_s)
    finally:
        task.cancel()
    if not task.done() or isinstance(task.exception(), failure):
        return False
    task.result()
    return True
