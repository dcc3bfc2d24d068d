"""Helpers that read tasks, wait for the end of a task, and claim batches."""

from datetime import timedelta
from uuid import UUID

from framehouse.adapters.postgres import batch_queue, task_store
from framehouse.adapters.postgres.batch_queue import Claimed
from framehouse.domain.task import Task
from tests.support.eventually import eventually
from tests.support.in_process_deployment import Deployment

LEASE = timedelta(seconds=30)


async def get_task(deployment: Deployment, task_id: UUID) -> Task:
    task = await task_store.find_task(deployment.db, deployment.caller.account_id, str(task_id))
    assert task is not None
    return task


async def wait_for_task(deployment: Deployment, task_id: UUID, *, seconds: float = 60) -> Task:
    async def ended_task() -> Task | None:
        task = await get_task(deployment, task_id)
        return task if task.ended else None

    task: Task = await eventually(ended_task, seconds=seconds)
    return task


async def assert_nothing_left(deployment: Deployment, *, used: int) -> None:
    account = await deployment.account()
    assert (account["images_in_flight"], account["units_reserved"], account["units_used"]) == (0, 0, used)
    assert await deployment.db.value("select count(*) from batches") == 0


async def claim(deployment: Deployment, *, worker: int = 1, limit: int = 1) -> list[Claimed]:
    routes = [served for served in deployment.registry.served_routes if served[0] == "kling-v3-omni"]
    return await batch_queue.claim_batches(deployment.db, worker=worker, limit=limit, lease=LEASE, routes=routes)


async def waiting_route(deployment: Deployment) -> str | None:
    """The route of the only batch; None if a worker has claimed the batch."""
    route = await deployment.db.value("select route from batches where claim is null")
    return None if route is None else str(route)
