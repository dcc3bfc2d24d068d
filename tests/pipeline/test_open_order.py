"""What an engine remembers of a batch: kept before it orders, pinned while it is open, fenced by the claim."""

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
from tests.support.tasks import claim, wait_for_task, assert_nothing_left

ORDERING = "tests.pipeline.test_order_note:Ordering"


class Ordering:
    """Keeps a note, loses the answer once, and finds the note again; "give up" in the prompt never comes back to it."""

    calls: ClassVar[list[str]] = []

    def abilities(self) -> Abilities:
        return Abilities(max_references=0)

    async def generate(self, batch: Batch) -> AsyncIterator[GeneratedImage | Progress]:
        assert batch.open_order is not None
        self.calls.append(str(batch.open_order.data.get("order", "")))
        yield Progress(0)
        if "give up" in batch.prompt:
            await batch.open_order.save({"order": "x"})
            await batch.open_order.give_up("it is not sent again")
            raise Unavailable("it is not sent again")
        if not batch.open_order.data:
            await batch.open_order.save({"order": "x"})
            raise Unknown("the answer was lost")
        pixels = np.zeros((batch.size.height, batch.size.width, 3), np.uint8)
        yield GeneratedImage(batch.shots[0].index, pixels)

    async def check(self) -> list[HealthCheck]:
        return [HealthCheck("a server", ok=False, reason="is away")]

    async def close(self) -> None:
        self.calls.clear()


async def test_what_is_unknown_is_asked_again_at_its_own_route(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment({"engine": ORDERING}, {"engine": MISBEHAVING})
    ticket = await deployment.submit()
    deployment.start_worker()
    assert (await wait_for_task(deployment, ticket.task_id)).status == "succeed"
    assert Ordering.calls == ["", "x"]
    assert await deployment.db.value("select engine from shots") == ORDERING
    await assert_nothing_left(deployment, used=8)


async def test_what_was_given_up_goes_to_the_next_route_and_never_comes_back(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment({"engine": ORDERING}, {"engine": MISBEHAVING})
    ticket = await deployment.submit("give up, unavailable 1")
    deployment.start_worker()
    assert (await wait_for_task(deployment, ticket.task_id)).status == "succeed"
    assert Ordering.calls == [""]
    assert await deployment.db.value("select engine from shots") == MISBEHAVING


async def test_where_there_is_no_next_route_the_task_says_why(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment({"engine": ORDERING})
    ticket = await deployment.submit("give up")
    deployment.start_worker()
    assert (await wait_for_task(deployment, ticket.task_id)).status_message == "it is not sent again"
    await assert_nothing_left(deployment, used=0)


async def test_a_note_of_a_lost_batch_is_not_kept(make_deployment: MakeDeployment) -> None:
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


async def test_an_upstreams_call_ends_a_pause_and_anybody_elses_does_not(make_deployment: MakeDeployment) -> None:
    async with serving(await make_deployment()) as api:
        links = Links("secret", api.url)
        api.deployment.rules = replace(RULES, upstream_callback_url=links.make_upstream_callback_url)
        ticket = await api.deployment.submit("hang")
        worker = api.deployment.start_worker()

        async def held() -> bool:
            return len(worker.held) > 0

        await eventually(held)
        (batch,) = worker.held
        url = links.make_upstream_callback_url(batch.batch.id)
        assert url
        for wrong in (url[:-1] + "x", url.replace(f"/{batch.batch.id}/", "/999/"), f"{api.url}/hasten/x/ü"):
            assert (await api.anonymous.post(wrong)).status_code == 404
        assert not batch.wake.is_set()
        assert (await api.anonymous.post(url, content=b"whatever")).status_code == 200
        async with asyncio.timeout(5):
            await batch.wake.wait()
        await cancel(api.deployment.db, api.deployment.caller.account_id, ticket.task_id, RULES.retention)


async def test_workers_report_how_their_routes_are(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment({"engine": ORDERING})
    deployment.start_worker()
    rows = await eventually(lambda: list_route_health(deployment.db))
    async with serving(deployment) as api:
        ready = (await api.anonymous.get("/readyz")).json()
        metrics = (await api.anonymous.get("/metrics")).text
    assert ready["status"] == "ok"
    assert ready["engines"]["kling-v3-omni"] == {ORDERING: "away"}
    assert f'framehouse_route_checks{{model="kling-v3-omni",route="{ORDERING}",state="unhealthy"}} 1' in metrics
    assert {(row.what, row.healthy, row.unhealthy, row.reason) for row in rows} == {("a server", 0, 1, "is away")}
