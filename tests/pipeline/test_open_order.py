"""Open orders: an engine finds its order again, the batch stays with its route, and only the claimant can save data."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest

from framehouse.adapters.postgres.route_health import list_route_health
from framehouse.domain.errors import Unavailable, Unknown
from framehouse.domain.signed_urls import Links
from framehouse.engines.interface import Abilities, Batch, BatchLost, GeneratedImage, HealthCheck, Progress
from framehouse.pipeline.cancel import cancel
from framehouse.pipeline.open_order import StoredOrder
from tests.support.api_server import serving
from tests.support.eventually import eventually
from tests.support.in_process_deployment import MISBEHAVING, RULES, MakeDeployment
from tests.support.tasks import assert_nothing_left, claim, wait_for_task

ORDERING = "tests.pipeline.test_open_order:OrderingEngine"


class OrderingEngine:
    """Saves an order and raises Unknown in the first call. The next call finds the order and generates.

    If the prompt contains "give up", it gives the order up. `calls` lists the order that each call found, or "".
    """

    calls: ClassVar[list[str]] = []

    def abilities(self) -> Abilities:
        return Abilities(max_references=0)

    async def generate(self, batch: Batch) -> AsyncIterator[GeneratedImage | Progress]:
        assert batch.open_order is not None
        self.calls.append(str(batch.open_order.data.get("order", "")))
        yield Progress(0)
        if "give up" in batch.prompt:
            await batch.open_order.save({"order": "x"})
            await batch.open_order.give_up("the order is not sent again")
            raise Unavailable("the order is not sent again")
        if not batch.open_order.data:
            await batch.open_order.save({"order": "x"})
            raise Unknown("the answer was lost")
        pixels = np.zeros((batch.size.height, batch.size.width, 3), np.uint8)
        yield GeneratedImage(batch.shots[0].index, pixels)

    async def check(self) -> list[HealthCheck]:
        return [HealthCheck("a server", ok=False, reason="cannot be reached")]

    async def close(self) -> None:
        self.calls.clear()


async def test_a_batch_with_an_open_order_is_tried_again_at_the_same_route(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment({"engine": ORDERING}, {"engine": MISBEHAVING})
    ticket = await deployment.submit()
    deployment.start_worker()
    assert (await wait_for_task(deployment, ticket.task_id)).status == "succeed"
    assert OrderingEngine.calls == ["", "x"]
    assert await deployment.db.value("select engine from shots") == ORDERING
    await assert_nothing_left(deployment, used=8)


async def test_a_given_up_order_moves_the_batch_to_the_next_route_for_good(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment({"engine": ORDERING}, {"engine": MISBEHAVING})
    ticket = await deployment.submit("give up, unavailable 1")
    deployment.start_worker()
    assert (await wait_for_task(deployment, ticket.task_id)).status == "succeed"
    assert OrderingEngine.calls == [""]
    assert await deployment.db.value("select engine from shots") == MISBEHAVING


async def test_without_a_next_route_the_task_fails_with_the_reason(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment({"engine": ORDERING})
    ticket = await deployment.submit("give up")
    deployment.start_worker()
    assert (await wait_for_task(deployment, ticket.task_id)).status_message == "the order is not sent again"
    await assert_nothing_left(deployment, used=0)


async def test_an_order_of_a_lost_batch_cannot_be_saved(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment()
    await deployment.submit()
    (batch,) = await claim(deployment)
    open_order = StoredOrder(deployment.db, batch, "r", wake=asyncio.Event(), upstream_callback_url=None)
    await open_order.save({"order": 1})
    await deployment.db.row("update batches set claim = gen_random_uuid()")
    with pytest.raises(BatchLost):
        await open_order.save({"order": 2})
    assert open_order.data == {"order": 1}
    assert await open_order.is_wanted()


async def test_only_an_upstream_callback_with_a_valid_signature_ends_a_pause(make_deployment: MakeDeployment) -> None:
    async with serving(await make_deployment()) as api:
        links = Links("secret", api.url)
        api.deployment.rules = replace(RULES, upstream_callback_url=links.make_upstream_callback_url)
        ticket = await api.deployment.submit("hang")
        worker = api.deployment.start_worker()

        async def holds_batch() -> bool:
            return len(worker.held) > 0

        await eventually(holds_batch)
        (batch,) = worker.held
        url = links.make_upstream_callback_url(batch.batch.id)
        assert url
        for invalid in (url[:-1] + "x", url.replace(f"/{batch.batch.id}/", "/999/"), f"{api.url}/hasten/x/ü"):
            assert (await api.anonymous.post(invalid)).status_code == 404
        assert not batch.wake.is_set()

        async def woken() -> bool:
            """Whether the batch has been woken. The request is repeated, because the worker may not listen yet."""
            assert (await api.anonymous.post(url, content=b"any body")).status_code == 200
            return batch.wake.is_set()

        await eventually(woken)
        await cancel(api.deployment.db, api.deployment.caller.account_id, ticket.task_id, RULES.retention)


async def test_workers_report_the_health_of_their_routes(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment({"engine": ORDERING})
    deployment.start_worker()
    rows = await eventually(lambda: list_route_health(deployment.db))
    async with serving(deployment) as api:
        ready = (await api.anonymous.get("/readyz")).json()
        metrics = (await api.anonymous.get("/metrics")).text
    assert ready["status"] == "ok"
    assert ready["engines"]["kling-v3-omni"] == {ORDERING: "away"}
    assert f'framehouse_route_checks{{model="kling-v3-omni",route="{ORDERING}",state="unhealthy"}} 1' in metrics
    assert {(row.subject, row.healthy, row.unhealthy, row.reason) for row in rows} == {
        ("a server", 0, 1, "cannot be reached")
    }
