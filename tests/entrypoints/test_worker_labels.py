"""Workers with labels: each generates with the routes that it serves, and hands batches over to other workers."""

import asyncio
import json
import re
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from framehouse.adapters.postgres import batch_queue, orphaned_batches
from framehouse.adapters.postgres.pool import sql
from framehouse.adapters.postgres.route_health import RouteCheck, list_route_health, report_route_health
from framehouse.domain.batch_retry import RetryLimits
from framehouse.domain.model import Model
from framehouse.engines.registry import BadRoute, open_registry
from framehouse.entrypoints.worker.check_routes import check_routes_until_cancelled
from framehouse.entrypoints.worker.unserved_routes import UnservedRoutes
from framehouse.entrypoints.worker.worker import Limits, Worker
from framehouse.pipeline.cancel import cancel
from tests.support.api_server import serving
from tests.support.eventually import eventually
from tests.support.image_files import image_base64
from tests.support.in_process_deployment import MISBEHAVING, RULES, Deployment, MakeDeployment, live_worker
from tests.support.named_engine import API, GPU, H100, MODEL, SITE_A, NamedEngine, route
from tests.support.tasks import LEASE, assert_nothing_left, get_task, wait_for_task, waiting_route


@pytest.fixture(autouse=True)
def _clear_calls() -> None:
    NamedEngine.calls.clear()


def build_worker(deployment: Deployment, labels: dict[str, str], *routes: dict[str, object], **limits: Any) -> Worker:
    registry = open_registry([(Model(MODEL), list(routes))], labels)
    return Worker(deployment.db, deployment.storage, registry, RULES, Limits(**limits))


def start_worker(deployment: Deployment, labels: dict[str, str], *routes: dict[str, object], **limits: Any) -> Worker:
    started = build_worker(deployment, labels, *routes, **limits)
    deployment.workers.append((started, asyncio.create_task(started.run())))
    return started


def build_unserved_routes(
    deployment: Deployment, labels: dict[str, str], *routes: dict[str, object], **limits: Any
) -> UnservedRoutes:
    registry = open_registry([(Model(MODEL), list(routes))], labels)
    return UnservedRoutes(deployment.db, registry, retention=RULES.retention, lease_s=30, limits=RetryLimits(**limits))


async def test_each_worker_uses_only_the_routes_that_it_serves(make_deployment: MakeDeployment) -> None:
    routes = (GPU, API)
    deployment = await make_deployment(*routes)
    ticket = await deployment.submit()
    start_worker(deployment, SITE_A, *routes)
    await asyncio.sleep(0.5)
    assert await waiting_route(deployment) == "", "the second route must not generate before the first route was tried"
    assert NamedEngine.calls == []
    start_worker(deployment, H100, *routes)
    assert (await wait_for_task(deployment, ticket.task_id)).status == "succeed"
    assert NamedEngine.calls == ["gpu"]
    await assert_nothing_left(deployment, used=8)


async def test_the_next_route_continues_if_the_first_is_unavailable(make_deployment: MakeDeployment) -> None:
    routes = (GPU, API)
    deployment = await make_deployment(*routes)
    ticket = await deployment.submit("away gpu", n=3)
    start_worker(deployment, SITE_A, *routes)
    start_worker(deployment, H100 | {"more": "labels"}, *routes)
    assert (await wait_for_task(deployment, ticket.task_id)).status == "succeed"
    assert NamedEngine.calls.count("api") == 3
    assert await deployment.db.value("select array_agg(distinct engine) from shots") == ["api"]
    await assert_nothing_left(deployment, used=24)


async def test_if_all_routes_are_unavailable_the_first_route_is_tried_again(make_deployment: MakeDeployment) -> None:
    routes = (GPU, API)
    deployment = await make_deployment(*routes)
    ticket = await deployment.submit("away gpu, away api")
    start_worker(deployment, SITE_A, *routes)
    start_worker(deployment, H100, *routes)

    async def both_tried_twice() -> bool:
        return NamedEngine.calls[:4] == ["gpu", "api", "gpu", "api"]

    await eventually(both_tried_twice)
    await cancel(deployment.db, deployment.caller.account_id, ticket.task_id, RULES.retention)


async def test_a_batch_that_a_route_cannot_generate_is_handed_over_immediately_without_failure(
    make_deployment: MakeDeployment,
) -> None:
    routes = (route("gpu", H100, max_references=0), API)
    deployment = await make_deployment(*routes)
    ticket = await deployment.submit("a fox", image_list=[{"image": image_base64()}])
    start_worker(deployment, H100, *routes)

    async def handed_over() -> bool:
        return await waiting_route(deployment) == "api"

    await eventually(handed_over)
    assert await deployment.db.value("select failing_since from batches") is None
    start_worker(deployment, SITE_A, *routes)
    assert (await wait_for_task(deployment, ticket.task_id)).status == "succeed"
    assert NamedEngine.calls == ["api"]


async def test_a_task_does_not_fail_while_an_earlier_route_may_still_generate_it(
    make_deployment: MakeDeployment,
) -> None:
    routes = (GPU, API)
    deployment = await make_deployment(*routes)
    ticket = await deployment.submit("away gpu, lose api")
    start_worker(deployment, SITE_A, *routes)
    start_worker(deployment, H100, *routes)

    async def tried_again() -> bool:
        return NamedEngine.calls.count("gpu") > 1

    await eventually(tried_again)
    assert NamedEngine.calls.count("api") == 1
    await cancel(deployment.db, deployment.caller.account_id, ticket.task_id, RULES.retention)


async def test_a_batch_with_an_open_order_goes_to_a_worker_that_serves_its_route(
    make_deployment: MakeDeployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    # the first worker must stop before the batch is due again
    monkeypatch.setattr("framehouse.domain.batch_retry._SHORTEST_PAUSE_S", 60.0)
    routes = (GPU, API)
    deployment = await make_deployment(*routes)
    ticket = await deployment.submit("away gpu, order api")
    worker_of_both = start_worker(deployment, H100 | SITE_A, *routes)

    async def waits_for_api() -> bool:
        return await waiting_route(deployment) == "api"

    await eventually(waits_for_api)
    worker_of_both.stop()
    await deployment.workers[0][1]
    start_worker(deployment, H100, *routes)
    await deployment.db.row("update batches set run_at = now()")
    await asyncio.sleep(0.5)
    assert NamedEngine.calls == ["gpu", "api"]
    start_worker(deployment, SITE_A, *routes)
    assert (await wait_for_task(deployment, ticket.task_id)).status == "succeed"
    assert NamedEngine.calls == ["gpu", "api", "api"]
    await assert_nothing_left(deployment, used=8)


async def test_a_batch_whose_open_order_has_no_recorded_route_is_handed_over(make_deployment: MakeDeployment) -> None:
    routes = (GPU, API)
    deployment = await make_deployment(*routes)
    ticket = await deployment.submit("order api")
    await deployment.db.row("""update batches set notes = '{"api": {"note": {"order": "x"}}}'""")
    start_worker(deployment, H100, *routes)
    start_worker(deployment, SITE_A, *routes)
    assert (await wait_for_task(deployment, ticket.task_id)).status == "succeed"
    assert NamedEngine.calls == ["api"]


async def test_an_open_order_and_its_route_are_saved_together(make_deployment: MakeDeployment) -> None:
    """If the worker dies after the save, the batch waits for the route of its order and continues there."""
    routes = (GPU, API)
    deployment = await make_deployment(*routes)
    await deployment.submit()
    (batch,) = await batch_queue.claim_batches(deployment.db, worker=1, limit=1, lease=LEASE, routes=[(MODEL, "")])
    await batch_queue.save_open_order(deployment.db, batch.id, batch.claim, "api", {"note": {"order": "x"}})
    for unrenewed in await orphaned_batches.unrenewed_batches(deployment.db, lease=LEASE, unrenewed_for=-LEASE):
        await orphaned_batches.requeue_batches(deployment.db, [unrenewed])
    assert await waiting_route(deployment) == "api"
    (batch,) = await batch_queue.claim_batches(deployment.db, worker=1, limit=1, lease=LEASE, routes=[(MODEL, "api")])
    await batch_queue.release_batch(deployment.db, batch.id, batch.claim, after=timedelta(0), error="broke", route="")
    assert await waiting_route(deployment) == "api", "a release does not change the route of an open order"


async def test_batches_of_a_removed_route_restart_at_the_first_route_unless_ordered(
    make_deployment: MakeDeployment,
) -> None:
    deployment = await make_deployment(route("new"))
    ticket = await deployment.submit()
    await deployment.db.row("update batches set route = 'old'")
    await build_unserved_routes(deployment, {}, route("new")).check_once()
    assert await waiting_route(deployment) == ""
    await deployment.db.row("""update batches set route = 'old', notes = '{"old": {"note": {"order": "x"}}}'""")
    await build_unserved_routes(deployment, {}, route("new")).check_once()
    assert await waiting_route(deployment) == "old"
    await cancel(deployment.db, deployment.caller.account_id, ticket.task_id, RULES.retention)


async def test_unserved_routes_are_logged_and_their_batches_fail_after_a_while(
    make_deployment: MakeDeployment, caplog: pytest.LogCaptureFixture
) -> None:
    routes = (GPU, API)
    deployment = await make_deployment(*routes)
    old, ordered, new = [await deployment.submit() for _ in range(3)]
    await deployment.db.row("update batches set run_at = now() - interval '2 hours' where task_id <> $1", new.task_id)
    await deployment.db.row(
        """update batches set notes = '{"gpu": {"note": {"order": "x"}}}', route = 'gpu' where task_id = $1""",
        ordered.task_id,
    )
    unserved_routes = build_unserved_routes(deployment, SITE_A, *routes, give_up_after_s=3600)
    await unserved_routes.check_once()
    assert "route gpu, which no live worker serves: the route needs gpu=h100" in caplog.text
    caplog.clear()
    await unserved_routes.check_once()
    assert not caplog.text, "logged only once"
    assert not (await get_task(deployment, old.task_id)).ended, "the route has not been unserved for an hour"
    for key in unserved_routes._since:
        unserved_routes._since[key] -= 3601
    await unserved_routes.check_once()
    assert "no worker serves the route" in (await get_task(deployment, old.task_id)).status_message
    assert not (await get_task(deployment, new.task_id)).ended, "the batch has not waited for an hour"
    assert not (await get_task(deployment, ordered.task_id)).ended, (
        "an open order is given up later, because it may have been paid for"
    )
    for key in unserved_routes._since:
        unserved_routes._since[key] -= 86_400
    await unserved_routes.check_once()
    assert (await get_task(deployment, ordered.task_id)).ended
    await report_route_health(deployment.db, 7, [RouteCheck(MODEL, "gpu", "", True, "has no dependencies")])
    await deployment.db.row("update batches set run_at = now() - interval '2 days'")
    async with live_worker(deployment, 7):
        await unserved_routes.check_once()
    assert not (await get_task(deployment, new.task_id)).ended, "a worker serves the route again"
    assert not unserved_routes._since


async def test_health_and_metrics_are_reported_by_route(make_deployment: MakeDeployment) -> None:
    routes = (GPU, API)
    deployment = await make_deployment(*routes)
    await deployment.submit("a fox", n=2)
    await deployment.db.row("update batches set route = 'api' where id = (select min(id) from batches)")
    await deployment.db.row("update batches set run_at = now() - interval '90 seconds' where route = ''")
    registry = open_registry([(Model(MODEL), list(routes))], SITE_A)
    async with live_worker(deployment, 1), serving(deployment) as api:
        checking = asyncio.create_task(check_routes_until_cancelled(deployment.db, registry, worker=1))
        await eventually(lambda: list_route_health(deployment.db))
        checking.cancel()
        ready = (await api.anonymous.get("/readyz")).json()
        metrics = (await api.anonymous.get("/metrics")).text
    assert ready["engines"][MODEL] == {"gpu": "no worker", "api": "ok"}
    names = {"gpu": (1, 0), "api": (1, 1)}
    for name, (waiting, workers) in names.items():
        labels = f'model="{MODEL}",route="{name}"'
        assert f'framehouse_queue_batches{{{labels},state="waiting"}} {waiting}.0\n' in metrics
        assert f'framehouse_queue_batches{{{labels},state="running"}} 0.0\n' in metrics
        assert f"framehouse_route_workers{{{labels}}} {workers}.0\n" in metrics
    oldest = re.search(rf'framehouse_queue_oldest_seconds{{model="{MODEL}",route="gpu"}} (\S+)', metrics)
    assert oldest
    assert 90 <= float(oldest[1]) < 900
    assert 'framehouse_queue_batches{model="kling-image-o1",route="gpu",state="waiting"} 0.0\n' in metrics


def test_the_labels_that_a_route_needs_must_be_strings() -> None:
    for needs in ({"gpus": 8}, ["gpu"], {"gpu": ""}, "h100"):
        with pytest.raises(BadRoute, match="needs must be a table of labels"):
            open_registry([(Model("m"), [{"engine": MISBEHAVING, "needs": needs}])])


async def test_a_claim_does_not_read_batches_of_other_routes(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment()
    ticket = await deployment.submit()
    for model, name, count in (("other", "", 30_000), (MODEL, "api", 30_000), (MODEL, "gpu", 2)):
        await deployment.db.row(
            "insert into batches (task_id, model, route, shot_indexes, run_at) "
            "select $1, $2, $3, '{0}', now() - interval '1 hour' from generate_series(1, $4::int)",
            ticket.task_id,
            model,
            name,
            count,
        )
    await deployment.db.row("analyze batches")
    for _ in range(6):  # then PostgreSQL no longer plans the statements of the function
        await batch_queue.claim_batches(deployment.db, worker=1, limit=2, lease=LEASE, routes=[(MODEL, "none")])
    plan = await deployment.db.rows(
        f"explain (analyze, buffers, format json) {sql('claim_batches')}",
        worker=1, limit=2, lease=LEASE, models=[MODEL, MODEL, "unknown"], routes=["", "gpu", ""],
        claim=uuid4(), task_id=None, ready=False, ready_accounts=[], filters=[], max_batches=[],
    )  # fmt: skip
    top = json.loads(plan[0][0])[0]["Plan"]
    assert top["Shared Hit Blocks"] + top["Shared Read Blocks"] < 200, plan[0][0]


async def test_two_simultaneous_claims_get_all_due_batches(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment()
    await deployment.submit(n=8)
    routes = [(MODEL, ""), (MODEL, "x")]
    claims = await asyncio.gather(
        *(batch_queue.claim_batches(deployment.db, worker=n, limit=4, lease=LEASE, routes=routes) for n in (1, 2))
    )
    ids = [batch.id for batches in claims for batch in batches]
    assert len(ids) == len(set(ids)) == 8


async def test_workers_with_different_route_orders_pause_between_handovers(
    make_deployment: MakeDeployment,
) -> None:
    """The workers have the same routes in different orders, as during a rollout. Both engines are unavailable."""
    deployment = await make_deployment(GPU, API)
    ticket = await deployment.submit("away gpu, away api")
    start_worker(deployment, H100, GPU, API, give_up_after_s=2)
    start_worker(deployment, SITE_A, API, GPU, give_up_after_s=2)
    task = await wait_for_task(deployment, ticket.task_id)
    assert "given up after" in task.status_message
    assert len(NamedEngine.calls) < 12


async def test_after_a_given_up_order_the_earlier_routes_are_tried(
    make_deployment: MakeDeployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first engine is unavailable. The second engine loses the answer to its order and later gives it up."""
    deployment = await make_deployment(GPU, API)
    ticket = await deployment.submit("away gpu, order api")
    start_worker(deployment, H100 | SITE_A, GPU, API)

    async def released_with_order() -> bool:
        return NamedEngine.calls.count("api") == 1 and bool(
            await deployment.db.value("select count(*) from batches where notes <> '{}' and claim is null")
        )

    with monkeypatch.context() as patch:  # the prompt must change before the batch is due again
        patch.setattr("framehouse.domain.batch_retry._SHORTEST_PAUSE_S", 60.0)
        await eventually(released_with_order)
    await deployment.db.row("update shots set prompt = 'lose api'")
    await deployment.db.row("update tasks set prompt = 'lose api'")
    await deployment.db.row("update batches set run_at = now()")
    assert (await wait_for_task(deployment, ticket.task_id)).status == "succeed"
    assert NamedEngine.calls[-2:] == ["api", "gpu"]


async def test_an_open_order_of_an_older_version_continues_at_its_route(make_deployment: MakeDeployment) -> None:
    """The older version saved the order without the route of the batch, and no worker serves the first route."""
    deployment = await make_deployment(GPU, API)
    ticket = await deployment.submit("order api")
    await deployment.db.row("""update batches set notes = '{"api": {"note": {"order": "x"}}}', route = ''""")
    start_worker(deployment, SITE_A, GPU, API)
    await build_unserved_routes(deployment, SITE_A, GPU, API).check_once()
    assert (await wait_for_task(deployment, ticket.task_id)).status == "succeed"
    assert NamedEngine.calls == ["api"]
