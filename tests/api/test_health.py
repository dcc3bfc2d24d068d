"""What anybody may ask costs no more than once."""

import asyncio

import pytest

from framehouse.entrypoints.api.shared_call import SharedCall
from tests.support.api_server import Api


async def test_many_who_ask_cost_one_look() -> None:
    looks = 0
    go_on = asyncio.Event()

    async def look() -> int:
        nonlocal looks
        looks += 1
        await go_on.wait()
        if looks == 2:
            raise LookupError
        return looks

    ask = SharedCall(look)
    asking = [asyncio.create_task(ask()) for _ in range(50)]
    await asyncio.sleep(0)
    asking.pop().cancel()
    go_on.set()
    assert set(await asyncio.gather(*asking)) == {1}, "who goes away takes nobody along"
    with pytest.raises(LookupError):
        await ask()
    assert await ask() == 3


async def test_everybody_is_answered(api: Api) -> None:
    for path in ("/readyz", "/metrics"):
        answers = await asyncio.gather(*(api.anonymous.get(path) for _ in range(50)))
        assert {answer.status_code for answer in answers} == {200}
        assert len({answer.headers["x-request-id"] for answer in answers}) == 50
