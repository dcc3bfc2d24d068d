"""End a task because its caller wants it no more; whoever waits for it or paints it hears of it at once."""

from contextlib import suppress
from datetime import timedelta
from uuid import UUID

from framehouse.adapters.postgres.channels import ENDED_CHANNEL, notify
from framehouse.adapters.postgres.pool import Database, DatabaseAway
from framehouse.adapters.postgres.task_store import cancel_task


async def cancel(db: Database, account_id: int, task_id: UUID, retention: timedelta) -> bool:
    """Quota and units come back. False: the task had ended. Raises LookupError where the account has no such task."""
    ended = await cancel_task(db, account_id, task_id, retention)
    if ended:
        with suppress(DatabaseAway):
            await notify(db, ENDED_CHANNEL, str(task_id))
    return ended
