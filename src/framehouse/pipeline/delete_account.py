"""Delete an account and all of its data.

The account is first marked as deleted. If the process stops before all data is deleted, the sweeper of any process
continues.
"""

import asyncio
from contextlib import suppress
from datetime import timedelta

from framehouse.adapters.postgres import account_store, deleted_accounts
from framehouse.adapters.postgres.channels import ENDED_CHANNEL, notify
from framehouse.adapters.postgres.pool import Database, DatabaseUnavailable
from framehouse.adapters.storage import Storage
from framehouse.domain.shot import image_folder

_MESSAGE = "the account was deleted"
PURGE_GRACE = timedelta(minutes=10)
"""The time for which the images of a task are kept after its end. A worker that has not yet noticed the end of the task
may still store an image. The image is then deleted together with the other images."""
_STEP = 100


async def delete_account(db: Database, name: str, *, actor: str) -> bool:
    """Delete an account. Returns False if there is no such account.

    When this function returns, the keys of the account are invalid, and its tasks have ended without a charge and
    without a callback. The sweeper then deletes the data (see `purge_deleted_accounts`).
    """
    account_id = await account_store.delete_account(db, name, actor=actor)
    if account_id is None:
        return False
    await _end_tasks(db, account_id)
    return True


async def purge_deleted_accounts(db: Database, storage: Storage) -> None:
    """Delete the data of all deleted accounts, except the images of tasks that ended within the last ten minutes."""
    account_ids = await deleted_accounts.list_deleted_accounts(db)
    for account_id in account_ids:  # first for all accounts, so that no task waits for the deletion of other data
        await _end_tasks(db, account_id)
    for account_id in account_ids:
        while task_ids := await deleted_accounts.tasks_to_purge(db, account_id, PURGE_GRACE, _STEP):
            await asyncio.gather(*(storage.delete_folder(image_folder(task_id)) for task_id in task_ids))
            await deleted_accounts.delete_tasks(db, task_ids)
        while await deleted_accounts.purge_rows(db, account_id, _STEP):
            pass
        await deleted_accounts.purge_account(db, account_id)


async def _end_tasks(db: Database, account_id: int) -> None:
    """End the unfinished tasks of a deleted account, and notify the workers that generate their images.

    Also delete the waiting callback messages of the account.
    """
    while task_ids := await deleted_accounts.unfinished_tasks(db, account_id, _STEP):
        for task_id in task_ids:
            await deleted_accounts.end_without_callback(db, task_id, _MESSAGE)
            with suppress(DatabaseUnavailable):
                await notify(db, ENDED_CHANNEL, str(task_id))
    await deleted_accounts.delete_callbacks(db, account_id)
