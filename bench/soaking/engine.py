"""An engine that costs next to nothing, so that what is measured is the server. It can leak on purpose."""

import asyncio
import re
import threading
from collections.abc import AsyncIterator
from typing import Any

import numpy as np

from framehouse.domain.errors import Broken, Declined
from framehouse.engines.interface import Abilities, Batch, GeneratedImage, Progress


class Quick:
    """Paints one colour. Words of the prompt make it decline, break, or take as many seconds as follow "slow".

    `leak`: keeps each picture, keeps little of each (20 kB), leaves a file open per picture, or a thread per picture.
    """

    def __init__(self, *, leak: str = "") -> None:
        self._leak = leak
        self._kept: list[Any] = []

    def abilities(self) -> Abilities:
        return Abilities(max_references=10, max_batch=3, concurrency=16)

    async def generate(self, batch: Batch) -> AsyncIterator[GeneratedImage | Progress]:
        for shot in batch.shots:
            if "decline" in shot.prompt:
                raise Declined("the engine will not paint this")
            if "break" in shot.prompt:
                raise Broken("the engine returned nonsense")
            slow = re.search(r"slow (\d+)", shot.prompt)
            for step in range(5):
                yield Progress(step / 5)
                await asyncio.sleep((int(slow[1]) if slow else 0.2) / 5)
            pixels = np.full((batch.size.height, batch.size.width, 3), shot.seed % 256, np.uint8)
            self._keep(pixels)
            yield GeneratedImage(shot.index, pixels, {})

    def _keep(self, pixels: Any) -> None:
        match self._leak:
            case "pictures":
                self._kept.append(pixels)
            case "little":
                self._kept.append(bytearray(20_000))
            case "files":
                self._kept.append(open(__file__))  # noqa: SIM115, PTH123 - that is the leak
            case "threads":
                threading.Thread(target=threading.Event().wait, daemon=True).start()

    async def close(self) -> None:
        """Nothing is open, but for leaks."""
