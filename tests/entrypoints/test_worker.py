"""From the queue to the end of a task: errors of engines, and workers that die, stop, are slow or are late."""

import asyncio
import json
from collections import Counter
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from uuid import uuid4

import asyncpg
import pytest

from framehouse.adapters.postgres import batch_queue, orphaned_batches, task_store
from framehouse.adapters.postgres.batch_queue import StoredShot
from framehouse.adapters.postgres.new_task import NewTask
from framehouse.adapters.postgres.pool import DatabaseUnavailable, sql
from framehouse.adapters.storage import Storage, StorageUnavailable
from framehouse.domain.account import Caller
from framehouse.domain.reference import Reference
from framehouse.domain.shot import Shot
from framehouse.entrypoints.sweeper import OrphanedBatches
from framehouse.entrypoints.worker.claim import ClaimSignal, run_claim_loop
from framehouse.pipeline import generate
from tests.support.eventually import eventually
from tests.support.image_files import image_base64
from tests.support.in_process_deployment import MISBEHAVING, MakeDeployment
from tests.support.tasks import LEASE, assert_nothing_left, claim, get_task, wait_for_task


def stored_shot(index: int = 0, key: str = "images/x/0-a.png") -> StoredShot:
    return StoredShot(index, "test", key, "", "image/png", 1024, 1024)


@pytest.mark.also_relayed
@pytest.mark.parametrize("max_batch", [1, 2, 9])
async def test_a_task_is_generated_with_every_batch_size(make_deployment: MakeDeployment, max_batch: int) -> None:
    deployment = await make_deployment({"engine": MISBEHAVING, "max_batch": max_batch})
    ticket = await deployment.submit(n=5, watermark_info={"enabled": True})
    deployment.start_worker()
    task = await wait_for_task(deployment, ticket.task_id)
    assert task.status == "succeed"
    assert [image.index for image in task.images] == [0, 1, 2, 3, 4]
    assert task.units_charged == 40
    for image in task.images:
        assert await deployment.storage.get(image.key)
        assert await deployment.storage.get(image.watermark_key)
    await assert_nothing_left(deployment, used=40)


@pytest.mark.also_relayed
@pytest.mark.parametrize(
    ("prompt", "reason"),
    [
        ("decline", "the engine refuses to generate this"),
        ("break", "the engine returned invalid data"),
        ("unknown", "not sent again"),
        ("wrong index", "was not requested"),
        ("leave out", "did not return 1 of"),
    ],
)
async def test_an_engine_error_fails_the_task_with_its_reason_and_charges_nothing(
    make_deployment: MakeDeployment, prompt: str, reason: str
) -> None:
    deployment = await make_deployment()
    ticket = await deployment.submit(prompt, n=3)
    deployment.start_worker()
    task = await wait_for_task(deployment, ticket.task_id)
    assert task.status == "failed"
    assert reason in task.status_message
    assert task.units_charged == 0
    await assert_nothing_left(deployment, used=0)


async def test_an_unexpected_error_is_retried_and_then_given_up(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment()
    ticket = await deployment.submit("raise")
    deployment.start_worker(attempts=2)
    task = await wait_for_task(deployment, ticket.task_id)
    assert task.status_message == "given up after 2 attempts: internal error (ZeroDivisionError)"
    await assert_nothing_left(deployment, used=0)


async def test_an_unavailable_engine_is_skipped_for_the_next_route(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment({"engine": MISBEHAVING}, {"engine": "previz"})
    ticket = await deployment.submit("unavailable 99")
    deployment.start_worker()
    await wait_for_task(deployment, ticket.task_id)
    assert await deployment.db.value("select engine from shots") == "previz"


@pytest.mark.also_relayed
async def test_an_unavailable_engine_without_a_next_route_is_tried_again_later(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment()
    ticket = await deployment.submit("unavailable 1")
    deployment.start_worker()
    assert (await wait_for_task(deployment, ticket.task_id)).status == "succeed"


async def test_a_batch_that_no_engine_accepts_is_given_up(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment()
    ticket = await deployment.submit("unavailable 99")
    deployment.start_worker(give_up_after_s=0.5)
    task = await wait_for_task(deployment, ticket.task_id)
    assert task.status_message.endswith("the engine is busy")
    await assert_nothing_left(deployment, used=0)


@pytest.mark.also_relayed
async def test_a_blocked_event_loop_and_a_wrong_image_size_cause_no_failure(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment()
    ticket = await deployment.submit("block odd size", n=2, resolution="2k", aspect_ratio="9:16")
    deployment.start_worker(lease_s=2)
    task = await wait_for_task(deployment, ticket.task_id)
    assert {(image.width, image.height) for image in task.images} == {(1440, 2560)}


@pytest.mark.also_relayed
async def test_too_many_references_fail_the_task_instead_of_being_dropped(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment({"engine": MISBEHAVING, "max_references": 1})
    ticket = await deployment.submit(image_list=[{"image": image_base64()}] * 2)
    deployment.start_worker()
    assert "at most 1 reference, but 2 were sent" in (await wait_for_task(deployment, ticket.task_id)).status_message


async def test_a_reference_that_cannot_be_fetched_is_named(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment()
    ticket = await deployment.submit(image_list=[{"image": image_base64()}, {"image": "http://127.0.0.1:1/a.png"}])
    deployment.start_worker()
    task = await wait_for_task(deployment, ticket.task_id)
    assert task.status_message == "image_list[1].image points to a private or special address, which is not allowed"


@pytest.mark.also_relayed
async def test_two_workers_share_the_batches_and_generate_each_image_once(
    make_deployment: MakeDeployment, tmp_path: Path
) -> None:
    engine_log = tmp_path / "engine.log"
    deployment = await make_deployment({"engine": MISBEHAVING, "notes": str(engine_log)})
    tickets = [await deployment.submit(n=9) for _ in range(5)]
    for _ in range(2):
        deployment.start_worker(concurrency=3)
    for ticket in tickets:
        assert (await wait_for_task(deployment, ticket.task_id)).status == "succeed"
    generated = Counter(engine_log.read_text().splitlines())
    assert len(generated) == 90
    assert set(generated.values()) == {1}
    await assert_nothing_left(deployment, used=360)


async def test_concurrent_claims_never_return_the_same_batch(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment()
    for _ in range(10):
        await deployment.submit(n=9)
    claims = await asyncio.gather(*(claim(deployment, worker=n, limit=7) for n in range(20)))
    ids = [batch.id for batches in claims for batch in batches]
    assert len(ids) == len(set(ids)) == 90


async def test_a_late_worker_changes_nothing(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment()
    ticket = await deployment.submit(n=2)
    (early,) = await claim(deployment, worker=1)
    assert (
        await orphaned_batches.requeue_batches(
            deployment.db, await orphaned_batches.unrenewed_batches(deployment.db, lease=3 * LEASE, unrenewed_for=LEASE)
        )
        == 1
    )
    late = next(batch for batch in await claim(deployment, worker=2, limit=2) if batch.id == early.id)
    assert late.claim != early.claim
    for _ in range(2):
        assert (
            await batch_queue.settle_shot(
                deployment.db, early.task_id, early.id, early.claim, stored_shot(key="early"), LEASE
            )
            == "lost"
        )
    assert not await batch_queue.fail_batch(deployment.db, early.id, early.claim, "late", LEASE)
    await batch_queue.release_batch(deployment.db, early.id, early.claim, after=timedelta(0))
    assert await batch_queue.renew_leases(deployment.db, {early.id: (early.claim, 0.5)}, LEASE) == set()
    assert (
        await batch_queue.settle_shot(deployment.db, late.task_id, late.id, late.claim, stored_shot(key="late"), LEASE)
        == "kept"
    )
    assert [image.key for image in (await get_task(deployment, ticket.task_id)).images] == ["late"]


async def test_settling_a_shot_twice_counts_once(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment({"engine": MISBEHAVING, "max_batch": 2})
    ticket = await deployment.submit(n=2)
    (batch,) = await claim(deployment)
    for key in ("first", "second"):
        await batch_queue.settle_shot(deployment.db, batch.task_id, batch.id, batch.claim, stored_shot(0, key), LEASE)
    task = await get_task(deployment, ticket.task_id)
    assert (task.status, [image.key for image in task.images]) == ("processing", ["first"])
    assert (
        await batch_queue.settle_shot(deployment.db, batch.task_id, batch.id, batch.claim, stored_shot(1), LEASE)
        == "succeeded"
    )
    await assert_nothing_left(deployment, used=16)


async def test_settling_again_after_a_lost_response_has_the_same_result(make_deployment: MakeDeployment) -> None:
    """The statement ran and its response was lost, so the statement is sent again.

    The result is the same, and the file of the image is kept.
    """
    deployment = await make_deployment()
    ticket = await deployment.submit(n=2)
    for index, batch in enumerate(await claim(deployment, limit=2)):
        answers = [
            await batch_queue.settle_shot(
                deployment.db, batch.task_id, batch.id, batch.claim, stored_shot(index, f"k{index}"), LEASE
            )
            for _ in range(2)
        ]
        assert answers == ["kept" if index == 0 else "succeeded"] * 2
    assert [image.key for image in (await get_task(deployment, ticket.task_id)).images] == ["k0", "k1"]
    await assert_nothing_left(deployment, used=16)


class FailingStorage:
    """A storage whose first `failures` writes fail."""

    def __init__(self, storage: Storage, failures: int) -> None:
        self._storage = storage
        self.failures = failures

    async def put(self, key: str, content: bytes) -> None:
        if self.failures:
            self.failures -= 1
            raise StorageUnavailable("No space left on /secret/path")
        await self._storage.put(key, content)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)


@pytest.mark.also_relayed
async def test_a_finished_image_waits_for_the_storage_and_is_not_generated_again(
    make_deployment: MakeDeployment, tmp_path: Path
) -> None:
    engine_log = tmp_path / "engine.log"
    deployment = await make_deployment({"engine": MISBEHAVING, "notes": str(engine_log)})
    deployment.storage = cast(Storage, FailingStorage(deployment.storage, 2))
    ticket = await deployment.submit()
    deployment.start_worker()
    assert (await wait_for_task(deployment, ticket.task_id)).status == "succeed"
    assert len(engine_log.read_text().splitlines()) == 2


def fail_first_calls(monkeypatch: pytest.MonkeyPatch, name: str, errors: list[Exception]) -> None:
    """Make a function of `batch_queue` raise each of the errors once, and then work as before."""
    original = getattr(batch_queue, name)

    async def failing(*args: Any, **options: Any) -> Any:
        if errors:
            raise errors.pop()
        return await original(*args, **options)

    monkeypatch.setattr(batch_queue, name, failing)


@pytest.mark.parametrize(
    ("prompt", "failing_function", "status"),
    [("wrong index", "fail_batch", "failed"), ("unavailable 1", "release_batch", "succeed")],
)
async def test_the_outcome_of_a_batch_is_saved_after_database_errors_without_another_engine_call(
    make_deployment: MakeDeployment,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    prompt: str,
    failing_function: str,
    status: str,
) -> None:
    """The database fails, for example because its disk is full.

    The outcome must not be lost, because the engine call may have cost money.
    """
    engine_log = tmp_path / "engine.log"
    deployment = await make_deployment({"engine": MISBEHAVING, "notes": str(engine_log)})
    ticket = await deployment.submit(prompt)
    errors: list[Exception] = [DatabaseUnavailable("No space left on device")] * 2
    fail_first_calls(monkeypatch, failing_function, errors)
    deployment.start_worker()
    task = await wait_for_task(deployment, ticket.task_id)
    assert (task.status, errors) == (status, [])
    assert len(engine_log.read_text().splitlines()) == (2 if status == "failed" else 3)


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.LockNotAvailableError("canceling statement due to lock timeout"),
        asyncpg.SerializationError("could not serialize access"),
        asyncpg.InvalidPasswordError("the password was changed"),
    ],
)
async def test_an_image_is_generated_once_whatever_the_database_error(
    make_deployment: MakeDeployment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: asyncpg.PostgresError
) -> None:
    engine_log = tmp_path / "engine.log"
    deployment = await make_deployment({"engine": MISBEHAVING, "notes": str(engine_log)})
    ticket = await deployment.submit()
    fail_first_calls(monkeypatch, "settle_shot", [error])
    deployment.start_worker()
    assert (await wait_for_task(deployment, ticket.task_id)).status == "succeed"
    assert [line.split()[0] for line in engine_log.read_text().splitlines()] == ["start", "done"]


async def test_an_image_that_cannot_be_finished_is_not_generated_again(
    make_deployment: MakeDeployment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    engine_log = tmp_path / "engine.log"
    deployment = await make_deployment({"engine": MISBEHAVING, "notes": str(engine_log)})
    attempts: list[int] = []

    def fail(*_args: object, **_options: object) -> None:
        attempts.append(0)
        raise MemoryError("/a/secret/path")

    monkeypatch.setattr(generate, "finish", fail)
    monkeypatch.setattr(generate, "FINISH_PAUSES_S", (0.1, 0.1))
    ticket = await deployment.submit()
    deployment.start_worker()
    task = await wait_for_task(deployment, ticket.task_id)
    assert (task.status, task.status_message) == ("failed", "internal error: the image could not be finished")
    assert len(attempts) == 3
    assert engine_log.read_text().count("start") == 1
    await assert_nothing_left(deployment, used=0)


async def test_a_stopping_worker_still_saves_an_outcome_that_waits_for_the_database(
    make_deployment: MakeDeployment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The database recovers before the worker must stop; the next regular attempt would come too late."""
    engine_log = tmp_path / "engine.log"
    deployment = await make_deployment({"engine": MISBEHAVING, "notes": str(engine_log)})
    ticket = await deployment.submit("unknown")
    unavailable, fail_batch = [True], batch_queue.fail_batch
    waiting, failures = asyncio.Event(), 0

    async def fail_while_unavailable(*args: Any, **named: Any) -> bool:
        nonlocal failures
        if unavailable:
            failures += 1
            if failures == 3:  # the next regular attempt follows after two seconds
                waiting.set()
            raise DatabaseUnavailable("no connection")
        return await fail_batch(*args, **named)

    monkeypatch.setattr(batch_queue, "fail_batch", fail_while_unavailable)
    monkeypatch.setattr("framehouse.pipeline.save_shot._LAST_ATTEMPT_S", 60)
    worker = deployment.start_worker(stop_s=0.1)
    await waiting.wait()
    unavailable.clear()
    worker.stop()
    await deployment.workers[0][1]
    assert (await get_task(deployment, ticket.task_id)).status == "failed"
    assert engine_log.read_text().count("start") == 1


async def test_a_batch_that_is_claimed_again_before_its_release_is_confirmed_keeps_its_lease(
    make_deployment: MakeDeployment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The response to a release arrives only after the same worker has claimed the batch again.

    The worker must keep the new claim and renew its lease.
    """
    engine_log = tmp_path / "engine.log"
    deployment = await make_deployment({"engine": MISBEHAVING, "notes": str(engine_log)})
    ticket = await deployment.submit("unavailable 1, slow 7")
    release = batch_queue.release_batch

    async def claimed_again() -> bool:
        return bool(await deployment.db.value("select count(*) from batches where claim is not null"))

    async def release_and_wait(*args: Any, **options: Any) -> None:
        await release(*args, **options | {"after": timedelta(0)})
        worker._signal.event.set()
        await eventually(claimed_again)

    monkeypatch.setattr(batch_queue, "release_batch", release_and_wait)
    worker = deployment.start_worker(lease_s=2)
    checking = asyncio.create_task(OrphanedBatches(deployment.db, lease_s=2).run())
    try:
        assert (await wait_for_task(deployment, ticket.task_id)).status == "succeed"
    finally:
        checking.cancel()
    assert [line.split()[0] for line in engine_log.read_text().splitlines()] == ["start", "start", "done"]


@pytest.mark.parametrize("routes", [[2, 9], [9, 1]])
async def test_every_route_gets_batches_of_its_own_size(make_deployment: MakeDeployment, routes: list[int]) -> None:
    """The first engine accepts no references. The second engine gets no more shots per call than its `max_batch`."""
    first = {"engine": MISBEHAVING, "max_batch": routes[0], "max_references": 0}
    deployment = await make_deployment(first, {"engine": MISBEHAVING, "max_batch": routes[1]})
    ticket = await deployment.submit(n=9, image_list=[{"image": image_base64()}])
    deployment.start_worker()
    assert (await wait_for_task(deployment, ticket.task_id)).status == "succeed"


async def test_progress_counts_every_shot_once(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment({"engine": MISBEHAVING, "max_batch": 4})
    ticket = await deployment.submit(n=4)
    (batch,) = await claim(deployment)
    await batch_queue.settle_shot(deployment.db, batch.task_id, batch.id, batch.claim, stored_shot(0), LEASE)
    await batch_queue.renew_leases(deployment.db, {batch.id: (batch.claim, 0.25)}, LEASE)
    assert (await get_task(deployment, ticket.task_id)).progress == pytest.approx(0.25)
    await batch_queue.renew_leases(deployment.db, {batch.id: (batch.claim, 0.5)}, LEASE)
    assert (await get_task(deployment, ticket.task_id)).progress == pytest.approx(0.5)


async def test_concurrent_batches_use_the_same_fetched_reference(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment()
    ticket = await deployment.submit(n=2, image_list=[{"image": "https://example.com/random.png"}])
    first = await batch_queue.save_reference(deployment.db, ticket.task_id, 0, Reference("u", "one", 900, 600))
    second = await batch_queue.save_reference(deployment.db, ticket.task_id, 0, Reference("u", "two", 600, 900))
    assert first.key == second.key == "one"
    assert [await batch_queue.save_ratio(deployment.db, ticket.task_id, ratio) for ratio in ("3:2", "2:3")] == [
        "3:2",
        "3:2",
    ]


async def test_invalid_characters_in_an_error_message_are_replaced(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment()
    ticket = await deployment.submit()
    (batch,) = await claim(deployment)
    assert await batch_queue.fail_batch(deployment.db, batch.id, batch.claim, "a\0b\ud800c" + "x" * 5000, LEASE)
    assert (await get_task(deployment, ticket.task_id)).status_message.startswith("a b c")


async def test_the_claim_statement_uses_its_index_on_a_full_queue(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment()
    ticket = await deployment.submit()
    await deployment.db.row(
        "insert into batches (task_id, model, shot_indexes) "
        "select $1, 'kling-v3-omni', '{0}' from generate_series(1, 20000)",
        ticket.task_id,
    )
    await deployment.db.row("analyze batches")
    for _ in range(6):  # then PostgreSQL no longer plans the statements of the function
        await batch_queue.claim_batches(deployment.db, worker=1, limit=2, lease=LEASE, routes=[("none", "")])
    plan = await deployment.db.rows(
        f"explain (analyze, buffers, format json) {sql('claim_batches')}",
        worker=1, limit=2, lease=LEASE, models=["kling-v3-omni"], routes=[""], claim=uuid4(), task_id=None,
        ready=True, ready_accounts=[], filters=[], max_batches=[],
    )  # fmt: skip
    top = json.loads(plan[0][0])[0]["Plan"]
    assert top["Shared Hit Blocks"] + top["Shared Read Blocks"] < 1000, "the statement does not read the whole queue"


@pytest.mark.parametrize("end", ["succeed", "fail", "cancel"])
async def test_an_ended_task_does_not_change(make_deployment: MakeDeployment, end: str) -> None:
    deployment = await make_deployment()
    ticket = await deployment.submit()
    (batch,) = await claim(deployment)
    if end == "succeed":
        await batch_queue.settle_shot(deployment.db, batch.task_id, batch.id, batch.claim, stored_shot(), LEASE)
    elif end == "fail":
        await batch_queue.fail_batch(deployment.db, batch.id, batch.claim, "broke", LEASE)
    else:
        await task_store.cancel_task(deployment.db, deployment.caller.account_id, ticket.task_id, LEASE)
    before, account = await get_task(deployment, ticket.task_id), await deployment.account()
    assert not await task_store.cancel_task(deployment.db, deployment.caller.account_id, ticket.task_id, LEASE)
    assert not await batch_queue.fail_batch(deployment.db, batch.id, batch.claim, "again", LEASE)
    assert (
        await batch_queue.settle_shot(
            deployment.db, batch.task_id, batch.id, batch.claim, stored_shot(key="again"), LEASE
        )
        == "lost"
    )
    assert await get_task(deployment, ticket.task_id) == before
    assert await deployment.account() == account


async def test_a_task_that_is_canceled_and_finished_at_the_same_time_is_counted_once(
    make_deployment: MakeDeployment,
) -> None:
    deployment = await make_deployment(concurrency=1000)
    charged = 0
    for _ in range(20):
        ticket = await deployment.submit(n=2)
        first, second = await claim(deployment, limit=2)
        await asyncio.gather(
            batch_queue.settle_shot(deployment.db, first.task_id, first.id, first.claim, stored_shot(0), LEASE),
            batch_queue.settle_shot(deployment.db, second.task_id, second.id, second.claim, stored_shot(1), LEASE),
            task_store.cancel_task(deployment.db, deployment.caller.account_id, ticket.task_id, LEASE),
        )
        task = await get_task(deployment, ticket.task_id)
        assert task.ended
        assert task.units_charged == (16 if task.status == "succeed" else 0)
        charged += task.units_charged
    await assert_nothing_left(deployment, used=charged)


@pytest.mark.also_relayed
async def test_a_stopped_worker_releases_unfinished_batches(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment()
    await deployment.submit("hang")
    worker = deployment.worker(stop_s=0.2)
    running = asyncio.create_task(worker.run())

    async def working() -> bool:
        return bool(await deployment.db.value("select count(*) from batches where claim is not null"))

    await eventually(working)
    worker.stop()
    async with asyncio.timeout(20):
        await running
    (batch,) = await claim(deployment)
    assert batch.attempt == 1, "a release by a stopped worker does not count as an attempt"


@pytest.mark.also_relayed
async def test_workers_survive_cut_connections(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment()
    ticket = await deployment.submit("slow 1", n=4)
    deployment.start_worker(concurrency=2)
    others = "datname = current_database() and pid <> pg_backend_pid()"
    cut = f"select pg_terminate_backend(pid) from pg_stat_activity where {others}"
    for _ in range(4):
        await asyncio.sleep(0.4)
        await deployment.db.rows(cut)
    assert (await wait_for_task(deployment, ticket.task_id)).status == "succeed"
    second = await deployment.submit()
    assert (await wait_for_task(deployment, second.task_id)).status == "succeed"
    await assert_nothing_left(deployment, used=40)


async def test_accepting_the_same_task_twice_accepts_it_once(make_deployment: MakeDeployment) -> None:
    """The statement is sent again if the response to an accept is lost."""
    deployment = await make_deployment()
    task = NewTask(
        uuid4(), deployment.caller.account_id, "kling-v3-omni", "x", "single", "1k", "1:1", watermark=False, units=8,
        shots=(Shot(0, "x", "", 1),), batches=((0,),), external_task_id="mine",
    )  # fmt: skip
    first = await task_store.accept_tasks(deployment.db, [task])
    again = await task_store.accept_tasks(deployment.db, [task])
    assert [a.outcome for a in first + again] == ["accepted", "accepted"]
    assert first == again
    assert (await deployment.account())["images_in_flight"] == 1


async def test_an_invalid_task_does_not_refuse_the_other_tasks_of_its_statement(
    make_deployment: MakeDeployment,
) -> None:
    deployment = await make_deployment(concurrency=3)
    unknown = Caller(10**9, "unknown")
    answers = await asyncio.gather(
        deployment.submit(external_task_id="a"), deployment.submit(external_task_id="a"),
        deployment.submit(n=2), deployment.submit(n=3), deployment.submit(caller=unknown), return_exceptions=True,
    )  # fmt: skip
    assert [isinstance(answer, Exception) for answer in answers] == [False, True, False, True, True]


@pytest.mark.parametrize(("free_slots", "expected_pauses"), [(1, 4), (0, 0)])
async def test_a_worker_that_is_woken_without_work_pauses_unless_it_has_no_free_slots(
    monkeypatch: pytest.MonkeyPatch, free_slots: int, expected_pauses: int
) -> None:
    signal = ClaimSignal()
    claims = pauses = 0

    def uniform(low: float, high: float) -> float:
        nonlocal pauses
        pauses += (low, high) == (0.5, 1.5)  # the factor of MISS_PAUSE_S
        return low

    async def claim() -> int:
        nonlocal claims
        claims += 1
        signal.notify()  # another task, which other workers claim
        if claims == 10:
            signal.stop()
        await asyncio.sleep(0.001)
        return 0

    monkeypatch.setattr("framehouse.entrypoints.worker.claim.random", SimpleNamespace(uniform=uniform))
    await run_claim_loop(claim, lambda: free_slots, signal)
    assert (claims, pauses) == (10, expected_pauses)
