"""The kling engine, in a process that is killed between any two of its steps: for the chaos test alone."""

import os
import random
import signal
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from framehouse.engines.interface import Batch, GeneratedImage, OpenOrder, Progress
from framehouse.engines.kling import Kling
from framehouse.engines.kling.upstream import Upstream

STEPS = (
    "before the note",
    "after the note, before the order",
    "after the order, before its answer is noted",
    "after its answer is noted",
    "before asking",
    "after asking",
    "after a picture was fetched",
    "after a picture was kept",
)


class Dying(Kling):
    """`deaths` is a file that gets a line per death. A process dies at the `at`-th time that it comes to a step, or by
    chance if that is 0; there are at most `most` deaths of each step."""

    def __init__(self, *, deaths: str, most: int, at: int, **options: Any) -> None:
        super().__init__(**options)
        self._deaths = Path(deaths)
        self._most = most
        self._at = at
        self._times: Counter[str] = Counter()
        self._upstream.__class__ = _DyingUpstream
        vars(self._upstream)["step"] = self.step

    def step(self, name: str) -> None:
        """Perhaps the last one."""
        assert name in STEPS
        before = self._deaths.read_text().splitlines() if self._deaths.exists() else []
        self._times[name] += 1
        due = self._times[name] == self._at if self._at else random.random() < 0.03
        if due and before.count(name) < self._most:
            with self._deaths.open("a") as file:
                file.write(f"{name}\n")
            os.kill(os.getpid(), signal.SIGKILL)

    async def generate(self, batch: Batch) -> AsyncIterator[GeneratedImage | Progress]:
        assert batch.open_order is not None
        async for event in super().generate(replace(batch, open_order=_DyingOrder(batch.open_order, self))):
            if isinstance(event, GeneratedImage):
                self.step("after a picture was fetched")
            yield event
            if isinstance(event, GeneratedImage):
                self.step("after a picture was kept")


class _DyingUpstream(Upstream):
    async def submit(self, *values: Any) -> Any:
        vars(self)["step"]("after the note, before the order")
        answer = await super().submit(*values)
        vars(self)["step"]("after the order, before its answer is noted")
        return answer

    async def find(self, *values: Any) -> Any:
        vars(self)["step"]("before asking")
        answer = await super().find(*values)
        vars(self)["step"]("after asking")
        return answer


class _DyingOrder:
    def __init__(self, open_order: OpenOrder, engine: Dying) -> None:
        self._open_order = open_order
        self._engine = engine

    def __getattr__(self, name: str) -> Any:
        return getattr(self._open_order, name)

    async def save(self, data: Mapping[str, Any]) -> None:
        taken = any(order["task_id"] for order in data.get("orders", []))
        if data and not taken:
            self._engine.step("before the note")
        await self._open_order.save(data)
        if taken:
            self._engine.step("after its answer is noted")
