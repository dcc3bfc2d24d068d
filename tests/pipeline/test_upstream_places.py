"""The limits of an account at an upstream apply to all workers together."""

import asyncio
from contextlib import aclosing
from dataclasses import replace
from uuid import uuid4

import pytest

from framehouse.engines.interface import BatchLost, GeneratedImage
from framehouse.engines.kling import Kling
from framehouse.pipeline.open_order import StoredOrder
from tests.support.eventually import eventually
from tests.support.in_process_deployment import Deployment, MakeDeployment
from tests.support.kling_orders import kling, task
from tests.support.kling_upstream import upstream
from tests.support.tasks import claim


async def claimed_orders(deployment: Deployment, number: int) -> list[StoredOrder]:
    """Return the open orders of new batches, as different workers hold them."""
    for _ in range(number):
        await deployment.submit()
    batches = [batch for _ in range(number) for batch in await claim(deployment)]
    assert len(batches) == number
    return [
        StoredOrder(deployment.db, batch, "r", wake=asyncio.Event(), upstream_callback_url=None) for batch in batches
    ]


async def test_the_engines_of_all_workers_share_the_concurrency_of_an_account(make_deployment: MakeDeployment) -> None:
    orders = await claimed_orders(await make_deployment(), 6)
    async with upstream(accounts={"key": 2}, seconds=0.2) as served:
        engines = [kling(served, {"api_key": "key", "concurrency": 2}) for _ in orders]

        async def run(engine: Kling, order: StoredOrder, number: int) -> int:
            whole = replace(task(), task_id=f"t{number}", open_order=order)
            async with aclosing(engine.generate(whole)) as events:  # type: ignore[type-var]
                return len([event async for event in events if isinstance(event, GeneratedImage)])

        numbers = await asyncio.gather(*(run(e, o, n) for n, (e, o) in enumerate(zip(engines, orders, strict=True))))
        for engine in engines:
            await engine.close()
    assert numbers == [1] * 6
    assert served.max_in_flight["key"] == 2
    assert len(served.posts) == 6, "the upstream refused no order"


async def test_the_engines_of_all_workers_share_the_orders_per_minute_of_an_account(
    make_deployment: MakeDeployment,
) -> None:
    orders = await claimed_orders(await make_deployment(), 3)
    async with upstream() as served:
        engines = [kling(served, {"api_key": "key", "orders_per_minute": 2}) for _ in orders]
        for number in (0, 1):
            whole = replace(task(), task_id=f"t{number}", open_order=orders[number])
            assert [e async for e in engines[number].generate(whole) if isinstance(e, GeneratedImage)]
        last = replace(task(), task_id="t2", open_order=orders[2])

        async def run() -> None:
            async with aclosing(engines[2].generate(last)) as events:  # type: ignore[type-var]
                async for _ in events:
                    pass

        waiting = asyncio.create_task(run())

        async def waits() -> bool:
            return engines[2]._accounts.all[0].shared_cooldown.remaining_s > 30

        await eventually(waits)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        for engine in engines:
            await engine.close()
    assert len(served.posts) == 2


async def test_places_are_counted_per_account_and_replaced_by_the_same_batch(make_deployment: MakeDeployment) -> None:
    first, second = await claimed_orders(await make_deployment(), 2)
    assert await first.take_places("a", 3, limit=4) == 0
    assert await first.take_places("a", 2, limit=4) == 0
    assert await second.take_places("b", 4, limit=4) == 0
    assert await second.take_places("a", 3, limit=4) is None
    assert await second.take_places("a", 2, limit=4) == 2
    assert await first.take_places("a", 4, limit=4) is None
    assert await first.take_places("a", 9, limit=None) == 2
    await second.release_places("a")
    assert await first.take_places("a", 9, limit=4) == 0, "a single order may exceed the limit"


@pytest.mark.parametrize(
    "end",
    [
        "update upstream_places set taken_at = taken_at - interval '16 minutes'",
        "delete from batches where id = (select batch_id from upstream_places)",
    ],
)
async def test_places_end_with_their_batch_or_after_some_time(make_deployment: MakeDeployment, end: str) -> None:
    deployment = await make_deployment()
    first, second = await claimed_orders(deployment, 2)
    assert await first.take_places("a", 3, limit=4) == 0
    assert await second.take_places("a", 3, limit=4) is None
    await deployment.db.row(end)
    assert await second.take_places("a", 3, limit=4) == 0


async def test_a_worker_without_a_claim_takes_no_places(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment()
    first, second = await claimed_orders(deployment, 2)
    await deployment.db.row("update batches set claim = :claim", claim=uuid4())
    with pytest.raises(BatchLost):
        await first.take_places("a", 3, limit=4)
    assert await deployment.db.value("select count(*) from upstream_places") == 0
    await second.release_places("a")


async def test_places_never_exceed_the_limit_if_workers_take_them_at_the_same_time(
    make_deployment: MakeDeployment,
) -> None:
    orders = await claimed_orders(await make_deployment(), 8)
    taken = await asyncio.gather(*(order.take_places("a", 1, limit=3) for order in orders))
    assert sorted(others for others in taken if others is not None) == [0, 1, 2]
