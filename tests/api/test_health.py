"""The health endpoints. Simultaneous requests to endpoints that need no key share one call."""

import asyncio

import pytest

from framehouse.adapters.postgres.advisory_locks import WORKER_LOCKS
from framehouse.adapters.postgres.pool import Database
from framehouse.adapters.postgres.route_health import RouteCheck, RouteHealth, list_route_health, report_route_health
from framehouse.entrypoints.api import dependency_checks, health_endpoints
from framehouse.entrypoints.api.shared_call import SharedCall
from tests.support.api_server import SHORT_CHECK_S, Api
from tests.support.eventually import eventually


async def test_simultaneous_callers_share_one_call() -> None:
    calls = 0
    resume = asyncio.Event()

    async def count_call() -> int:
        nonlocal calls
        calls += 1
        await resume.wait()
        if calls == 2:
            raise LookupError
        return calls

    shared_call = SharedCall(count_call)
    waiting = [asyncio.create_task(shared_call()) for _ in range(50)]
    await asyncio.sleep(0)
    waiting.pop().cancel()
    resume.set()
    assert set(await asyncio.gather(*waiting)) == {1}, "a cancelled caller does not cancel the shared call"
    with pytest.raises(LookupError):
        await shared_call()
    assert await shared_call() == 3


async def test_simultaneous_health_requests_are_all_answered(api: Api) -> None:
    for path in ("/readyz", "/metrics"):
        answers = await asyncio.gather(*(api.anonymous.get(path) for _ in range(50)))
        assert {answer.status_code for answer in answers} == {200}
        assert len({answer.headers["x-request-id"] for answer in answers}) == 50


async def test_an_unavailable_database_is_reported_before_all_retries_have_failed(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cancellation of a statement on a hung connection takes seconds, too."""

    async def hang(*_: object, **__: object) -> None:
        try:
            await asyncio.sleep(30)
        finally:
            await asyncio.sleep(30)

    monkeypatch.setattr(dependency_checks, "_DATABASE_TIMEOUT_S", SHORT_CHECK_S)
    monkeypatch.setattr(api.deployment.db, "value", hang)
    for path, text in (("/readyz", '"database":"away"'), ("/metrics", "framehouse_database_up 0.0")):
        answer = await asyncio.wait_for(api.anonymous.get(path), 15)
        assert text in answer.text


async def test_reports_of_dead_workers_are_ignored(api: Api) -> None:
    db = api.deployment.db
    await report_route_health(db, 4242, [RouteCheck("kling-v3-omni", "gpu", "", True, "has no dependencies")])
    assert await list_route_health(db) == []
    async with db._connection() as worker:
        await worker.execute("select pg_advisory_lock($1, 4242)", WORKER_LOCKS)
        assert [(health.route, health.healthy) for health in await list_route_health(db)] == [("gpu", 1)]

    async def ignored() -> bool:
        return await list_route_health(db) == []

    await eventually(ignored)  # PostgreSQL may release the lock later


async def test_a_route_is_partly_away_if_something_that_it_depends_on_is_healthy(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    def health(route: str, subject: str, healthy: int, unhealthy: int) -> RouteHealth:
        return RouteHealth("kling-v3-omni", route, subject, healthy, unhealthy, "reason")

    async def results(_db: Database) -> list[RouteHealth]:
        return [
            health("ok", "a", 2, 0),
            health("partly", "a", 0, 2),
            health("partly", "b", 1, 0),
            health("one worker", "a", 1, 1),
            health("away", "a", 0, 1),
            health("away", "b", 0, 2),
        ]

    monkeypatch.setattr(health_endpoints, "list_route_health", results)
    routes = (await api.anonymous.get("/readyz")).json()["engines"]["kling-v3-omni"]
    expected = {"ok": "ok", "partly": "partly away", "one worker": "partly away", "away": "away"}
    assert {name: routes[name] for name in expected} == expected
