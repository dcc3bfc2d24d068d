"""The admin API: only admin keys are accepted, and each change is in the audit log."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import httpx
import pytest

from framehouse.adapters.postgres import account_store, batch_queue, failed_tasks
from framehouse.adapters.postgres.admin_keys import create_admin_key, list_admin_keys, revoke_admin_key
from framehouse.adapters.postgres.pool import DatabaseUnavailable
from framehouse.adapters.postgres.route_controls import control_route, list_route_controls
from framehouse.domain.outcome import MAY_BE_PAID
from framehouse.entrypoints.api.admin.admin_endpoint_table import ENDPOINTS
from tests.support.api_answers import BODY, error
from tests.support.api_server import PATH, Api, serving
from tests.support.in_process_deployment import MakeDeployment
from tests.support.named_engine import MODEL, route
from tests.support.tasks import claim


@asynccontextmanager
async def operating(api: Api) -> AsyncIterator[httpx.AsyncClient]:
    """A client with an admin key."""
    key = await create_admin_key(api.deployment.db, "tests", actor="test")
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(base_url=f"{api.url}/admin/v1", headers=headers, timeout=60) as admin:
        yield admin


def data(answer: httpx.Response) -> Any:
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


async def actions(admin: httpx.AsyncClient, **query: str) -> list[tuple[str, str]]:
    return [(entry["action"], entry["subject"]) for entry in data(await admin.get("audit-log", params=query))]


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda e: f"{e.method} {e.path}")
async def test_each_endpoint_requires_an_admin_key(api: Api, endpoint: Any) -> None:
    path = endpoint.path.replace("{name:path}", "alice").replace("{id}", "1")
    for client in (api.alice, api.anonymous):
        answer = await client.request(endpoint.method, path, json={})
        error(answer, 401, 1001 if client is api.anonymous else 1002)
    async with operating(api) as admin:
        (key,) = await list_admin_keys(api.deployment.db)
        await revoke_admin_key(api.deployment.db, key.prefix, actor="test")
        answer = await admin.request(endpoint.method, path.removeprefix("/admin/v1/"), json={})
        assert error(answer, 401, 1002) == "the admin key is unknown or revoked"
    assert (await api.deployment.account())["disabled"] is False


async def test_an_admin_key_cannot_create_tasks(api: Api) -> None:
    async with operating(api) as admin:
        answer = await admin.post(f"{api.url}{PATH}", json=BODY)
        assert "admin key" in error(answer, 401, 1002)


async def test_accounts_and_keys(api: Api) -> None:
    async with operating(api) as admin:
        created = data(await admin.post("accounts", json={"name": "shop / a", "units_limit": 10, "weight": 2}))
        assert (created["name"], created["units_limit"], created["weight"]) == ("shop / a", 10, 2.0)
        assert "already exists" in error(await admin.post("accounts", json={"name": "shop / a"}), 400, 1201)
        changed = data(await admin.patch("accounts/shop%20%2F%20a", json={"units_limit": None, "concurrency": 3}))
        assert (changed["units_limit"], changed["concurrency"], changed["weight"]) == (None, 3, 2.0)
        assert data(await admin.get("accounts/shop%20%2F%20a")) == changed
        key = data(await admin.post("keys", json={"account": "shop / a"}))["key"]
        (listed,) = data(await admin.get("keys", params={"account": "shop / a"}))
        assert listed["prefix"] == key[:11]
        headers = {"Authorization": f"Bearer {key}"}
        assert (await api.anonymous.get("/kling/v1/account", headers=headers)).status_code == 200
        data(await admin.delete(f"keys/{listed['id']}"))
        error(await api.anonymous.get("/kling/v1/account", headers=headers), 401, 1002)
        error(await admin.delete(f"keys/{listed['id']}"), 404, 1203)
        jwt = data(await admin.post("keys", json={"account": "shop / a", "jwt": True, "models": [MODEL]}))
        assert set(jwt) == {"access_key", "secret_key"}
        assert data(await admin.post("callback-secrets", json={"account": "shop / a"}))["callback_secret"]
        assert data(await admin.delete("accounts/shop%20%2F%20a"))["deleted"] is True
        error(await admin.delete("accounts/shop%20%2F%20a"), 404, 1203)
        assert {account["name"] for account in data(await admin.get("accounts"))} == {"alice", "bob"}
        assert (await actions(admin, subject="shop / a"))[::-1] == [
            (action, "shop / a")
            for action in ("account.create", "account.set", "account.rotate_secret", "account.delete")
        ]
        (entry,) = data(await admin.get("audit-log", params={"action": "account.set"}))
        assert entry["details"] == {"concurrency": [100, 3], "units_limit": [10, None]}
        assert entry["actor"].startswith("tests (fha_")


@pytest.mark.parametrize(
    ("method", "path", "body", "message"),
    [
        ("POST", "accounts", {}, "name is required and must not be empty"),
        ("POST", "accounts", [], "the body must be a JSON object"),
        ("POST", "accounts", {"name": "a", "weight": 0}, "weight must be"),
        (
            "POST",
            "accounts",
            {"name": "a", "unit_limit": 1},
            'unknown fields: "unit_limit"; the fields are concurrency, name, units_limit, weight',
        ),
        ("POST", "accounts", {"name": "a\0"}, "name contains a NUL character"),
        ("PATCH", "accounts/alice", {"disabled": "yes"}, 'disabled must be true or false, not "yes"'),
        ("POST", "keys", {"account": "alice", "models": ["x"]}, 'contains "x", which is not a configured model'),
        (
            "POST",
            "routes",
            {"model": MODEL, "action": "stop"},
            'action must be one of pause, drain, resume, not "stop"',
        ),
        ("POST", "failed-tasks/retry", {"task_ids": ["x"]}, 'contains "x", which is not a task id'),
        ("POST", "failed-tasks/retry", {"task_ids": [], "model": "m"}, "can only be combined with dry_run"),
        ("POST", "routes", {"model": MODEL, "route": "", "action": "pause"}, "route must not be empty"),
        ("PATCH", "accounts/alice", {"units_limit": ""}, "units_limit must not be empty"),
        ("POST", "failed-tasks/retry", {"account": "", "reason": ""}, "account must not be empty; reason must not be"),
        ("POST", "accounts", {"name": "a\nb"}, "name must contain only printable characters"),
        ("POST", "accounts", {"name": "a"} | {f"x{n}": 1 for n in range(5000)}, '"x9"; the fields are'),
        ("GET", "audit-log?from=0001-01-01T00:00:00%2B14:00", None, "from must be a time such as"),
        ("GET", "audit-log?from=9999-12-31T23:59:59-14:00", None, "from must be a time such as"),
        ("GET", "audit-log?from=yesterday", None, "from must be a time such as"),
        ("GET", "failed-tasks?limit=0", None, "limit must be from 1 to 10000"),
    ],
)
async def test_invalid_fields_are_refused(api: Api, method: str, path: str, body: Any, message: str) -> None:
    async with operating(api) as admin:
        answer = await admin.request(method, path, **({"json": body} if body is not None else {}))
        assert message in error(answer, 400, 1201)
        assert all(not action.startswith("account.set") for action, _ in await actions(admin))


@pytest.mark.parametrize("path", ["accounts/nobody", "accounts/a%00b", "keys?account=nobody"])
async def test_unknown_accounts_are_not_found(api: Api, path: str) -> None:
    async with operating(api) as admin:
        answer = await admin.get(path)
        assert answer.status_code in (400, 404), answer.text
        assert answer.json()["code"] in (1201, 1203)


async def test_routes(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment(route("gpu") | {"requests_per_minute": 60}, route("api"))
    async with serving(deployment) as api, operating(api) as admin:
        await deployment.submit()
        (paused,) = data(await admin.post("routes", json={"model": MODEL, "route": "gpu", "action": "pause"}))
        assert paused == {
            "model": MODEL,
            "route": "gpu",
            "state": "paused",
            "requests_per_minute": 60,
            "waiting": 1,
            "running": 0,
            "open_orders": 0,
            "workers": 0,
            "healthy": True,
        }
        both = data(await admin.post("routes", json={"model": MODEL, "action": "drain"}))
        assert [entry["state"] for entry in both] == ["draining", "draining"]
        data(await admin.post("routes", json={"model": MODEL, "action": "resume"}))
        assert {entry["state"] for entry in data(await admin.get("routes"))} == {"active"}
        message = error(await admin.post("routes", json={"model": "m", "action": "pause"}), 404, 1203)
        assert message.startswith('there is no model "m"; configured models: kling-v3-omni')
        answer = await admin.post("routes", json={"model": MODEL, "route": "x", "action": "pause"})
        assert error(answer, 404, 1203) == f'the model {MODEL} has no route "x"; configured routes: gpu, api'
        routes = [f"{MODEL}/gpu", f"{MODEL}/api"]
        assert await actions(admin, action="route") == [
            *(("route.resume", name) for name in routes[::-1]),
            ("route.drain", routes[1]),
            ("route.drain", routes[0]),
            ("route.pause", routes[0]),
        ]


async def test_failed_tasks(api: Api) -> None:
    deployment = api.deployment
    ids = [str((await deployment.submit()).task_id) for _ in range(3)]
    for batch in await claim(deployment, limit=3):
        await batch_queue.fail_batch(deployment.db, batch.id, batch.claim, "the GPU is broken", timedelta(days=1))
    async with operating(api) as admin:
        failed = data(await admin.get("failed-tasks", params={"reason": "gpu"}))
        assert {task["task_id"] for task in failed} == set(ids)
        assert {task["status_message"] for task in failed} == {"the GPU is broken"}
        assert data(await admin.get("failed-tasks", params={"account": "bob"})) == []
        dry = data(await admin.post("failed-tasks/retry", json={"reason": "gpu", "dry_run": True}))
        assert (set(dry["retried"]), dry["not_retried"], dry["dry_run"]) == (set(ids), {}, True)
        other = "00000000-0000-4000-8000-000000000000"
        report = data(await admin.post("failed-tasks/retry", json={"task_ids": [ids[0], other]}))
        assert report["retried"] == [ids[0]]
        assert report["not_retried"] == {other: "there is no failed task with this id"}
        report = data(await admin.post("failed-tasks/retry", json={}))
        assert set(report["retried"]) == set(ids[1:])
        assert data(await admin.get("failed-tasks")) == []
        assert {subject for _, subject in await actions(admin, action="task.retry")} == set(ids)


async def test_a_task_that_an_upstream_may_have_charged_for_is_retried_only_by_its_id(api: Api) -> None:
    deployment = api.deployment
    id = str((await deployment.submit()).task_id)
    (batch,) = await claim(deployment)
    message = f"connection lost (the request {MAY_BE_PAID})"
    await batch_queue.fail_batch(deployment.db, batch.id, batch.claim, message, timedelta(days=1))
    async with operating(api) as admin:
        report = data(await admin.post("failed-tasks/retry", json={"reason": "connection lost"}))
        assert report["retried"] == []
        assert "may already have charged" in report["not_retried"][id]
        assert data(await admin.post("failed-tasks/retry", json={"task_ids": [id]}))["retried"] == [id]


async def test_a_database_error_during_a_retry_is_reported_as_such(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    deployment = api.deployment
    await deployment.submit()
    (batch,) = await claim(deployment)
    await batch_queue.fail_batch(deployment.db, batch.id, batch.claim, "outage", timedelta(days=1))

    async def fail(*_: object, **__: object) -> None:
        raise DatabaseUnavailable("away")

    monkeypatch.setattr(failed_tasks, "retry_task", fail)
    async with operating(api) as admin:
        error(await admin.post("failed-tasks/retry", json={}), 503, 5001)


async def test_a_route_that_is_no_longer_configured_can_be_resumed(api: Api) -> None:
    await control_route(api.deployment.db, MODEL, "gone", "drain", waiting_as=["gone"], actor="test")
    async with operating(api) as admin:
        data(await admin.post("routes", json={"model": MODEL, "route": "gone", "action": "resume"}))
        assert await list_route_controls(api.deployment.db) == {}


async def test_many_failed_tasks_are_retried_in_one_call(api: Api) -> None:
    deployment = api.deployment
    ticket = await deployment.submit()
    (batch,) = await claim(deployment)
    await batch_queue.fail_batch(deployment.db, batch.id, batch.claim, "outage", timedelta(days=1))
    await deployment.db.row(
        "insert into tasks (select (jsonb_populate_record(t, jsonb_build_object('id', gen_random_uuid()))).* "
        "from tasks t, generate_series(1, 300) where t.id = $1)",
        ticket.task_id,
    )
    await deployment.db.row(
        "insert into shots (task_id, index, prompt, framing, seed) "
        "select id, 0, 'a fox', '', 1 from tasks where id <> $1",
        ticket.task_id,
    )
    async with operating(api) as admin:
        report = data(await admin.post("failed-tasks/retry", json={}))
        assert (len(report["retried"]), report["not_retried"]) == (301, {})
    assert await deployment.db.value("select count(*) from batches") == 301
    account = await account_store.find_account(deployment.db, "alice")
    assert account is not None
    assert account.images_in_flight == 301
