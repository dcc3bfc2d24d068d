"""Simultaneous requests to endpoints that need no key share one call."""

import asyncio

import pytest

from framehouse.entrypoints.api.shared_call import SharedCall
from tests.support.api_server import Api


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
