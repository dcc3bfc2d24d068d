"""Operators pause, drain and resume routes, and limit the requests per minute of a route."""

import asyncio
import json
import time
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from framehouse.adapters.postgres import batch_queue
from framehouse.adapters.postgres.batch_queue import Claimed
from framehouse.adapters.postgres.route_controls import RouteAction, control_route, list_route_controls, take_request
from framehouse.domain.batch_retry import RetryLimits
from framehouse.domain.model import Model
from framehouse.engines.registry import MAX_REQUESTS_PER_MINUTE, BadRoute, open_registry
from framehouse.entrypoints.worker.route_gate import RouteGate
from framehouse.entrypoints.worker.unserved_routes import UnservedRoutes
from framehouse.entrypoints.worker.worker import Limits, Worker
from framehouse.pipeline.cancel import cancel
from tests.support.eventually import eventually
from tests.support.in_process_deployment import MISBEHAVING, RULES, Deployment, MakeDeployment
from tests.support.named_engine import H100, MODEL, SITE_A, NamedEngine, route
from tests.support.tasks import LEASE, assert_nothing_left, get_task, wait_for_task, waiting_route

FIRST, SECOND = route("gpu"), route("api")


@pytest.fixture(autouse=True)
def _clear_calls() -> None:
    NamedEngine.calls.clear()


async def control(deployment: Deployment, action: RouteAction, name: str = "gpu") -> bool:
    waiting_as = [name, ""] if name == "gpu" else [name]
    return await control_route(deployment.db, MODEL, name, action, waiting_as=waiting_as, actor="test")


async def claim_all(deployment: Deployment) -> list[Claimed]:
    claims = await RouteGate(deployment.db, deployment.registry).claims()
    return await batch_queue.claim_batches(
        deployment.db,
        worker=1,
        limit=10,
        lease=LEASE,
        routes=list(claims.filters),
        filters=claims.filters,
        max_batches=claims.max_batches,
    )


async def test_batches_of_a_paused_route_wait_until_it_is_resumed(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment(FIRST, SECOND)
    assert await control(deployment, "pause")
    ticket = await deployment.submit()
    assert await claim_all(deployment) == []
    deployment.start_worker()
    await asyncio.sleep(0.5)
    assert (NamedEngine.calls, await waiting_route(deployment)) == ([], "")
    resumed = time.monotonic()
    assert await control(deployment, "resume")
    assert (await wait_for_task(deployment, ticket.task_id)).status == "succeed"
    assert time.monotonic() - resumed < 10, (
        "a resumed route is used before the worker's next regular poll of the states"
    )
    assert NamedEngine.calls == ["gpu"]


async def test_a_running_worker_stops_claiming_from_a_route_that_is_paused(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment(FIRST)
    worker = deployment.start_worker()
    first = await deployment.submit()
    await wait_for_task(deployment, first.task_id)
    await control(deployment, "pause")

    async def paused() -> bool:
        return (await worker._gate.claims()).filters[MODEL, ""] == "with_order"

    await eventually(paused)
    await asyncio.sleep(0.3)
    second = await deployment.submit()
    await asyncio.sleep(0.5)
    assert (await get_task(deployment, second.task_id)).status == "submitted"


async def test_batches_of_a_draining_route_use_the_next_route(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment(FIRST, SECOND)
    await control(deployment, "drain")
    ticket = await deployment.submit(n=3)
    deployment.start_worker()
    assert (await wait_for_task(deployment, ticket.task_id)).status == "succeed"
    assert set(NamedEngine.calls) == {"api"}
    await assert_nothing_left(deployment, used=24)


async def test_batches_wait_if_their_only_route_is_draining(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment(FIRST)
    await control(deployment, "drain")
    await deployment.submit()
    assert await claim_all(deployment) == []


@pytest.mark.parametrize("action", ["pause", "drain"])
async def test_an_open_order_is_continued_at_a_paused_or_draining_route(
    make_deployment: MakeDeployment, action: RouteAction
) -> None:
    deployment = await make_deployment(FIRST)
    ticket = await deployment.submit("order gpu")
    (batch,) = await claim_all(deployment)
    await batch_queue.save_open_order(deployment.db, batch.id, batch.claim, "gpu", {"note": {"order": "x"}})
    await batch_queue.release_batch(deployment.db, batch.id, batch.claim, after=timedelta(0))
    await control(deployment, action)
    await deployment.submit()
    deployment.start_worker()
    assert (await wait_for_task(deployment, ticket.task_id)).status == "succeed"
    assert NamedEngine.calls == ["gpu"], "only the batch with the order was generated"


async def test_a_change_of_a_state_is_reported_once_and_audited(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment(FIRST)
    assert [await control(deployment, action) for action in ("pause", "pause", "drain", "resume", "resume")] == [
        True, False, True, True, False
    ]  # fmt: skip
    assert await list_route_controls(deployment.db) == {}
    rows = await deployment.db.rows(
        "select actor, action, subject from audit_log where starts_with(action, 'route.') order by id"
    )
    subject = f"{MODEL}/gpu"
    assert [tuple(row) for row in rows] == [("test", f"route.{a}", subject) for a in ("pause", "drain", "resume")]


async def test_a_pause_does_not_use_up_the_time_for_retries(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment(FIRST)
    ticket = await deployment.submit()
    await control(deployment, "pause")
    await deployment.db.row("update batches set failing_since = now() - interval '1 day', last_error = 'away'")
    await control(deployment, "resume")
    assert await deployment.db.value("select failing_since from batches") is None
    await cancel(deployment.db, deployment.caller.account_id, ticket.task_id, RULES.retention)


async def test_claims_from_a_paused_route_do_not_read_its_backlog(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment(FIRST, SECOND)
    ticket = await deployment.submit()
    await deployment.db.row(
        "insert into batches (task_id, model, shot_indexes, turn) "
        "select :task_id, :model, '{0}', n from generate_series(1, 20000) n",
        task_id=ticket.task_id,
        model=MODEL,
    )
    await deployment.db.row("analyze batches")
    await control(deployment, "pause")
    for _ in range(3):  # the first calls also read the catalog
        assert await claim_all(deployment) == []
    (row,) = await deployment.db.rows(
        "explain (analyze, buffers, format json) select * from claim_batches(array[:model], '{\"\"}', 4, :claim, 1, "
        "'30 s', null, false, '{}', '{with_order}')",
        model=MODEL,
        claim=uuid4(),
    )
    node = json.loads(row[0])[0]["Plan"]
    assert node["Shared Hit Blocks"] + node["Shared Read Blocks"] < 200


async def test_the_request_limit_counts_the_requests_of_all_workers(make_deployment: MakeDeployment) -> None:
    limited = FIRST | {"requests_per_minute": 5}
    deployment = await make_deployment(limited)
    tickets = [await deployment.submit() for _ in range(12)]
    for _ in range(3):
        deployment.start_worker(concurrency=4)

    async def five_calls() -> bool:
        return len(NamedEngine.calls) >= 5

    await eventually(five_calls)
    await asyncio.sleep(1)
    assert len(NamedEngine.calls) == 5
    assert await deployment.db.value("select max(attempt) from batches") == 0, "waiting counts no attempt"
    assert await deployment.db.value("select count(failing_since) from batches") == 0, "waiting is not a failure"
    await deployment.db.row("update route_requests set requested_at = requested_at - interval '61 seconds'")
    await deployment.db.row("update batches set run_at = now() where claim is null")

    async def ten_calls() -> bool:
        return len(NamedEngine.calls) >= 10

    await eventually(ten_calls)
    await asyncio.sleep(0.5)
    assert len(NamedEngine.calls) == 10
    for ticket in tickets:
        await cancel(deployment.db, deployment.caller.account_id, ticket.task_id, RULES.retention)


async def test_a_claim_takes_only_as_many_batches_as_the_route_has_free_requests(
    make_deployment: MakeDeployment,
) -> None:
    deployment = await make_deployment(FIRST | {"requests_per_minute": 3})
    for _ in range(5):
        await deployment.submit()
    assert await take_request(deployment.db, MODEL, "gpu", 3) == 0
    assert len(await claim_all(deployment)) == 2
    for _ in range(2):
        await take_request(deployment.db, MODEL, "gpu", 3)
    assert await claim_all(deployment) == []


async def test_waiting_for_a_request_limit_does_not_fail_a_task(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment(FIRST, SECOND | {"requests_per_minute": 1})
    assert await take_request(deployment.db, MODEL, "api", 1) == 0
    ticket = await deployment.submit("away gpu")
    await deployment.db.row("update batches set failing_since = now() - interval '2 hours', last_error = 'away'")
    deployment.start_worker()

    async def waits() -> bool:
        return await waiting_route(deployment) == "api"

    await eventually(waits)
    assert (await get_task(deployment, ticket.task_id)).status == "processing"
    await deployment.db.row("delete from route_requests")
    await deployment.db.row("update batches set run_at = now()")
    assert (await wait_for_task(deployment, ticket.task_id)).status == "succeed"


@pytest.mark.parametrize("action", ["pause", "drain"])
async def test_batches_of_a_later_route_return_to_the_first_route(
    make_deployment: MakeDeployment, action: RouteAction
) -> None:
    deployment = await make_deployment(FIRST, SECOND)
    ticket = await deployment.submit()
    await deployment.db.row("update batches set route = 'api', turn = null")
    await control(deployment, action, "api")
    assert await waiting_route(deployment) == ""
    deployment.start_worker()
    assert (await wait_for_task(deployment, ticket.task_id)).status == "succeed"
    assert NamedEngine.calls == ["gpu"]


def with_labels(deployment: Deployment, labels: dict[str, str], *routes: dict[str, object], **limits: Any) -> Worker:
    registry = open_registry([(Model(MODEL), list(routes))], labels)
    return Worker(deployment.db, deployment.storage, registry, RULES, Limits(**limits))


async def test_the_workers_of_a_draining_route_can_be_stopped(make_deployment: MakeDeployment) -> None:
    routes = (route("gpu", H100), route("api", SITE_A))
    deployment = await make_deployment(*routes)
    await control(deployment, "drain")
    ticket = await deployment.submit()
    worker = with_labels(deployment, SITE_A, *routes)
    deployment.workers.append((worker, asyncio.create_task(worker.run())))
    assert (await wait_for_task(deployment, ticket.task_id)).status == "succeed"
    assert NamedEngine.calls == ["api"]


@pytest.mark.parametrize("action", ["pause", "drain"])
async def test_tasks_of_a_paused_or_draining_route_do_not_fail_without_workers(
    make_deployment: MakeDeployment, action: RouteAction
) -> None:
    routes = (route("gpu", H100),)
    deployment = await make_deployment(*routes)
    await control(deployment, action)
    ticket = await deployment.submit()
    await deployment.db.row("update batches set run_at = now() - interval '2 hours'")
    registry = open_registry([(Model(MODEL), list(routes))], {})
    limits = RetryLimits(give_up_after_s=0.01)
    unserved = UnservedRoutes(deployment.db, registry, retention=RULES.retention, lease_s=30, limits=limits)
    for _ in range(2):
        await unserved.check_once()
        await asyncio.sleep(0.02)
    assert (await get_task(deployment, ticket.task_id)).status == "submitted"


async def test_at_most_the_limit_is_counted_within_any_minute(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment()

    async def take(limit: int = 3) -> float:
        return await take_request(deployment.db, "m", "r", limit)

    taken = await asyncio.gather(*(take() for _ in range(20)))
    assert taken.count(0) == 3
    assert all(58 < wait <= 60 for wait in taken if wait)
    assert await take_request(deployment.db, "m", "other", 1) == 0, "each route has its own count"
    await deployment.db.row("update route_requests set requested_at = requested_at - interval '59 seconds'")
    assert 0 < await take() <= 1.1
    assert 0 < await take(2) <= 1.1, "the limit was reduced"
    await deployment.db.row("update route_requests set requested_at = requested_at + interval '1 hour'")
    assert 58 < await take() <= 60, "the clock was set back"


async def test_continuing_an_open_order_is_not_limited(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment(FIRST | {"requests_per_minute": 1})
    ticket = await deployment.submit("order gpu")
    (batch,) = await claim_all(deployment)
    assert await take_request(deployment.db, MODEL, "gpu", 1) == 0
    await batch_queue.save_open_order(deployment.db, batch.id, batch.claim, "gpu", {"note": {"order": "x"}})
    await batch_queue.release_batch(deployment.db, batch.id, batch.claim, after=timedelta(0))
    deployment.start_worker()
    assert (await wait_for_task(deployment, ticket.task_id)).status == "succeed"


@pytest.mark.parametrize("limit", [-1, 1.5, "60", True, MAX_REQUESTS_PER_MINUTE + 1])
def test_a_bad_request_limit_is_refused(limit: Any) -> None:
    with pytest.raises(BadRoute, match=r"routes\[0\]: requests_per_minute must be a whole number from 0 to 100,000"):
        open_registry([(Model("m"), [{"engine": MISBEHAVING, "requests_per_minute": limit}])])
