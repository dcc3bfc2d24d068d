"""Create an element in this process, without the API."""

import asyncio
from typing import Any

from framehouse.adapters.postgres import account_store, element_store
from framehouse.adapters.postgres.pool import Database
from framehouse.cli.local_database import get_account
from framehouse.cli.output import Problem
from framehouse.domain.account import DEFAULT_ACCOUNT
from framehouse.domain.element import Element, ElementTask, read_element
from framehouse.domain.errors import refused_fields
from framehouse.pipeline.saved_elements import create_element
from framehouse.settings import Settings
from framehouse.wiring import build_element_worker, open_deployment

_POLL_S = 0.1


async def create_element_locally(settings: Settings, account: str, body: dict[str, Any]) -> Element:
    """Check a request for an element as the API does, and create the element in this process.

    A running server is not required. Raises Refused if the API would refuse the request. Raises Problem if the element
    cannot be created.
    """
    request, problems = read_element(body)
    if problems:
        raise refused_fields(problems)
    async with open_deployment(settings, size=4) as deployment:
        if account == DEFAULT_ACCOUNT:
            await account_store.create_account(deployment.db, account)
        account_id = (await get_account(deployment.db, account)).id
        ticket = await create_element(request, account_id=account_id, db=deployment.db, storage=deployment.storage)
        worker = asyncio.create_task(build_element_worker(deployment, only_task=ticket.task_id).run())
        try:
            task = await _wait_for_end(deployment.db, account_id, str(ticket.task_id), worker)
        finally:
            worker.cancel()
            await asyncio.gather(worker, return_exceptions=True)
    if task.status != "succeed":
        raise Problem(f"The element could not be created: {task.status_message}")
    return task.element


async def _wait_for_end(db: Database, account_id: int, task_id: str, worker: "asyncio.Task[None]") -> ElementTask:
    """Wait until the task of an element has ended, and return the task. Raises the exception of a failed worker."""
    while True:
        task = await element_store.find_element(db, account_id, task_id, 0)
        assert task is not None
        if task.ended:
            return task
        if worker.done():
            worker.result()
        await asyncio.sleep(_POLL_S)
