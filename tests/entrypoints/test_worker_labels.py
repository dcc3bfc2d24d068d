"""Workers with labels: each paints by the routes that it serves, hands on to the next, and leaves nothing to nobody."""

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
from tests.support.in_process_deployment import MISBEHAVING, RULES, Deployment, MakeDeployment
from tests.support.named_engine import API, SITE_A, GPU, H100, MODEL, NamedEngine, route
from tests.support.tasks import LEASE, wait_for_task, assert_nothing_left, get_task, waiting_route


@pytest.fixture(autouse=True)
def _no_calls() -> None:
    NamedEngine.calls.clear()


def worker(deployment: Deployment, labels: dict[str, str], *routes: dict[str, object], **limits: Any) -> Worker:
    registry = open_registry([(Model(MODEL), list(routes))], labels)
    return Worker(deployment.db, deployment.storage, registry, RULES, Limits(**limits))


def start(deployment: Deployment, labels: dict[str, str], *routes: dict[str, object], **limits: Any) -> Worker:
    started = worker(deployment, labels, *routes, **limits)
    deployment.workers.append((started, asyncio.create_task(started.run())))
    return started


def unserved(
    deployment: Deployment, labels: dict[str, str], *routes: dict[str, object], **limits: Any
) -> UnservedRoutes:
    registry = open_registry([(Model(MODEL), list(routes))], labels)
    return UnservedRoutes(deployment.db, registry, retention=RULES.retention, lease_s=30, limits=RetryLimits(**limits))


async def test_each_paints_only_by_what_it_serves(make_deployment: MakeDeployment) -> None:
    routes = (GPU, API)
    deployment = await make_deployment(*routes)
    ticket = await deployment.submit()
    start(deployment, SITE_A, *routes)
    await asyncio.sleep(0.5)
    assert await waiting_route(deployment) == "", "the fallback must not paint what the first may"
    assert NamedEngine.calls == []
    start(deployment, H100, *routes)
    assert (await wait_for_task(deployment, ticket.task_id)).status == "succeed"
    assert NamedEngine.calls == ["gpu"]
    await assert_nothing_left(deployment, used=8)


async def test_the_next_goes_on_where_the_first_is_away(make_deployment: MakeDeployment) -> None:
    routes = (GPU, API)
    deployment = await make_deployment(*routes)
    ticket = await deployment.submit("away gpu", n=3)
    start(deployment, SITE_A, *routes)
    start(deployment, H100 | {"more": "labels"}, *routes)
    assert (await wait_for_task(deployment, ticket.task_id)).status == "succeed"
    assert NamedEngine.calls.count("api") == 3
    assert await deployment.db.value("select array_agg(distinct engine) from shots") == ["api"]
    await assert_nothing_left(deployment, used=24)


async def test_where_all_are_away_it_begins_again_with_the_first(make_deployment: MakeDeployment) -> None:
    routes = (GPU, API)
    deployment = await make_deployment(*routes)
    ticket = await deployment.submit("away gpu, away api")
    start(deployment, SITE_A, *routes)
    start(deployment, H100, *routes)

    async def twice() -> bool:
        return NamedEngine.calls[:4] == ["gpu", "api", "gpu", "api"]

    await eventually(twice)
    await cancel(deployment.db, deployment.caller.account_id, ticket.task_id, RULES.retention)


async def test_what_the_first_cannot_take_is_handed_on_at_once_and_is_no_failure(
    make_deployment: MakeDeployment,
) -> None:
    routes = (route("gpu", H100, max_references=0), API)
    deployment = await make_deployment(*routes)
    ticket = await deployment.submit("a fox", image_list=[{"image": image_base64()}])
    start(deployment, H100, *routes)

    async def handed_on() -> bool:
        return await waiting_route(deployment) == "api"

    await eventually(handed_on)
    assert await deployment.db.value("select failing_since from batches") is None
    start(deployment, SITE_A, *routes)
    assert (await wait_for_task(deployment, ticket.task_id)).status == "succeed"
    assert NamedEngine.calls == ["api"]


async def test_a_last_route_that_gives_up_does_not_end_what_the_first_may_still_make(
    make_deployment: MakeDeployment,
) -> None:
    routes = (GPU, API)
    deployment = await make_deployment(*routes)
    ticket = await deployment.submit("away gpu, lose api")
    start(deployment, SITE_A, *routes)
    start(deployment, H100, *routes)

    async def asked_again() -> bool:
        return NamedEngine.calls.count("gpu") > 1

    await eventually(asked_again)
    assert NamedEngine.calls.count("api") == 1
    await cancel(deployment.db, deployment.caller.account_id, ticket.task_id, RULES.retention)


async def test_a_pinned_batch_goes_to_who_serves_its_route(make_deployment: MakeDeployment) -> None:
    routes = (GPU, API)
    deployment = await make_deployment(*routes)
    ticket = await deployment.submit("away gpu, order api")
    both = start(deployment, H100 | SITE_A, *routes)

    async def pinned() -> bool:
        return await waiting_route(deployment) == "api"

    await eventually(pinned)
    both.stop()
    await deployment.workers[0][1]
    start(deployment, H100, *routes)
    await deployment.db.row("update batches set run_at = now()")
    await asyncio.sleep(0.5)
    assert NamedEngine.calls == ["gpu", "api"]
    start(deployment, SITE_A, *routes)
    assert (await wait_for_task(deployment, ticket.task_id)).status == "succeed"
    assert NamedEngine.calls == ["gpu", "api", "api"]
    await assert_nothing_left(deployment, used=8)


async def test_one_that_was_pinned_before_there_were_labels_is_handed_on(make_deployment: MakeDeployment) -> None:
    routes = (GPU, API)
    deployment = await make_deployment(*routes)
    ticket = await deployment.submit("order api")
    await deployment.db.row("""update batches set notes = '{"api": {"note": {"order": "x"}}}'""")
    start(deployment, H100, *routes)
    start(deployment, SITE_A, *routes)
    assert (await wait_for_task(deployment, ticket.task_id)).status == "succeed"
    assert NamedEngine.calls == ["api"]


async def test_a_note_and_its_route_are_one_write(make_deployment: MakeDeployment) -> None:
    """Whoever dies after it: the batch waits for where its order is, and goes on there when it is freed."""
    routes = (GPU, API)
    deployment = await make_deployment(*routes)
    await deployment.submit()
    (batch,) = await batch_queue.claim_batches(deployment.db, worker=1, limit=1, lease=LEASE, routes=[(MODEL, "")])
    await batch_queue.save_open_order(deployment.db, batch.id, batch.claim, "api", {"note": {"order": "x"}})
    for quiet in await orphaned_batches.unrenewed_batches(deployment.db, lease=LEASE, unrenewed_for=-LEASE):
        await orphaned_batches.requeue_batches(deployment.db, [quiet])
    assert await waiting_route(deployment) == "api"
    (batch,) = await batch_queue.claim_batches(deployment.db, worker=1, limit=1, lease=LEASE, routes=[(MODEL, "api")])
    await batch_queue.release_batch(deployment.db, batch.id, batch.claim, after=timedelta(0), error="broke", route="")
    assert await waiting_route(deployment) == "api", "no release takes it away from there"


async def test_a_route_that_is_gone_from_the_configuration_holds_nothing(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment(route("new"))
    ticket = await deployment.submit()
    await deployment.db.row("update batches set route = 'old'")
    await unserved(deployment, {}, route("new")).check_once()
    assert await waiting_route(deployment) == ""
    await deployment.db.row("""update batches set route = 'old', notes = '{"old": {"note": {"order": "x"}}}'""")
    await unserved(deployment, {}, route("new")).check_once()
    assert await waiting_route(deployment) == "old"
    await cancel(deployment.db, deployment.caller.account_id, ticket.task_id, RULES.retention)


async def test_what_nobody_serves_is_told_and_fails_in_the_end(
    make_deployment: MakeDeployment, caplog: pytest.LogCaptureFixture
) -> None:
    routes = (GPU, API)
    deployment = await make_deployment(*routes)
    old, owed, young = [await deployment.submit() for _ in range(3)]
    await deployment.db.row("update batches set run_at = now() - interval '2 hours' where task_id <> $1", young.task_id)
    await deployment.db.row(
        """update batches set notes = '{"gpu": {"note": {"order": "x"}}}', route = 'gpu' where task_id = $1""",
        owed.task_id,
    )
    looker = unserved(deployment, SITE_A, *routes, give_up_after_s=3600)
    await looker.check_once()
    assert "route gpu, which no live worker serves: it needs gpu=h100" in caplog.text
    caplog.clear()
    await looker.check_once()
    assert not caplog.text, "told once"
    assert not (await get_task(deployment, old.task_id)).ended, "nobody has looked for so long"
    for key in looker._since:
        looker._since[key] -= 3601
    await looker.check_once()
    assert "no worker serves the route" in (await get_task(deployment, old.task_id)).status_message
    assert not (await get_task(deployment, young.task_id)).ended, "it has not waited for so long"
    assert not (await get_task(deployment, owed.task_id)).ended, "what may have been paid for is insisted on"
    for key in looker._since:
        looker._since[key] -= 86_400
    await looker.check_once()
    assert (await get_task(deployment, owed.task_id)).ended
    await report_route_health(deployment.db, 7, [RouteCheck(MODEL, "gpu", "", True, "depends on nothing")])
    await deployment.db.row("update batches set run_at = now() - interval '2 days'")
    await looker.check_once()
    assert not (await get_task(deployment, young.task_id)).ended, "there is somebody again"
    assert not looker._since


async def test_health_and_metrics_tell_by_route(make_deployment: MakeDeployment) -> None:
    routes = (GPU, API)
    deployment = await make_deployment(*routes)
    await deployment.submit("a fox", n=2)
    await deployment.db.row("update batches set route = 'api' where id = (select min(id) from batches)")
    await deployment.db.row("update batches set run_at = now() - interval '90 seconds' where route = ''")
    registry = open_registry([(Model(MODEL), list(routes))], SITE_A)
    looking = asyncio.create_task(check_routes_until_cancelled(deployment.db, registry, worker=1))
    await eventually(lambda: list_route_health(deployment.db))
    looking.cancel()
    async with serving(deployment) as api:
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


def test_what_a_route_needs_is_words() -> None:
    for needs in ({"gpus": 8}, ["gpu"], {"gpu": ""}, "h100"):
        with pytest.raises(BadRoute, match="needs must be labels"):
            open_registry([(Model("m"), [{"engine": MISBEHAVING, "needs": needs}])])


async def test_nobody_wades_through_what_waits_for_others(make_deployment: MakeDeployment) -> None:
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
    plan = await deployment.db.rows(
        f"explain (analyze, buffers, format json) {sql('claim_batches')}",
        worker=1, limit=2, lease=LEASE, models=[MODEL, MODEL, "nobody's"], routes=["", "gpu", ""],
        claim=uuid4(), task_id=None, ready=False,
    )  # fmt: skip
    top = json.loads(plan[0][0])[0]["Plan"]
    assert top["Shared Hit Blocks"] + top["Shared Read Blocks"] < 200, plan[0][0]


async def test_two_claim_at_once_and_neither_gets_less_than_there_is(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment()
    await deployment.submit(n=8)
    routes = [(MODEL, ""), (MODEL, "x")]
    both = await asyncio.gather(
        *(batch_queue.claim_batches(deployment.db, worker=n, limit=4, lease=LEASE, routes=routes) for n in (1, 2))
    )
    ids = [batch.id for got in both for batch in got]
    assert len(ids) == len(set(ids)) == 8


async def test_two_workers_whose_routes_differ_do_not_hand_a_batch_to_each_other_without_pause(
    make_deployment: MakeDeployment,
) -> None:
    """The same two routes in two orders, as while a new framehouse.toml is rolled out; nobody is there."""
    deployment = await make_deployment(GPU, API)
    ticket = await deployment.submit("away gpu, away api")
    start(deployment, H100, GPU, API, give_up_after_s=2)
    start(deployment, SITE_A, API, GPU, give_up_after_s=2)
    task = await wait_for_task(deployment, ticket.task_id, seconds=15)
    assert "given up after" in task.status_message
    assert len(NamedEngine.calls) < 12


async def test_a_route_that_had_it_under_way_and_gives_up_leaves_it_to_those_before(
    make_deployment: MakeDeployment,
) -> None:
    """The first was busy for a moment, the second took an order, lost the answer, and knows nothing of it later."""
    deployment = await make_deployment(GPU, API)
    ticket = await deployment.submit("away gpu, order api")
    start(deployment, H100 | SITE_A, GPU, API)

    async def ordered() -> bool:
        return NamedEngine.calls.count("api") == 1 and bool(
            await deployment.db.value("select count(*) from batches where notes <> '{}'")
        )

    await eventually(ordered)
    await deployment.db.row("update shots set prompt = 'lose api'")
    await deployment.db.row("update tasks set prompt = 'lose api'")
    await deployment.db.row("update batches set run_at = now()")
    assert (await wait_for_task(deployment, ticket.task_id)).status == "succeed"
    assert NamedEngine.calls[-2:] == ["api", "gpu"]


async def test_what_an_older_worker_has_under_way_goes_on_where_that_is(make_deployment: MakeDeployment) -> None:
    """It wrote down no route, and nobody serves the first."""
    deployment = await make_deployment(GPU, API)
    ticket = await deployment.submit("order api")
    await deployment.db.row("""update batches set notes = '{"api": {"note": {"order": "x"}}}', route = ''""")
    start(deployment, SITE_A, GPU, API)
    await unserved(deployment, SITE_A, GPU, API).check_once()
    assert (await wait_for_task(deployment, ticket.task_id)).status == "succeed"
    assert NamedEngine.calls == ["api"]
