"""Delete files that are no longer needed.

Each file is deleted before the database records the deletion. If the process crashes between these two steps, a later
run repeats the deletion.
"""

import asyncio
from datetime import timedelta
from uuid import UUID

from framehouse.adapters.postgres.pool import Database
from framehouse.adapters.postgres.reference_store import delete_unused_references, files_to_delete, mark_removed
from framehouse.adapters.postgres.task_store import mark_expired, tasks_to_expire
from framehouse.adapters.storage import Storage
from framehouse.domain.shot import image_folder

REFERENCE_GRACE = timedelta(hours=1)
"""The time for which an unneeded reference is kept after its last use. This grace period is far longer than the time
between storing a reference and saving its task, so that no reference is deleted before its task is saved. An image that
is sent several times within the grace period is stored only once."""
_CONCURRENCY = 16


async def expire_images(db: Database, storage: Storage, *, limit: int = 100) -> int:
    """Delete the image folders of up to `limit` expired tasks, several folders at a time. Returns the number of tasks.

    Each folder is deleted entirely, because it may also contain files that a worker stored too late and that the
    database does not list. If the storage fails to delete a folder, the other folders are still deleted before the
    error is raised.
    """
    task_ids = await tasks_to_expire(db, limit)
    slots = asyncio.Semaphore(_CONCURRENCY)

    async def delete(task_id: UUID) -> None:
        async with slots:
            await storage.delete_folder(image_folder(task_id))

    results = await asyncio.gather(*map(delete, task_ids), return_exceptions=True)
    await mark_expired(db, [task_id for task_id, result in zip(task_ids, results, strict=True) if result is None])
    for result in results:
        if result is not None:
            raise result
    return len(task_ids)


async def remove_references(
    db: Database, storage: Storage, *, grace: timedelta = REFERENCE_GRACE, limit: int = 100
) -> int:
    """Check up to `limit` references that have not been used for the period `grace`. Delete the references that are no
    longer needed, and their files.

    Returns the number of checked references. One statement deletes the rows of the unneeded references, and records the
    keys of their files. If the storage then fails to delete a file, a later call deletes the file.
    """
    checked = await delete_unused_references(db, grace, limit)
    while keys := await files_to_delete(db, limit):
        await storage.delete(keys)
        await mark_removed(db, keys)
    return checked
