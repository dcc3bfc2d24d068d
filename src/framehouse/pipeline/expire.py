"""The end of stored files: files first, then the mark, so that a death in between only repeats the removal."""

from datetime import timedelta

from framehouse.adapters.postgres.pool import Database
from framehouse.adapters.postgres.references import forget_references, forgotten_files, mark_removed
from framehouse.adapters.postgres.tasks import mark_expired, tasks_to_expire
from framehouse.adapters.storage import Storage
from framehouse.pipeline.settle import folder_of

REFERENCE_GRACE = timedelta(hours=1)
"""How long a stored reference is kept after its last use: far longer than the way from storing it to its task's row,
and long enough that the same picture, sent again and again, is written once."""


async def expire_pictures(db: Database, storage: Storage, *, most: int = 100) -> int:
    """Remove the pictures of up to `most` tasks whose time is over, strays of lost workers included; how many tasks."""
    due = await tasks_to_expire(db, most)
    for task_id in due:
        await storage.delete_folder(folder_of(task_id))
        await mark_expired(db, task_id)
    return len(due)


async def remove_references(
    db: Database, storage: Storage, *, grace: timedelta = REFERENCE_GRACE, most: int = 100
) -> int:
    """Look at up to `most` references that were not used for long, and remove those that nobody needs; how many were
    looked at. The decision is one statement and final; a file that the storage keeps is removed by a later turn."""
    looked_at = await forget_references(db, grace, most)
    while keys := await forgotten_files(db, most):
        await storage.delete(keys)
        await mark_removed(db, keys)
    return looked_at
