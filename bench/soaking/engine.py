"""An engine that uses little CPU time and memory, so that the soak test measures the server. It can leak on request."""

import asyncio
import re
import threading
from collections.abc import AsyncIterator
from typing import Any

import numpy as np

from framehouse.domain.errors import Broken, Declined
from framehouse.engines.interface import Abilities, Batch, GeneratedImage, Progress


class Quick:
    """Generates images of one colour.

    Words of the prompt select the behaviour: `decline`, `break`, and `slow N` for N seconds. `leak` adds a leak per
    image: `images` keeps the whole image, `little` 20 kB of memory, `files` an open file, `threads` a thread.
    """

    def __init__(self, *, leak: str = "") -> None:
        self._leak = leak
        self._leaked: list[Any] = []

    def abilities(self) -> Abilities:
        return Abilities(max_references=10, max_batch=3, concurrency=16)

    async def generate(self, batch: Batch) -> AsyncIterator[GeneratedImage | Progress]:
        for shot in batch.shots:
            if "decline" in shot.prompt:
                raise Declined("the engine declines this prompt")
            if "break" in shot.prompt:
                raise Broken("the engine returned an invalid answer")
            slow = re.search(r"slow (\d+)", shot.prompt)
            for step in range(5):
                yield Progress(step / 5)
                await asyncio.sleep((int(slow[1]) if slow else 0.2) / 5)
            pixels = np.full((batch.size.height, batch.size.width, 3), shot.seed % 256, np.uint8)
            self._add_leak(pixels)
            yield GeneratedImage(shot.index, pixels, {})

    def _add_leak(self, pixels: Any) -> None:
        match self._leak:
            case "images":
                self._leaked.append(pixels)
            case "little":
                self._leaked.append(bytearray(20_000))
            case "files":
                self._leaked.append(open(__file__))  # noqa: SIM115, PTH123 - this is the leak
            case "threads":
                threading.Thread(target=threading.Event().wait, daemon=True).start()

    async def close(self) -> None:
        """Do nothing: a leak must stay."""
