"""An operator returns failed tasks to the queue. Each task is charged once."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from framehouse.adapters.postgres import batch_queue, callback_queue, failed_tasks, task_store
from framehouse.adapters.postgres.callback_queue import HostLimits
from framehouse.adapters.postgres.failed_tasks import FailedTask, FailedTaskFilter
from framehouse.pipeline.expire import REFERENCE_GRACE, remove_references
from tests.support.image_files import image_base64
from tests.support.in_process_deployment import Deployment, MakeDeployment
from tests.support.tasks import LEASE, assert_nothing_left, claim, get_task, wait_for_task

RETENTION = timedelta(days=30)


async def failed_task(deployment: Deployment, *, message: str = "the GPU is broken", **fields: Any) -> UUID:
    """Submit a task, and let its first batch fail."""
    ticket = await deployment.submit(**fields)
    (batch,) = await claim(deployment)
    assert await batch_queue.fail_batch(deployment.db, batch.id, batch.claim, message, RETENTION)
    return ticket.task_id


async def only_failed(deployment: Deployment) -> FailedTask:
    (task,) = await failed_tasks.list_failed_tasks(deployment.db, limit=10)
    return task


async def test_a_retried_task_succeeds_and_is_charged_once(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment()
    id = await failed_task(deployment, n=3)
    task = await only_failed(deployment)
    assert (task.id, task.account, task.status_message, task.unfinished) == (
        id,
        "alice",
        "the GPU is broken",
        (0, 1, 2),
    )
    assert await failed_tasks.retry_task(deployment.db, task, max_batch=2) == "retried"
    assert await failed_tasks.retry_task(deployment.db, task, max_batch=2) == "not_failed", "a repeated call"
    assert (await deployment.account())["images_in_flight"] == 3
    batches = await deployment.db.rows("select shot_indexes from batches order by id")
    assert [row["shot_indexes"] for row in batches] == [[0, 1], [2]]
    deployment.start_worker()
    ended = await wait_for_task(deployment, id)
    assert (ended.status, ended.status_message, ended.units_charged, len(ended.images)) == ("succeed", "", 24, 3)
    await assert_nothing_left(deployment, used=24)
    assert await deployment.db.value("select sum(amount) from charges") == 24


async def test_a_retried_task_keeps_its_finished_images(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment()
    ticket = await deployment.submit(n=2)
    first, second = await claim(deployment, limit=2)
    stored = batch_queue.StoredShot(first.shots[0].index, "test", "images/kept.png", "", "image/png", 8, 8)
    await batch_queue.settle_shot(deployment.db, first.task_id, first.id, first.claim, stored, RETENTION)
    await batch_queue.fail_batch(deployment.db, second.id, second.claim, "broke", RETENTION)
    task = await only_failed(deployment)
    assert len(task.unfinished) == 1
    assert await failed_tasks.retry_task(deployment.db, task, max_batch=9) == "retried"
    deployment.start_worker()
    ended = await wait_for_task(deployment, ticket.task_id)
    assert "images/kept.png" in {image.key for image in ended.images}
    assert len(ended.images) == 2


async def test_the_retry_is_reported_by_new_callbacks(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment()
    id = await failed_task(deployment, callback_url="https://receiver.example/")
    await deployment.db.row("update callback_messages set state = 'delivered' where status = 'processing'")
    await failed_tasks.retry_task(deployment.db, await only_failed(deployment), max_batch=1)
    deployment.start_worker()
    await wait_for_task(deployment, id)
    rows = await deployment.db.rows("select status, state from callback_messages order by sequence")
    assert [tuple(row) for row in rows] == [
        ("processing", "delivered"), ("processing", "waiting"), ("succeed", "waiting")
    ], "the message about the failure was not delivered yet"  # fmt: skip


async def test_a_task_fails_again_and_can_be_retried_again(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment()
    id = await failed_task(deployment, callback_url="https://receiver.example/")
    for _ in range(7):
        await deployment.db.row("update callback_messages set state = 'delivered'")
        assert await failed_tasks.retry_task(deployment.db, await only_failed(deployment), max_batch=1) == "retried"
        (batch,) = await claim(deployment)
        await batch_queue.fail_batch(deployment.db, batch.id, batch.claim, "still broken", RETENTION)
    assert (await get_task(deployment, id)).status_message == "still broken"
    await assert_nothing_left(deployment, used=0)
    assert await deployment.db.value("select count(*) from callback_messages") == 16


async def test_tasks_that_cannot_be_retried_are_not_changed(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment(units_limit=16)
    db, account_id = deployment.db, deployment.caller.account_id
    expired = await failed_task(deployment)
    too_expensive = await failed_task(deployment, n=2)
    await db.row("update tasks set expires_at = now() - interval '1 second' where id = $1", expired)
    await deployment.submit()
    canceled = await deployment.submit()
    await task_store.cancel_task(db, account_id, canceled.task_id, LEASE)
    listed = {task.id: task for task in await failed_tasks.list_failed_tasks(db, limit=10)}
    assert set(listed) == {expired, too_expensive}, "canceled tasks are not listed"
    before = await deployment.account()
    assert await failed_tasks.retry_task(db, listed[expired], max_batch=1) == "expired"
    assert await failed_tasks.retry_task(db, listed[too_expensive], max_batch=1) == "over_units"
    await db.row("update tasks set status_message = 'Canceled' where id = $1", too_expensive)
    assert await failed_tasks.retry_task(db, listed[too_expensive], max_batch=1) == "canceled"
    assert await deployment.account() == before


async def test_references_must_still_exist(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment()
    id = await failed_task(deployment, prompt="<<<image_1>>>", image_list=[{"image": image_base64()}])
    task = await only_failed(deployment)
    await deployment.db.row("update stored_references set used_at = used_at - $1::interval", REFERENCE_GRACE)
    assert await failed_tasks.retry_task(deployment.db, task, max_batch=1) == "retried"
    await remove_references(deployment.db, deployment.storage)
    deployment.start_worker()
    assert (await wait_for_task(deployment, id)).status == "succeed", "the sweeper kept the reference"


async def test_a_deleted_reference_prevents_the_retry_unless_its_url_is_known(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment()
    await failed_task(deployment, prompt="<<<image_1>>>", image_list=[{"image": image_base64()}])
    task = await only_failed(deployment)
    await deployment.db.row("update stored_references set used_at = used_at - $1::interval", REFERENCE_GRACE)
    await remove_references(deployment.db, deployment.storage)
    assert await failed_tasks.retry_task(deployment.db, task, max_batch=1) == "reference_gone"
    await deployment.db.row("update task_references set url = 'https://images.example/1.png'")
    assert await failed_tasks.retry_task(deployment.db, task, max_batch=1) == "retried"
    assert await deployment.db.value("select key is null from task_references")


async def test_the_filters_select_failed_tasks(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment()
    gpu = await failed_task(deployment)
    network = await failed_task(deployment, message="No route to the upstream")
    await deployment.db.row("update tasks set model = 'kling-image-o1' where id = $1", network)
    await deployment.db.row("update tasks set ended_at = now() - interval '2 days' where id = $1", network)

    async def found(**filters: Any) -> set[UUID]:
        return {
            task.id
            for task in await failed_tasks.list_failed_tasks(deployment.db, limit=10, tasks=FailedTaskFilter(**filters))
        }

    assert await found() == {gpu, network}
    assert await found(since=datetime.now(UTC) - timedelta(days=1)) == {gpu}
    assert await found(model="kling-image-o1") == {network}
    assert await found(reason="no ROUTE") == {network}
    assert await found(reason="%") == set()
    assert await found(account="alice") == {gpu, network}
    assert await found(account="bob") == set()
    assert await found(task_ids=[gpu]) == {gpu}


async def test_shots_that_were_finished_meanwhile_are_not_generated_again(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment()
    await failed_task(deployment, n=2)
    task = await only_failed(deployment)
    await deployment.db.row("update shots set painted_at = now() where index = 0")
    assert await failed_tasks.retry_task(deployment.db, task, max_batch=1) == "retried"
    assert [row["shot_indexes"] for row in await deployment.db.rows("select shot_indexes from batches")] == [[1]]


async def test_a_retried_task_keeps_its_priority(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment()
    await failed_task(deployment)
    await deployment.db.row("update tasks set low = true")
    await failed_tasks.retry_task(deployment.db, await only_failed(deployment), max_batch=1)
    assert await deployment.db.value("select low from batches")


async def test_new_callbacks_wait_for_the_delivery_in_progress(make_deployment: MakeDeployment) -> None:
    """The message about the failure is being delivered when the task is retried."""
    deployment = await make_deployment()
    db = deployment.db
    await failed_task(deployment, callback_url="https://receiver.example/")
    await db.row("update callback_messages set state = 'delivered' where status = 'processing'")
    await db.row("update callback_messages set run_at = now() where status = 'failed'")
    (delivery,) = await callback_queue.claim_callbacks(
        db, limit=5, host_limits=HostLimits(), healthy=(), failing=(), lease=LEASE
    )
    await failed_tasks.retry_task(db, await only_failed(deployment), max_batch=1)
    (batch,) = await claim(deployment)
    await batch_queue.fail_batch(db, batch.id, batch.claim, "again", RETENTION)

    async def due() -> list[str]:
        rows = await db.rows(
            "select status from callback_messages where state = 'waiting' and claim is null and run_at <= now()"
        )
        return [row["status"] for row in rows]

    assert await due() == []
    await callback_queue.end_callback(db, delivery, state="delivered", code=200, error="")
    assert await due() == ["processing"], "the messages are delivered in order"
