"""A running callback worker, and helpers that wait for callbacks and list them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from framehouse.adapters.postgres import callback_queue
from framehouse.adapters.postgres.callback_queue import HostLimits
from framehouse.adapters.postgres.pool import Database
from framehouse.domain.callback import Delivery
from framehouse.domain.signed_urls import Links
from framehouse.entrypoints.callback_worker import CallbackWorker
from tests.support.eventually import eventually
from tests.support.in_process_deployment import Deployment
from tests.support.receivers import Receiver

LINKS = Links("secret", "http://framehouse.example")


@asynccontextmanager
async def running_callback_worker(
    deployment: Deployment, *, allow_private: bool = True, host_limits: HostLimits | None = None
) -> AsyncIterator[CallbackWorker]:
    """Run a callback worker with its own database connections, as in a real server."""
    db = Database(deployment.db.url, size=8, direct_url=deployment.db.direct_url)
    await db.open()
    callback_worker = CallbackWorker(db, LINKS, allow_private=allow_private, host_limits=host_limits)
    running = asyncio.create_task(callback_worker.run())
    try:
        yield callback_worker
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await db.close()


async def list_messages(deployment: Deployment, **filters: Any) -> list[Delivery]:
    account = await deployment.account()
    options: dict[str, Any] = {"either_id": None, "failed": False, "limit": 1000} | filters
    return await callback_queue.list_callbacks(deployment.db, account["id"], **options)


async def wait_for_callbacks(receiver: Receiver, minimum: int, *, seconds: float = 60) -> None:
    """Wait until the receiver has at least this number of callbacks."""

    async def enough() -> bool:
        return len(receiver.received) >= minimum

    await eventually(enough, seconds=seconds)


async def wait_for_messages(deployment: Deployment, check: Callable[[list[Delivery]], bool]) -> list[Delivery]:
    """Wait until `check` accepts the account's messages, and return the messages."""

    async def accepted_messages() -> list[Delivery] | None:
        messages = await list_messages(deployment)
        return messages if check(messages) else None

    messages: list[Delivery] = await eventually(accepted_messages)
    return messages


def statuses(receiver: Receiver) -> list[str]:
    return [callback.data["task_status"] for callback in receiver.received]
