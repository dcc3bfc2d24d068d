"""Get a task, wait until it ends, or follow it until it ends."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from uuid import UUID

from framehouse.adapters.postgres.task_store import TaskQuery
from framehouse.domain.errors import Refused
from framehouse.domain.task import Task
from framehouse.entrypoints.api.context import ApiContext


def can_be_id(text: str) -> bool:
    """Return whether a task or an element can have this id."""
    return len(text) <= 255 and "\0" not in text


def not_found(id: str) -> Refused:
    """Return the error for an id that does not exist in the caller's account."""
    echo = "".join(c if c.isprintable() else "\ufffd" for c in id[:255])
    return Refused(1201, f"Task not found by id/external id: {echo}")


async def get_task(context: ApiContext, query: TaskQuery) -> Task:
    """Return the task that a query describes.

    Raises Refused (1201) if the task does not exist, or if the key `query.key_id` is no longer valid.
    """
    found = await context.find_task(query) if can_be_id(query.either_id) else None
    if found is None or found.refused or found.task is None:
        raise not_found(query.either_id)
    return found.task


async def wait_for_end(context: ApiContext, task: Task, seconds: int) -> Task:
    """Wait until the task has ended or `seconds` seconds have passed. Return the current state of the task."""
    if task.ended:
        return task
    with context.long_polls.watch(task.id, task.account_id) as ended:
        task = await get_task(context, TaskQuery(task.account_id, str(task.id)))
        if task.ended:
            return task
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await ended.wait()
    return await get_task(context, TaskQuery(task.account_id, str(task.id)))


async def follow_task(context: ApiContext, account_id: int, task_id: UUID, *, every_s: float) -> AsyncIterator[Task]:
    """Yield the task now, then every `every_s` seconds, and when it has ended.

    Raises Refused (5001) if the server stops, or ends the wait because the account has too many waiting requests.
    Raises Refused (1201) if the task no longer exists.
    """
    with context.long_polls.watch(task_id, account_id) as woken:
        while True:
            was_woken = woken.is_set()
            task = await get_task(context, TaskQuery(account_id, str(task_id)))
            if was_woken and not task.ended:
                message = f"the server ends this request, but the task {task_id} continues; repeat the request"
                raise Refused(5001, message, retry_after_s=1)
            yield task
            if task.ended:
                return
            try:
                async with asyncio.timeout(every_s):
                    await woken.wait()
            except TimeoutError:
                continue
