"""The sweeper: orphaned batches, clocks that jump, and the deletion of expired images and old rows."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast

import pytest

from framehouse.adapters.postgres import batch_queue, callback_queue, element_store, orphaned_batches, task_store
from framehouse.adapters.postgres.batch_queue import Claimed
from framehouse.adapters.storage import Storage, StorageUnavailable
from framehouse.entrypoints.poll_loop import poll_until_cancelled
from framehouse.entrypoints.sweeper import OrphanedBatches, sweep
from framehouse.pipeline.expire import expire_images
from tests.support.eventually import eventually
from tests.support.image_files import image_base64
from tests.support.in_process_deployment import Deployment, MakeDeployment, live_worker
from tests.support.receivers import receiving

LEASE = timedelta(seconds=30)
HISTORY = timedelta(days=365)


async def claim(deployment: Deployment, *, worker: int) -> list[Claimed]:
    return await batch_queue.claim_batches(
        deployment.db, worker=worker, limit=1, lease=LEASE, routes=[("kling-v3-omni", "")]
    )


@dataclass
class Clock:
    """The sweeper's monotonic clock. `check_repeatedly` advances it before each check."""

    now_s: float = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The sweeper's clock. The database's clock is real, so a lease counts as just renewed for 14 s."""
    monkeypatch.setattr("framehouse.entrypoints.sweeper._UNRENEWED_S", 14.0)
    return Clock()


async def claimed_batch(make_deployment: MakeDeployment, clock: Clock) -> tuple[Deployment, Claimed, OrphanedBatches]:
    """A deployment in which worker 4242 has claimed a batch, and the search for orphaned batches."""
    deployment = await make_deployment()
    await deployment.submit()
    (batch,) = await claim(deployment, worker=4242)
    return deployment, batch, OrphanedBatches(deployment.db, lease_s=30, clock=clock)


async def check_repeatedly(orphaned: OrphanedBatches, clock: Clock, checks: int, *, interval_s: float = 1.0) -> int:
    """Check `checks` times, and advance the clock before each check. Returns the number of requeued batches."""
    requeued = 0
    for _ in range(checks):
        clock.now_s += interval_s
        requeued += await orphaned.check_once()
    return requeued


async def advance_database_clock(deployment: Deployment, seconds: float) -> None:
    """Shorten all leases by `seconds`, as if the database's clock had jumped forward by this time."""
    await deployment.db.row("update batches set lease_until = lease_until - $1::interval", timedelta(seconds=seconds))


async def test_batches_of_a_dead_worker_are_requeued_after_a_short_grace_period(
    make_deployment: MakeDeployment, clock: Clock
) -> None:
    deployment, dead, orphaned = await claimed_batch(make_deployment, clock)
    assert await check_repeatedly(orphaned, clock, 9) == 0, "the worker has just renewed its lease"
    await advance_database_clock(deployment, 20)
    assert await check_repeatedly(orphaned, clock, 3) == 0, "the grace period is not over"
    assert await claim(deployment, worker=1) == []
    assert await check_repeatedly(orphaned, clock, 1) == 1
    (again,) = await claim(deployment, worker=1)
    assert (again.id, again.attempt, again.last_error) == (dead.id, 2, "the worker died or hung")


async def test_batches_of_a_live_worker_are_requeued_only_after_their_lease(
    make_deployment: MakeDeployment, clock: Clock
) -> None:
    deployment, _, orphaned = await claimed_batch(make_deployment, clock)
    async with live_worker(deployment, 4242):
        await advance_database_clock(deployment, 20)
        assert await check_repeatedly(orphaned, clock, 30) == 0
        assert await check_repeatedly(orphaned, clock, 1) == 1


@pytest.mark.parametrize("seconds", [3600, -3600])
async def test_a_clock_jump_takes_no_batches_from_live_workers(
    make_deployment: MakeDeployment, clock: Clock, seconds: int
) -> None:
    deployment, batch, orphaned = await claimed_batch(make_deployment, clock)
    async with live_worker(deployment, 4242):
        await advance_database_clock(deployment, seconds)
        assert await check_repeatedly(orphaned, clock, 2) == 0
        assert await claim(deployment, worker=1) == []
        assert await batch_queue.renew_leases(deployment.db, {batch.id: (batch.claim, 0.5)}, LEASE) == {batch.id}
        assert await check_repeatedly(orphaned, clock, 60) == 0
    await advance_database_clock(deployment, seconds)
    assert await check_repeatedly(orphaned, clock, 4) == 1, "batches of a worker that dies after the jump are found"


async def test_a_pause_of_the_machine_takes_no_batches_from_live_workers(
    make_deployment: MakeDeployment, clock: Clock
) -> None:
    deployment, _, orphaned = await claimed_batch(make_deployment, clock)
    async with live_worker(deployment, 4242):
        await advance_database_clock(deployment, 20)
        assert await check_repeatedly(orphaned, clock, 1) == 0
        await advance_database_clock(deployment, 600)
        assert await check_repeatedly(orphaned, clock, 2, interval_s=600) == 0, (
            "the time between two checks counts as at most 1.5 intervals"
        )


async def test_a_batch_that_is_renewed_after_the_check_is_not_requeued(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment()
    await deployment.submit()
    (batch,) = await claim(deployment, worker=4242)
    await advance_database_clock(deployment, 31)
    unrenewed = await orphaned_batches.unrenewed_batches(deployment.db, lease=LEASE, unrenewed_for=timedelta(seconds=2))
    assert [batch.alive for batch in unrenewed] == [False]
    await batch_queue.renew_leases(deployment.db, {batch.id: (batch.claim, 0)}, LEASE)
    assert await orphaned_batches.requeue_batches(deployment.db, unrenewed) == 0


async def submit_and_postpone(deployment: Deployment, url: str, by: str) -> None:
    """Submit two tasks, claim one batch, and postpone all due times by `by`, as if the clock had been set back."""
    await deployment.submit(callback_url=url)
    await deployment.submit(callback_url=url)
    await claim(deployment, worker=1)
    for table in ("batches", "elements"):
        await deployment.db.row(f"update {table} set run_at = run_at + $1::text::interval", by)
    await deployment.db.row(
        "update callback_messages set run_at = run_at + $1::text::interval where run_at < 'infinity'", by
    )


async def count_postponed(deployment: Deployment) -> list[Any]:
    """The numbers of batches, elements and callbacks that are not due yet."""
    return [
        await deployment.db.value(f"select count(*) from {table} where run_at > now() and run_at < 'infinity'")
        for table in ("batches", "elements", "callback_messages")
    ]


async def due_times(deployment: Deployment) -> list[Any]:
    """The due times of all batches, elements and callbacks."""
    return [
        await deployment.db.rows(f"select id, run_at from {table} order by id")
        for table in ("batches", "elements", "callback_messages")
    ]


async def test_due_times_are_repaired_after_the_clock_was_set_back(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment()
    async with receiving() as receiver:
        await submit_and_postpone(deployment, receiver.url, "1 hour")
        assert await count_postponed(deployment) == [2, 0, 1]
        await sweep(deployment.db, deployment.storage, history=HISTORY)
    assert await count_postponed(deployment) == [1, 0, 0], "the due time of a claimed batch has no effect"
    assert await deployment.db.value("select count(*) from batches where claim is null and run_at <= now()") == 1


async def test_ordinary_retry_pauses_are_not_changed(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment()
    async with receiving() as receiver:
        await submit_and_postpone(deployment, receiver.url, "0 seconds")
        await deployment.db.row("update batches set run_at = now() + interval '70 seconds', failing_since = now()")
        pause = "update callback_messages set attempt = $1, last_code = $2, run_at = now() + $3::text::interval"
        for attempt, code, duration in ((1, 500, "1.4 seconds"), (8, None, "190 seconds"), (9, 503, "20 hours")):
            await deployment.db.row(pause, attempt, code, duration)
            before = await due_times(deployment)
            await sweep(deployment.db, deployment.storage, history=HISTORY)
            assert await due_times(deployment) == before


async def test_old_rows_are_deleted_and_their_external_ids_stay_reserved(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment()
    named = [await deployment.submit(external_task_id=name) for name in ("old", "new")]
    unnamed = await deployment.submit(image_list=[{"image": image_base64()}])
    worker = deployment.start_worker()

    async def ended() -> bool:
        return not await deployment.db.value("select count(*) from tasks where ended_at is null")

    await eventually(ended)
    worker.stop()
    deleted = [named[0].task_id, unnamed.task_id]
    await deployment.db.row("update tasks set expires_at = now() - interval '1 day'")
    await sweep(deployment.db, deployment.storage, history=HISTORY)
    assert await deployment.db.value("select count(*) from tasks where expired_at is not null") == 3
    await deployment.db.row(
        "update tasks set expired_at = now() - $1::interval where id = any($2::uuid[])", HISTORY, deleted
    )
    used = (await deployment.account())["units_used"]
    await sweep(deployment.db, deployment.storage, history=HISTORY)
    for table in ("tasks", "shots", "task_references", "callback_messages"):
        column = "id" if table == "tasks" else "task_id"
        assert not await deployment.db.value(f"select count(*) from {table} where {column} = any($1::uuid[])", deleted)
    assert await deployment.db.value("select count(*) from tasks") == 1
    assert (await deployment.account())["units_used"] == used
    for reserved in ("old", "new"):
        with pytest.raises(Exception, match=f"External_task_id {reserved} already exists"):
            await deployment.submit(external_task_id=reserved)


async def test_old_failed_elements_are_deleted(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment()
    await deployment.db.row(
        "insert into elements "
        "(id, element_id, account_id, external_task_id, status, name, description, tags, updated_at) "
        "select gen_random_uuid(), n, $1, 'e' || n, case n when 1 then 'succeed' else 'failed' end, 'x', 'y', '{}', "
        "now() - interval '366 days' from generate_series(1, 1200) n",
        deployment.caller.account_id,
    )
    await sweep(deployment.db, deployment.storage, history=HISTORY)
    assert await deployment.db.value("select array_agg(external_task_id) from elements") == ["e1"]
    assert await deployment.db.value("select count(*) from taken_ids where kind = 'element'") == 1199
    assert await element_store.delete_old_elements(deployment.db, HISTORY, 10) == 0


async def test_rows_are_deleted_in_small_steps(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment()
    await deployment.db.row(
        "insert into idempotency_keys (account_id, key, body_hash, task_id, created_at) "
        "select $1, n::text, '', gen_random_uuid(), now() - interval '25 hours' from generate_series(1, 1200) n",
        deployment.caller.account_id,
    )
    assert await task_store.delete_old_idempotency_keys(deployment.db, 500) == 500
    assert await callback_queue.delete_old_callbacks(deployment.db, timedelta(0), 500) == 0
    await sweep(deployment.db, deployment.storage, history=HISTORY)
    assert not await deployment.db.value("select count(*) from idempotency_keys")


class SlowDeletingStorage:
    """A storage that deletes folders slowly. It cannot delete folders whose prefix contains `undeletable`."""

    def __init__(self, undeletable: str) -> None:
        self._undeletable = undeletable
        self.running = self.max_running = 0

    async def delete_folder(self, prefix: str) -> None:
        self.running += 1
        self.max_running = max(self.max_running, self.running)
        await asyncio.sleep(0.01)
        self.running -= 1
        if self._undeletable in prefix:
            raise StorageUnavailable("cannot delete this folder")


async def test_images_are_deleted_in_parallel_and_a_failure_does_not_stop_other_deletions(
    make_deployment: MakeDeployment,
) -> None:
    deployment = await make_deployment()
    tickets = [await deployment.submit() for _ in range(20)]
    await deployment.db.row("update tasks set expires_at = now() - interval '1 second'")
    storage = SlowDeletingStorage(str(tickets[3].task_id))
    with pytest.raises(StorageUnavailable):
        await expire_images(deployment.db, cast(Storage, storage))
    assert 8 < storage.max_running < 20
    remaining = "select array_agg(id) from tasks where expired_at is null"
    assert await deployment.db.value(remaining) == [tickets[3].task_id]
    assert await expire_images(deployment.db, cast(Storage, SlowDeletingStorage("nothing"))) == 1
    assert await deployment.db.value(remaining) is None


async def test_a_loop_that_is_woken_all_the_time_pauses_after_an_empty_poll() -> None:
    wake, polls = asyncio.Event(), 0

    async def poll_once() -> int:
        nonlocal polls
        polls += 1
        wake.set()  # another task has ended
        return 3 if polls < 5 else 0

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.25):
            await poll_until_cancelled(poll_once, wake, poll_s=60, min_pause_s=0.1, subject="callbacks")
    assert 5 <= polls <= 7  # five polls without a pause, then ten per second
