"""Statements shared by whoever comes meanwhile: while one is under way, those who ask gather for the next one."""

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from framehouse.adapters.postgres.pool import DatabaseAway

Question = TypeVar("Question")
Answer = TypeVar("Answer")
MOST = 64
FEW = 8


class Coalesced(Generic[Question, Answer]):
    """One statement, `ask`, answers the questions of many callers, in their order.

    A lone caller waits for nobody, each waits for the statement that has his own question, and one who goes away takes
    nobody along. A statement that fails is tried with each question by itself, so that none pays for its neighbour;
    `ask` must bear that it runs twice.

    `by_halves` is for statements that keep the database as busy as the requests keep this process: of more than a few,
    half go first, and are answered while the database works for the others.
    """

    def __init__(
        self, ask: Callable[[Sequence[Question]], Awaitable[Sequence[Answer]]], *, by_halves: bool = False
    ) -> None:
        self._ask = ask
        self._by_halves = by_halves
        self._waiting: list[tuple[Question, asyncio.Future[Answer]]] = []
        self._task: asyncio.Task[None] | None = None

    async def __call__(self, question: Question) -> Answer:
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((question, future))
        if self._task is None or self._task.done():
            # in no caller's context: what it logs is not about the request that happened to come first
            self._task = asyncio.create_task(self._run(), context=contextvars.Context())
        return await future

    async def _run(self) -> None:
        while self._waiting:
            await self._gather()
            size = min(MOST, max(FEW, (len(self._waiting) + 1) // 2)) if self._by_halves else MOST
            group, self._waiting = self._waiting[:size], self._waiting[size:]
            await self._settle(group)

    async def _gather(self) -> None:
        """Let the event loop turn for as long as each turn brings another caller: he is here already, only unread."""
        seen = 0
        while seen < len(self._waiting) < MOST:
            seen = len(self._waiting)
            await asyncio.sleep(0)

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
