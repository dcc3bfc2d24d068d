"""Long polls of one account do not delay the requests of other accounts."""

import asyncio
from contextlib import ExitStack
from typing import Any, cast
from uuid import uuid4

from framehouse.entrypoints.api.long_poll import LongPolls


async def test_the_requests_of_one_task_are_woken_a_few_at_a_time() -> None:
    polls = LongPolls(cast("Any", None), max_waiting=10_000)
    task, other_task = uuid4(), uuid4()
    waking = asyncio.create_task(polls._wake())
    with ExitStack() as watched:
        many = [watched.enter_context(polls.watch(task, 1)) for _ in range(100)]
        other = watched.enter_context(polls.watch(other_task, 2))
        polls._wake_watchers(task)
        woken_at_once = 0
        for _ in range(3):  # the events are set in the next turn of the event loop
            await asyncio.sleep(0)
            woken_at_once = sum(event.is_set() for event in many)
        assert 0 < woken_at_once <= 10
        polls._wake_watchers(other_task)
        await asyncio.wait_for(other.wait(), 20)
        assert not all(event.is_set() for event in many), "the other account waited for all these requests"
        await asyncio.wait_for(asyncio.gather(*(event.wait() for event in many)), 20)
    waking.cancel()


async def test_all_requests_are_woken_when_the_server_stops() -> None:
    polls = LongPolls(cast("Any", None), max_waiting=10_000)
    with polls.watch(uuid4(), 1) as first, polls.watch(uuid4(), 2) as second:
        polls.wake_all()
        assert first.is_set() and second.is_set()
