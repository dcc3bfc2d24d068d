"""The price and the daily budget of a route, and the costs of its images."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from framehouse.adapters.postgres.route_costs import RouteCost, list_costs
from framehouse.domain.cost import Cost, cost_of_image
from framehouse.domain.model import Model
from framehouse.engines.registry import BadRoute, open_registry
from tests.support.in_process_deployment import MISBEHAVING, MakeDeployment
from tests.support.priced_engine import PRICED
from tests.support.tasks import wait_for_task

MODEL = "kling-v3-omni"
PRICED_ROUTE = {"engine": PRICED, "name": "bought", "price": 0.25}
FREE_ROUTE = {"engine": MISBEHAVING, "name": "free"}


def _dollars(amount: str) -> Cost:
    return Cost(Decimal(amount), "USD")


@pytest.mark.parametrize(
    ("price", "reported", "expected"),
    [
        (None, None, None),
        (_dollars("1"), None, _dollars("1")),
        (None, Cost(Decimal(3), "units"), Cost(Decimal(3), "units")),
        (_dollars("1"), _dollars("0.8"), _dollars("0.8")),
        (_dollars("1"), Cost(Decimal(3), "units"), _dollars("1")),
    ],
)
def test_a_reported_cost_replaces_a_price_in_the_same_currency(
    price: Cost | None, reported: Cost | None, expected: Cost | None
) -> None:
    assert cost_of_image(price, reported) == expected


async def test_the_costs_of_images_are_added_up_by_route(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment(PRICED_ROUTE)
    deployment.start_worker()
    for prompt, n in (("a fox", 3), ("a reported fox", 2)):
        ticket = await deployment.submit(prompt, n=n)
        assert (await wait_for_task(deployment, ticket.task_id)).status == "succeed"
    account = deployment.caller.account_id
    expected = [RouteCost(MODEL, "bought", "USD", 5, Decimal("1.75"))]
    assert list(await list_costs(deployment.db)) == expected
    assert list(await list_costs(deployment.db, account)) == expected
    assert list(await list_costs(deployment.db, account + 1)) == []
    today = datetime.now(UTC).date()
    assert list(await list_costs(deployment.db, until=today - timedelta(days=1))) == []
    costs = await deployment.db.rows("select cost, currency from shots order by cost, index")
    assert [(row["cost"], row["currency"]) for row in costs] == [(Decimal("0.25"), "USD")] * 3 + [
        (Decimal("0.5"), "USD")
    ] * 2


async def test_an_image_without_a_price_has_no_cost(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment(FREE_ROUTE)
    deployment.start_worker()
    ticket = await deployment.submit()
    assert (await wait_for_task(deployment, ticket.task_id)).status == "succeed"
    assert list(await list_costs(deployment.db)) == []


async def test_a_repeated_save_counts_the_cost_once(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment(PRICED_ROUTE)
    deployment.start_worker()
    ticket = await deployment.submit(n=1)
    await wait_for_task(deployment, ticket.task_id)
    again = await deployment.db.value(
        "select settle_shot(s.task_id, 0, gen_random_uuid(), s.index, s.engine, s.key, '', s.media_type, s.width, "
        "s.height, interval '1 day', '', 0.25, 'USD') from shots s"
    )
    assert again == "succeeded"
    assert [cost.amount for cost in await list_costs(deployment.db)] == [Decimal("0.25")]


async def test_a_route_whose_budget_is_spent_is_skipped_until_the_next_day(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment(PRICED_ROUTE | {"daily_budget": 0.5}, FREE_ROUTE)
    deployment.start_worker()

    async def engine_of_a_task() -> Any:
        ticket = await deployment.submit()
        await wait_for_task(deployment, ticket.task_id)
        return await deployment.db.value("select engine from shots where task_id = $1", ticket.task_id)

    assert [await engine_of_a_task() for _ in range(4)] == ["bought", "bought", "free", "free"]
    await deployment.db.value("update route_costs set day = day - 1")
    assert await engine_of_a_task() == "bought"
    assert [cost.images for cost in await list_costs(deployment.db)] == [3]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"price": 0}, "price must be a number greater than 0"),
        ({"price": True}, "price must be a number"),
        ({"price": "0.1"}, "price must be a number"),
        ({"price": 1e9}, "less than 1,000,000"),
        ({"price": float("nan")}, "price must be a number"),
        ({"price": 1, "daily_budget": -1}, "daily_budget must be a number greater than 0"),
        ({"price": 1, "currency": "US$"}, "currency must be 1 to 10 letters"),
        ({"daily_budget": 3}, "currency and daily_budget need a price"),
        ({"currency": "EUR"}, "currency and daily_budget need a price"),
    ],
)
def test_the_error_names_the_problem_of_a_price(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(BadRoute, match=message.replace("$", r"\$")):
        open_registry([(Model(MODEL), [{"engine": MISBEHAVING} | settings])])
