"""An engine that records the names of the routes that called it, and two routes that need different labels."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from framehouse.domain.errors import Declined, Unavailable, Unknown
from framehouse.engines.interface import Abilities, Batch, GeneratedImage, Progress

MODEL = "kling-v3-omni"

NAMED_ENGINE = "tests.support.named_engine:NamedEngine"

H100, SITE_A = {"gpu": "h100"}, {"site": "a"}


class NamedEngine:
    """Records each call in `calls`. Two words in a prompt, a failure and a route, select the failure of that route.

    - "away gpu": the engine is unavailable.
    - "decline gpu": the engine declines the prompt.
    - "order gpu": the first call saves an open order, and its answer is lost.
    - "hang gpu": the first call saves an open order and takes an hour.
    - "lose gpu": the engine gives up its open order, and the route is excluded for this batch.

    `notes` is a file that gets a line per call: the route, the pid and the id of the open order, or "-".
    """

    calls: ClassVar[list[str]] = []

    def __init__(self, *, called: str, max_references: int = 10, notes: str = "") -> None:
        self._route_name = called
        self._notes = Path(notes) if notes else None
        self._max_references = max_references

    def abilities(self) -> Abilities:
        return Abilities(max_references=self._max_references)

    async def generate(self, batch: Batch) -> AsyncIterator[GeneratedImage | Progress]:
        assert batch.open_order is not None
        self.calls.append(self._route_name)
        if self._notes:
            with self._notes.open("a") as file:
                file.write(f"{self._route_name} {os.getpid()} {batch.open_order.data.get('order', '-')}\n")
        yield Progress(0)
        if f"away {self._route_name}" in batch.prompt:
            raise Unavailable(f"{self._route_name} is away")
        if f"lose {self._route_name}" in batch.prompt:
            await batch.open_order.give_up("it is not sent again")
            raise Unavailable("it is not sent again")
        if f"decline {self._route_name}" in batch.prompt:
            raise Declined("no")
        if f"order {self._route_name}" in batch.prompt and not batch.open_order.data:
            await batch.open_order.save({"order": "x"})
            raise Unknown("the answer was lost")
        if f"hang {self._route_name}" in batch.prompt and not batch.open_order.data:
            await batch.open_order.save({"order": "x"})
            await asyncio.sleep(3600)
        shape = (batch.size.height, batch.size.width, 3)
        yield GeneratedImage(batch.shots[0].index, np.zeros(shape, np.uint8))

    async def close(self) -> None:
        """Do nothing: there is nothing to close."""


def route(name: str, needs: dict[str, str] | None = None, **options: Any) -> dict[str, object]:
    return {"engine": NAMED_ENGINE, "called": name, "name": name, "needs": needs or {}} | options


GPU, API = route("gpu", H100), route("api", SITE_A)
