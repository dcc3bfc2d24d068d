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
from framehouse.engines.interface import Abilities, Batch, BatchLost, Check, Painted, Progress
from framehouse.pipeline.cancel import cancel
from framehouse.pipeline.order_note import BatchMemory
from tests.support.api_server import serving
from tests.support.eventually import eventually
from tests.support.house import MISBEHAVING, RULES, MakeHouse
from tests.support.tasks import claim, ended, nothing_left

ORDERING = "tests.pipeline.test_order_note:Ordering"


class Ordering:
    """Keeps a note, loses the answer once, and finds the note again; "give up" in the prompt never comes back to it."""

    calls: ClassVar[list[str]] = []

    def abilities(self) -> Abilities:
        return Abilities(max_references=0)

    async def paint(self, batch: Batch) -> AsyncIterator[Painted | Progress]:
        assert batch.memory is not None
        self.calls.append(str(batch.memory.note.get("order", "")))
        yield Progress(0)
        if "give up" in batch.prompt:
            await batch.memory.keep({"order": "x"})
            await batch.memory.give_up("it is not sent again")
            raise Unavailable("it is not sent again")
        if not batch.memory.note:
            await batch.memory.keep({"order": "x"})
            raise Unknown("the answer was lost")
        pixels = np.zeros((batch.size.height, batch.size.width, 3), np.uint8)
        yield Painted(batch.shots[0].index, pixels)

    async def check(self) -> list[Check]:
        return [Check("a server", fit=False, told="is away")]

    async def close(self) -> None:
        self.calls.clear()


async def test_what_is_unknown_is_asked_again_at_its_own_route(make_house: MakeHouse) -> None:
    house = await make_house({"engine": ORDERING}, {"engine": MISBEHAVING})
    ticket = await house.submit()
    house.start_worker()
    assert (await ended(house, ticket.task_id)).status == "succeed"
    assert Ordering.calls == ["", "x"]
    assert await house.db.value("select engine from shots") == ORDERING
    await nothing_left(house, used=8)


async def test_what_was_given_up_goes_to_the_next_route_and_never_comes_back(make_house: MakeHouse) -> None:
    house = await make_house({"engine": ORDERING}, {"engine": MISBEHAVING})
    ticket = await house.submit("give up, unavailable 1")
    house.start_worker()
    assert (await ended(house, ticket.task_id)).status == "succeed"
    assert Ordering.calls == [""]
    assert await house.db.value("select engine from shots") == MISBEHAVING


async def test_where_there_is_no_next_route_the_task_says_why(make_house: MakeHouse) -> None:
    house = await make_house({"engine": ORDERING})
    ticket = await house.submit("give up")
    house.start_worker()
    assert (await ended(house, ticket.task_id)).status_message == "it is not sent again"
    await nothing_left(house, used=0)


async def test_a_note_of_a_lost_batch_is_not_kept(make_house: MakeHouse) -> None:
    house = await make_house()
    await house.submit()
    (batch,) = await claim(house)
    memory = BatchMemory(house.db, batch, "r", hurry=asyncio.Event(), hasten_url=None)
    await memory.keep({"order": 1})
    await house.db.row("update batches set claim = gen_random_uuid()")
    with pytest.raises(BatchLost):
        await memory.keep({"order": 2})
    assert memory.note == {"order": 1}
    assert await memory.wanted()


async def test_an_upstreams_call_ends_a_pause_and_anybody_elses_does_not(make_house: MakeHouse) -> None:
    async with serving(await make_house()) as api:
        links = Links("secret", api.url)
        api.house.rules = replace(RULES, hasten_url=links.make_hasten)
        ticket = await api.house.submit("hang")
        worker = api.house.start_worker()

        async def held() -> bool:
            return len(worker.held) > 0

        await eventually(held)
        (batch,) = worker.held
        url = links.make_hasten(batch.batch.id)
        assert url
        for wrong in (url[:-1] + "x", url.replace(f"/{batch.batch.id}/", "/999/"), f"{api.url}/hasten/x/ü"):
            assert (await api.stranger.post(wrong)).status_code == 404
        assert not batch.wake.is_set()
        assert (await api.stranger.post(url, content=b"whatever")).status_code == 200
        async with asyncio.timeout(5):
            await batch.wake.wait()
        await cancel(api.house.db, api.house.caller.account_id, ticket.task_id, RULES.retention)


async def test_workers_report_how_their_routes_are(make_house: MakeHouse) -> None:
    house = await make_house({"engine": ORDERING})
    house.start_worker()
    rows = await eventually(lambda: list_route_health(house.db))
    async with serving(house) as api:
        ready = (await api.stranger.get("/readyz")).json()
        metrics = (await api.stranger.get("/metrics")).text
    assert ready["status"] == "ok"
    assert ready["engines"]["kling-v3-omni"] == {ORDERING: "away"}
    assert f'framehouse_route_checks{{model="kling-v3-omni",route="{ORDERING}",state="unfit"}} 1' in metrics
    assert {(row.what, row.healthy, row.unhealthy, row.reason) for row in rows} == {("a server", 0, 1, "is away")}
