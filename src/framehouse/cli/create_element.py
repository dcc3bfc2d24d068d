"""Create an element on this machine: accepted as the API does it, worked on in this process."""

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
from framehouse.wiring import make_element_worker, open_deployment

_CHECK_S = 0.1


async def create_element_here(settings: Settings, account: str, body: dict[str, Any]) -> Element:
    """Accept it as the API does, and make it here, beside a running server or without one."""
    request, problems = read_element(body)
    if problems:
        raise refused_fields(problems)
    async with open_deployment(settings, size=4) as deployment:
        if account == DEFAULT_ACCOUNT:
            await account_store.create_account(deployment.db, account)
        account_id = (await get_account(deployment.db, account)).id
        ticket = await create_element(request, account_id=account_id, db=deployment.db, storage=deployment.storage)
        making = asyncio.create_task(make_element_worker(deployment, only=ticket.task_id).run())
        try:
            task = await _ended(deployment.db, account_id, str(ticket.task_id), making)
        finally:
            making.cancel()
            await asyncio.gather(making, return_exceptions=True)
    if task.status != "succeed":
        raise Problem(f"The element was not made: {task.status_message}")
    return task.element


async def _ended(db: Database, account_id: int, task_id: str, making: "asyncio.Task[None]") -> ElementTask:
    while True:
        task = await element_store.find_element(db, account_id, task_id, 0)
        assert task is not None
        if task.ended:
            return task
        if making.done():
            making.result()
        await asyncio.sleep(_CHECK_S)
