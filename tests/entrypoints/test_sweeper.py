"""The clock of the house: lost work, clocks that jump, and what is removed in the end."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast

import pytest

from framehouse.adapters.postgres import batch_queue, callback_queue, orphaned_batches, task_store
from framehouse.adapters.postgres import element_store as library
from framehouse.adapters.postgres.advisory_locks import WORKER_LOCKS
from framehouse.adapters.postgres.batch_queue import Claimed
from framehouse.adapters.storage import Storage, StorageUnavailable
from framehouse.entrypoints.poll_loop import poll_until_cancelled
from framehouse.entrypoints.sweeper import OrphanedBatches, sweep
from framehouse.pipeline.expire import expire_images
from tests.support.eventually import eventually
from tests.support.image_files import image_base64
from tests.support.in_process_deployment import Deployment, MakeDeployment
from tests.support.receivers import receiving

LEASE = timedelta(seconds=30)
HISTORY = timedelta(days=365)


async def claim(deployment: Deployment, *, worker: int) -> list[Claimed]:
    return await batch_queue.claim_batches(
        deployment.db, worker=worker, limit=1, lease=LEASE, routes=[("kling-v3-omni", "")]
    )


@asynccontextmanager
async def living(deployment: Deployment, worker: int) -> AsyncIterator[None]:
    async with deployment.db._connection() as connection:
        await connection.execute("select pg_advisory_lock($1, $2)", WORKER_LOCKS, worker)
        yield


@dataclass
class Clock:
    """The sweeper's own clock, which goes on by a second with each look."""

    now_s: float = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


async def holding(make_deployment: MakeDeployment, clock: Clock) -> tuple[Deployment, Claimed, OrphanedBatches]:
    """A house in which worker 4242 holds a batch, and who looks after it."""
    deployment = await make_deployment()
    await deployment.submit()
    (batch,) = await claim(deployment, worker=4242)
    return deployment, batch, OrphanedBatches(deployment.db, lease_s=30, clock=clock)


async def looks(lost: OrphanedBatches, clock: Clock, times: int, *, each_s: float = 1.0) -> int:
    freed = 0
    for _ in range(times):
        clock.now_s += each_s
        freed += await lost.check_once()
    return freed


async def database_clock(deployment: Deployment, seconds: float) -> None:
    """What the database's clock is to every row when it has jumped by this much: all leases are earlier by it."""
    await deployment.db.row("update batches set lease_until = lease_until - $1::interval", timedelta(seconds=seconds))


async def test_work_of_a_dead_worker_is_free_soon(make_deployment: MakeDeployment, clock: Clock) -> None:
    deployment, dead, lost = await holding(make_deployment, clock)
    assert await looks(lost, clock, 9) == 0, "it has just renewed"
    await database_clock(deployment, 3)
    assert await looks(lost, clock, 3) == 0, "the grace is not over"
    assert await claim(deployment, worker=1) == []
    assert await looks(lost, clock, 1) == 1
    (again,) = await claim(deployment, worker=1)
    assert (again.id, again.attempt, again.last_error) == (dead.id, 2, "the worker died or hung")


async def test_work_of_a_living_worker_is_free_only_after_its_lease(
    make_deployment: MakeDeployment, clock: Clock
) -> None:
    deployment, _, lost = await holding(make_deployment, clock)
    async with living(deployment, 4242):
        await database_clock(deployment, 3)
        assert await looks(lost, clock, 30) == 0
        assert await looks(lost, clock, 1) == 1


@pytest.mark.parametrize("seconds", [3600, -3600])
async def test_a_clock_that_jumps_takes_no_work_away(
    make_deployment: MakeDeployment, clock: Clock, seconds: int
) -> None:
    deployment, batch, lost = await holding(make_deployment, clock)
    async with living(deployment, 4242):
        await database_clock(deployment, seconds)
        assert await looks(lost, clock, 2) == 0
        assert await claim(deployment, worker=1) == []
        assert await batch_queue.renew_leases(deployment.db, {batch.id: (batch.claim, 0.5)}, LEASE) == {batch.id}
        assert await looks(lost, clock, 60) == 0
    await database_clock(deployment, seconds)
    assert await looks(lost, clock, 4) == 1, "a worker that dies then is found all the same"


async def test_a_pause_of_the_whole_machine_takes_no_work_away(make_deployment: MakeDeployment, clock: Clock) -> None:
    deployment, _, lost = await holding(make_deployment, clock)
    async with living(deployment, 4242):
        await database_clock(deployment, 3)
        assert await looks(lost, clock, 1) == 0
        await database_clock(deployment, 600)
        assert await looks(lost, clock, 2, each_s=600) == 0, "two looks alone prove little, however far apart"


async def test_one_that_is_renewed_at_the_last_moment_is_left_alone(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment()
    await deployment.submit()
    (batch,) = await claim(deployment, worker=4242)
    await database_clock(deployment, 31)
    seen = await orphaned_batches.unrenewed_batches(deployment.db, lease=LEASE, unrenewed_for=timedelta(seconds=2))
    assert [batch.alive for batch in seen] == [False]
    await batch_queue.renew_leases(deployment.db, {batch.id: (batch.claim, 0)}, LEASE)
    assert await orphaned_batches.requeue_batches(deployment.db, seen) == 0


async def all_put_off(deployment: Deployment, url: str, by: str) -> None:
    """A batch, an element and a callback that a clock of before has made due much later."""
    await deployment.submit(callback_url=url)
    await deployment.submit(callback_url=url)
    await claim(deployment, worker=1)
    for table in ("batches", "elements"):
        await deployment.db.row(f"update {table} set run_at = run_at + $1::text::interval", by)
    await deployment.db.row(
        "update callback_messages set run_at = run_at + $1::text::interval where run_at < 'infinity'", by
    )


async def put_off(deployment: Deployment) -> list[Any]:
    return [
        await deployment.db.value(f"select count(*) from {table} where run_at > now() and run_at < 'infinity'")
        for table in ("batches", "elements", "callback_messages")
    ]


async def test_what_a_clock_that_went_back_has_put_off_is_due(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment()
    async with receiving() as receiver:
        await all_put_off(deployment, receiver.url, "1 hour")
        assert await put_off(deployment) == [2, 0, 1]
        await sweep(deployment.db, deployment.storage, history=HISTORY)
    assert await put_off(deployment) == [1, 0, 0], "one is held: its run_at means nothing"
    assert await deployment.db.value("select count(*) from batches where claim is null and run_at <= now()") == 1


async def test_ordinary_pauses_are_kept(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment()
    async with receiving() as receiver:
        await all_put_off(deployment, receiver.url, "0 seconds")
        await deployment.db.row("update batches set run_at = now() + interval '70 seconds', failing_since = now()")
        waits = "update callback_messages set attempt = $1, last_code = $2, run_at = now() + $3::text::interval"
        for attempt, code, wait in ((1, 500, "1.4 seconds"), (8, None, "190 seconds"), (9, 503, "20 hours")):
            await deployment.db.row(waits, attempt, code, wait)
            before = await put_off(deployment)
            await sweep(deployment.db, deployment.storage, history=HISTORY)
            assert await put_off(deployment) == before


async def test_old_rows_go_and_their_external_ids_stay_taken(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment()
    kept = [await deployment.submit(external_task_id=name) for name in ("old", "young")]
    unnamed = await deployment.submit(image_list=[{"image": image_base64()}])
    worker = deployment.start_worker()

    async def ended() -> bool:
        return not await deployment.db.value("select count(*) from tasks where ended_at is null")

    await eventually(ended)
    worker.stop()
    gone = [kept[0].task_id, unnamed.task_id]
    await deployment.db.row("update tasks set expires_at = now() - interval '1 day'")
    await sweep(deployment.db, deployment.storage, history=HISTORY)
    assert await deployment.db.value("select count(*) from tasks where expired_at is not null") == 3
    await deployment.db.row(
        "update tasks set expired_at = now() - $1::interval where id = any($2::uuid[])", HISTORY, gone
    )
    used = (await deployment.account())["units_used"]
    await sweep(deployment.db, deployment.storage, history=HISTORY)
    for table in ("tasks", "shots", "task_references", "callback_messages"):
        column = "id" if table == "tasks" else "task_id"
        assert not await deployment.db.value(f"select count(*) from {table} where {column} = any($1::uuid[])", gone)
    assert await deployment.db.value("select count(*) from tasks") == 1
    assert (await deployment.account())["units_used"] == used
    for taken in ("old", "young"):
        with pytest.raises(Exception, match=f"External_task_id {taken} already exists"):
            await deployment.submit(external_task_id=taken)


async def test_old_elements_go_too(make_deployment: MakeDeployment) -> None:
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
    assert await library.delete_old_elements(deployment.db, HISTORY, 10) == 0


async def test_removing_goes_in_small_steps(make_deployment: MakeDeployment) -> None:
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


class Removing:
    """A storage that takes its time to remove a folder, and has one that it does not remove."""

    def __init__(self, kept: str) -> None:
        self._kept = kept
        self.at_once = self.most = 0

    async def delete_folder(self, prefix: str) -> None:
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        await asyncio.sleep(0.01)
        self.at_once -= 1
        if self._kept in prefix:
            raise StorageUnavailable("not that one")


async def test_pictures_are_removed_several_at_a_time_and_one_holds_up_no_other(
    make_deployment: MakeDeployment,
) -> None:
    deployment = await make_deployment()
    tickets = [await deployment.submit() for _ in range(20)]
    await deployment.db.row("update tasks set expires_at = now() - interval '1 second'")
    storage = Removing(str(tickets[3].task_id))
    with pytest.raises(StorageUnavailable):
        await expire_images(deployment.db, cast(Storage, storage))
    assert 8 < storage.most < 20
    left = "select array_agg(id) from tasks where expired_at is null"
    assert await deployment.db.value(left) == [tickets[3].task_id]
    assert await expire_images(deployment.db, cast(Storage, Removing("nothing"))) == 1
    assert await deployment.db.value(left) is None


async def test_who_is_woken_all_the_time_rests_after_a_look_that_found_nothing() -> None:
    wake, looks = asyncio.Event(), 0

    async def turn() -> int:
        nonlocal looks
        looks += 1
        wake.set()  # somebody else's task has ended
        return 3 if looks < 5 else 0

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.25):
            await poll_until_cancelled(turn, wake, poll_s=60, min_pause_s=0.1, subject="callbacks")
    assert 5 <= looks <= 7  # five at once, then ten a second
