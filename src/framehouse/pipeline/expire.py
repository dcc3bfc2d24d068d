"""The end of a task's pictures: files first, then the mark, so that a death in between only repeats the removal."""

from framehouse.adapters.postgres.pool import Database
from framehouse.adapters.postgres.tasks import mark_expired, tasks_to_expire
from framehouse.adapters.storage import Storage
from framehouse.pipeline.settle import folder_of


async def expire_pictures(db: Database, storage: Storage, *, most: int = 100) -> int:
    """Remove the pictures of up to `most` tasks whose time is over, strays of lost workers included; how many tasks."""
    due = await tasks_to_expire(db, most)
    for task_id in due:
        await storage.delete_folder(folder_of(task_id))
        await mark_expired(db, task_id)
    return len(due)
