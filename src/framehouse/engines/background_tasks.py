"""Asyncio tasks that an engine starts without waiting for them, such as the cancellation of an order."""

import asyncio
from collections.abc import Coroutine
from typing import Any


class BackgroundTasks:
    """The asyncio tasks of an engine that run in the background."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Start an asyncio task without waiting for it to finish. `finish` waits for this task."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def __len__(self) -> int:
        return len(self._tasks)

    async def finish(self, timeout_s: float) -> None:
        """Wait up to `timeout_s` seconds for the tasks, then cancel the remaining tasks."""
        if self._tasks:
            _, unfinished = await asyncio.wait(self._tasks, timeout=timeout_s)
            for task in unfinished:
                task.cancel()
            await asyncio.gather(*unfinished, return_exceptions=True)
