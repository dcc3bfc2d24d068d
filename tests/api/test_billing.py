"""The account endpoints of the Kling API, and the command `framehouse usage`: the charges add up to the units."""

import time
from typing import Any

import pytest

from framehouse.adapters.postgres import account_store
from framehouse.domain.billing import NO_LIMIT
from tests.support.api_answers import error
from tests.support.api_server import Api, serving
from tests.support.database import execute
from tests.support.in_process_deployment import MakeDeployment

CHARGES = "/kling/account/billing/package"
COSTS = "/kling/account/costs"


async def charges(api: Api, **body: Any) -> dict[str, Any]:
    answer = await api.alice.post(CHARGES, json=body)
    assert answer.status_code == 200, answer.text
    data: dict[str, Any] = answer.json()["data"]
    return data


async def create_and_wait(api: Api, **fields: Any) -> str:
    id = str((await api.create(**fields))["task_id"])
    await api.wait_for_task(id)
    return id


async def test_one_row_for_each_charge_adds_up_to_the_units(make_deployment: MakeDeployment) -> None:
    async with serving(await make_deployment(units_limit=1000)) as api:
        api.deployment.start_worker()
        first = await create_and_wait(api, n=2)
        await create_and_wait(api, prompt="decline")
        canceled = (await api.create(prompt="slow 60"))["task_id"]
        await api.alice.post(f"/kling/v1/images/omni-image/{canceled}/cancel")
        last = await create_and_wait(api, resolution="4k")
        data = await charges(api)
        assert (data["has_more"], data["next_cursor"], data["result"]["count"]) == (False, "", 2)
        newest, oldest = data["result"]["detail"]
        assert oldest == {
            "package_id": f"account-{api.deployment.caller.account_id}",
            "package_name": "alice",
            "product_type": "image",
            "task_id": first,
            "api_key_name": api.alice.headers["Authorization"].removeprefix("Bearer ")[:11],
            "product_function": "omni-image",
            "model_name": "kling-v3-omni",
            "resolution": "1k",
            "deduction_time": oldest["deduction_time"],
            "unit_before_deduction": 1000,
            "deduction_amount": 16,
            "unit_after_deduction": 984,
        }
        assert abs(oldest["deduction_time"] - time.time() * 1000) < 60_000
        assert (newest["task_id"], newest["deduction_amount"]) == (last, 16)
        assert (newest["unit_before_deduction"], newest["unit_after_deduction"]) == (984, 968)
        assert (await api.deployment.account())["units_used"] == 32
        answer = (await api.alice.get(COSTS)).json()["data"]
        (pack,) = answer.pop("resource_pack_subscribe_infos")
        assert answer == {"code": 0, "msg": "SUCCEED"}
        assert (pack["total_quantity"], pack["remaining_quantity"], pack["status"]) == (1000, 968, "online")
        assert (pack["resource_pack_name"], pack["resource_pack_type"]) == ("alice", "decreasing_total")
        assert pack["purchase_time"] == pack["effective_time"] < pack["invalid_time"]
        before_all = oldest["deduction_time"] - 1
        (pack,) = (await api.alice.get(f"{COSTS}?start_time=0&end_time={before_all}")).json()["data"][
            "resource_pack_subscribe_infos"
        ]
        assert pack["remaining_quantity"] == 1000


async def test_the_list_is_paged_and_filtered(api: Api) -> None:
    api.deployment.start_worker()
    ids = [await create_and_wait(api) for _ in range(3)]
    page = await charges(api, limit=2)
    assert ([row["task_id"] for row in page["result"]["detail"]], page["has_more"]) == ([ids[2], ids[1]], True)
    await create_and_wait(api)
    rest = await charges(api, limit=2, cursor=page["next_cursor"])
    assert ([row["task_id"] for row in rest["result"]["detail"]], rest["has_more"]) == ([ids[0]], False)
    key, account = page["result"]["detail"][0]["api_key_name"], api.deployment.caller.account_id
    for filters, count in (
        ([{"key": "api_key_name", "values": [key, "x"]}], 4),
        ([{"key": "api_key_name", "values": ["x"]}], 0),
        ([{"key": "api_key_name", "values": []}], 0),
        ([{"key": "product_type", "values": ["image"]}, {"key": "package_name", "values": ["alice"]}], 4),
        ([{"key": "product_type", "values": ["video"]}], 0),
        ([{"key": "package_name", "values": ["bob"]}], 0),
        ([{"key": "package_id", "values": [f"account-{account}"]}], 4),
        ([{"key": "api_key_name", "values": [key]}, {"key": "api_key_name", "values": ["x"]}], 0),
    ):
        assert (await charges(api, filters=filters))["result"]["count"] == count, filters
    moment = page["result"]["detail"][0]["deduction_time"]
    assert (await charges(api, start_time=moment + 10**6))["result"]["count"] == 0
    assert (await charges(api, end_time=str(moment - 10**6)))["result"]["count"] == 0
    assert (await charges(api, start_time=moment - 10**6, end_time=moment + 10**6))["result"]["count"] == 4


async def test_other_accounts_see_nothing_and_a_pack_without_a_limit(api: Api) -> None:
    api.deployment.start_worker()
    await create_and_wait(api)
    assert (await api.bob.post(CHARGES, json={})).json()["data"]["result"] == {"detail": [], "count": 0}
    (pack,) = (await api.bob.get(COSTS)).json()["data"]["resource_pack_subscribe_infos"]
    assert (pack["resource_pack_name"], pack["resource_pack_type"]) == ("bob", "constant_period")
    assert pack["total_quantity"] == pack["remaining_quantity"] == NO_LIMIT
    for query in ("resource_pack_name=alice", "end_time=1000"):
        assert (await api.bob.get(f"{COSTS}?{query}")).json()["data"]["resource_pack_subscribe_infos"] == []
    error(await api.anonymous.get(COSTS), 401, 1001)
    error(await api.anonymous.post(CHARGES, json={}), 401, 1001)


async def test_a_pack_without_units_has_run_out(make_deployment: MakeDeployment) -> None:
    async with serving(await make_deployment(units_limit=0)) as api:
        (pack,) = (await api.alice.get(f"{COSTS}/")).json()["data"]["resource_pack_subscribe_infos"]
        assert (pack["remaining_quantity"], pack["status"]) == (0, "runOut")


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ({"start_time": "x"}, "start_time must be a Unix time in milliseconds"),
        ({"start_time": -1}, "start_time must be"),
        ({"end_time": 10**30}, "end_time must be"),
        ({"start_time": 2, "end_time": 1}, "start_time must not be later than end_time"),
        ({"limit": 501}, "limit must be from 1 to 500, not 501"),
        ({"limit": 0}, "limit must be"),
        ({"cursor": "-1"}, "cursor must be the next_cursor"),
        ({"cursor": "9" * 100}, "cursor must be"),
        ({"cursor": 5}, "cursor must be"),
        ({"filters": {}}, "filters must be a list"),
        ({"filters": [{}]}, "filters[0].key must be one of api_key_name"),
        ({"filters": [{"key": "package_id"}]}, "filters[0].values must be a list"),
        ({"filters": [{"key": "package_id", "values": ["a\0"]}]}, "filters[0].values must be a list"),
        ({"filters": [{"key": ["x"], "values": []}]}, "filters[0].key must be one of"),
    ],
)
async def test_invalid_queries_are_refused(api: Api, body: dict[str, Any], problem: str) -> None:
    assert problem in error(await api.alice.post(CHARGES, json=body), 400, 1201)


async def test_invalid_parameters_are_refused(api: Api) -> None:
    error(await api.alice.post(CHARGES, json=[]), 400, 1201)
    assert "end_time must be" in error(await api.alice.get(f"{COSTS}?end_time=soon"), 400, 1201)


async def test_units_from_before_the_ledger_are_one_row(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment()
    # as migration 0019 does for an account that had used 40 units
    await execute(deployment.db.url, "update accounts set units_used = 40 where name = 'alice'")
    await execute(
        deployment.db.url,
        "insert into charges (account_id, kind, model, resolution, units_before, amount, units_after) "
        "select id, '', '', '', 0, units_used, units_used from accounts where units_used > 0",
    )
    async with serving(deployment) as api:
        api.deployment.start_worker()
        await create_and_wait(api)
        rows = (await charges(api))["result"]["detail"]
        assert [(bool(row["task_id"]), row["deduction_amount"]) for row in rows] == [(True, 8), (False, 40)]
        account = await account_store.get_account(deployment.db, deployment.caller.account_id)
        assert sum(row["deduction_amount"] for row in rows) == account.units_used
