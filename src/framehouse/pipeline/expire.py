"""The end of stored files: files first, then the mark, so that a death in between only repeats the removal."""

import asyncio
from datetime import timedelta
from uuid import UUID

from framehouse.adapters.postgres.pool import Database
from framehouse.adapters.postgres.reference_store import delete_unused_references, files_to_delete, mark_removed
from framehouse.adapters.postgres.task_store import mark_expired, tasks_to_expire
from framehouse.adapters.storage import Storage
from framehouse.pipeline.save_shot import folder_of

REFERENCE_GRACE = timedelta(hours=1)
"""How long a stored reference is kept after its last use: far longer than the way from storing it to its task's row,
and long enough that the same picture, sent again and again, is written once."""
_AT_ONCE = 16


async def expire_images(db: Database, storage: Storage, *, most: int = 100) -> int:
    """Remove the pictures of up to `most` tasks whose time is over, strays of lost workers included; how many tasks.
    Several at a time, for a bucket is some way off; where one cannot be removed, the others are."""
    due = await tasks_to_expire(db, most)
    gate = asyncio.Semaphore(_AT_ONCE)

    async def remove(task_id: UUID) -> None:
        async with gate:
            await storage.delete_folder(folder_of(task_id))

    outcomes = await asyncio.gather(*map(remove, due), return_exceptions=True)
    await mark_expired(db, [task_id for task_id, outcome in zip(due, outcomes, strict=True) if outcome is None])
    for outcome in outcomes:
        if outcome is not None:
            raise outcome
    return len(due)


async def remove_references(
    db: Database, storage: Storage, *, grace: timedelta = REFERENCE_GRACE, most: int = 100
) -> int:
    """Look at up to `most` references that were not used for long, and remove those that nobody needs; how many were
    looked at. The decision is one statement and final; a file that the storage keeps is removed by a later turn."""
    looked_at = await delete_unused_references(db, grace, most)
    while keys := await files_to_delete(db, most):
        await storage.delete(keys)
        await mark_removed(db, keys)
    return looked_at
