"""Cancel a task. Notify the clients that wait for the task, and notify the workers that generate its images."""

from contextlib import suppress
from datetime import timedelta
from uuid import UUID

from framehouse.adapters.postgres.channels import ENDED_CHANNEL, notify
from framehouse.adapters.postgres.pool import Database, DatabaseUnavailable
from framehouse.adapters.postgres.task_store import cancel_task


async def cancel(
    db: Database, account_id: int, task_id: UUID, retention: timedelta, *, actor: str | None = None
) -> bool:
    """Cancel a task and release its quota and units. Returns False if the task has already ended.

    `actor` is the operator who cancels the task, or None if a client cancels it. Raises LookupError if the account has
    no such task.
    """
    ended = await cancel_task(db, account_id, task_id, retention, actor=actor)
    if ended:
        with suppress(DatabaseUnavailable):
            await notify(db, ENDED_CHANNEL, str(task_id))
    return ended
