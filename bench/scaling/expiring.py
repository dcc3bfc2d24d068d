"""Measure the rate at which the sweeper removes expired images, from a folder and from a distant bucket."""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import asyncpg

from framehouse.adapters.postgres.embedded import EmbeddedPostgres
from framehouse.adapters.postgres.migrate import migrate
from framehouse.adapters.postgres.pool import Database
from framehouse.adapters.postgres.task_store import tasks_to_expire
from framehouse.adapters.storage import Storage, open_storage
from framehouse.domain.shot import image_folder
from framehouse.pipeline.expire import expire_images
from scaling.counters import Cost, embedded_database
from scaling.filling import create_accounts, fill

ANSWER_S = 0.03
"""The time that an object storage in the same region takes for a listing, and also for a deletion."""


class DistantBucket:
    """A storage with one image per task that answers after a delay, with the same requests as a real bucket."""

    async def delete_folder(self, prefix: str) -> None:
        await asyncio.sleep(ANSWER_S)
        await self.delete([prefix])

    async def delete(self, keys: Sequence[str]) -> None:
        for _ in keys:
            await asyncio.sleep(ANSWER_S)

    async def check(self) -> None:
        raise NotImplementedError

    async def presign(self, key: str, method: str, *, valid_s: int) -> str | None:
        raise NotImplementedError

    async def put(self, key: str, content: bytes) -> None:
        raise NotImplementedError

    async def put_file(self, key: str, file: BinaryIO) -> None:
        raise NotImplementedError

    async def get(self, key: str) -> bytes | None:
        raise NotImplementedError

    async def get_range(self, key: str, start: int, end: int) -> bytes:
        raise NotImplementedError

    async def size(self, key: str) -> int | None:
        raise NotImplementedError

    async def delete_partial_files(self, *, older_than_s: float) -> int:
        raise NotImplementedError


def measure(quick: bool) -> dict[str, Cost]:
    with embedded_database() as (server, data_dir):
        return asyncio.run(_measure(server, data_dir, 100 if quick else 300))


async def _measure(server: EmbeddedPostgres, data_dir: Path, tasks: int) -> dict[str, Cost]:
    await migrate(server.url)
    connection = await asyncpg.connect(server.url)
    dbs = [Database(server.url, size=4) for _ in range(4)]
    for db in dbs:
        await db.open()
    costs: dict[str, Cost] = {}
    try:
        await create_accounts(connection, 10)
        await fill(connection, rows=tasks * 8, accounts=10, days=100)
        folder = open_storage(f"file://{data_dir}/files")
        for id in await tasks_to_expire(dbs[0], tasks):
            await folder.put(f"{image_folder(id)}0.png", b"0" * 1_600_000)
        storages: dict[str, tuple[Storage, int]] = {
            "a folder": (folder, 1),
            "a bucket": (DistantBucket(), 1),
            "a bucket, 4 workers": (DistantBucket(), 4),
        }
        for name, (storage, sweepers) in storages.items():
            count = "select count(*) from tasks where expired_at is not null"
            before, began = await connection.fetchval(count), time.perf_counter()
            await asyncio.gather(*(_sweep(db, storage, tasks // 100) for db in dbs[:sweepers]))
            seconds = time.perf_counter() - began
            expired = await connection.fetchval(count) - before
            costs[name] = {"tasks per second": expired / seconds, "time_s": seconds / expired}
        return costs
    finally:
        for db in dbs:
            await db.close()
        await connection.close()


async def _sweep(db: Database, storage: Storage, times: int) -> None:
    for _ in range(times):
        await expire_images(db, storage)
