"""The kling engine in a process that kills itself between any two steps. Only the chaos test uses it."""

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
    "before the record is saved",
    "after the record is saved, before the order",
    "after the order, before its answer is saved",
    "after the answer is saved",
    "before the query",
    "after the query",
    "after an image was fetched",
    "after an image was saved",
)


class CrashingKling(Kling):
    """A process kills itself when it reaches a step for the `at_visit`-th time, or at random if `at_visit` is 0.

    All processes together crash at most `max_crashes` times at each step. The file `crashes` gets the name of the step
    for each crash.
    """

    def __init__(self, *, crashes: str, max_crashes: int, at_visit: int, **options: Any) -> None:
        super().__init__(**options)
        self._crashes = Path(crashes)
        self._max_crashes = max_crashes
        self._at_visit = at_visit
        self._visits: Counter[str] = Counter()
        self._upstream.__class__ = _CrashingUpstream
        vars(self._upstream)["step"] = self.step

    def step(self, name: str) -> None:
        """Kill this process if a crash is due at this step."""
        assert name in STEPS
        crashes = self._crashes.read_text().splitlines() if self._crashes.exists() else []
        self._visits[name] += 1
        due = self._visits[name] == self._at_visit if self._at_visit else random.random() < 0.03
        if due and crashes.count(name) < self._max_crashes:
            with self._crashes.open("a") as file:
                file.write(f"{name}\n")
            os.kill(os.getpid(), signal.SIGKILL)

    async def generate(self, batch: Batch) -> AsyncIterator[GeneratedImage | Progress]:
        assert batch.open_order is not None
        async for event in super().generate(replace(batch, open_order=_CrashingOrder(batch.open_order, self))):
            if isinstance(event, GeneratedImage):
                self.step("after an image was fetched")
            yield event
            if isinstance(event, GeneratedImage):
                self.step("after an image was saved")


class _CrashingUpstream(Upstream):
    async def submit(self, *values: Any) -> Any:
        vars(self)["step"]("after the record is saved, before the order")
        answer = await super().submit(*values)
        vars(self)["step"]("after the order, before its answer is saved")
        return answer

    async def find(self, *values: Any) -> Any:
        vars(self)["step"]("before the query")
        answer = await super().find(*values)
        vars(self)["step"]("after the query")
        return answer


class _CrashingOrder:
    def __init__(self, open_order: OpenOrder, engine: CrashingKling) -> None:
        self._open_order = open_order
        self._engine = engine

    def __getattr__(self, name: str) -> Any:
        return getattr(self._open_order, name)

    async def save(self, data: Mapping[str, Any]) -> None:
        accepted = any(order["task_id"] for order in data.get("orders", []))
        if data and not accepted:
            self._engine.step("before the record is saved")
        await self._open_order.save(data)
        if accepted:
            self._engine.step("after the answer is saved")
