"""Statements shared by whoever comes meanwhile: while some are under way, those who ask gather for the next one."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from framehouse.adapters.postgres.pool import DatabaseAway

Question = TypeVar("Question")
Answer = TypeVar("Answer")
_MOST = 64


class Grouped(Generic[Question, Answer]):
    """One statement, `ask`, answers the questions of many callers, in their order.

    A lone caller waits for nobody, each waits for the statement that has his own question, and one who goes away takes
    nobody along. A statement that fails is tried with each question by itself, so that none pays for its neighbour;
    `ask` must bear that it runs twice.
    """

    def __init__(
        self, ask: Callable[[Sequence[Question]], Awaitable[Sequence[Answer]]], *, most: int = _MOST, at_once: int = 1
    ) -> None:
        self._ask = ask
        self._most = most
        self._at_once = at_once
        self._waiting: list[tuple[Question, asyncio.Future[Answer]]] = []
        self._running = 0
        self._tasks: set[asyncio.Task[None]] = set()  # which nobody else would keep alive

    async def __call__(self, question: Question) -> Answer:
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((question, future))
        if self._running < self._at_once:
            self._running += 1
            task = asyncio.create_task(self._run())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return await future

    async def _run(self) -> None:
        try:
            while self._waiting:
                group, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
                await self._settle(group)
        finally:
            self._running -= 1

    async def _settle(self, group: list[tuple[Question, asyncio.Future[Answer]]]) -> None:
        try:
            answers = await self._ask([question for question, _ in group])
        except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to the callers
            if len(group) > 1 and not isinstance(error, DatabaseAway):
                for alone in group:
                    await self._settle([alone])
                return
            for _, future in group:
                if not future.done():
                    future.set_exception(error)
            return
        for (_, future), answer in zip(group, answers, strict=True):
            if not future.done():
                future.set_result(answer)
