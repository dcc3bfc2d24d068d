"""A test engine that misbehaves on request. The engine can log the start and the end of each generation."""

import asyncio
import os
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np

from framehouse.domain.errors import Broken, Declined, Unavailable, Unknown
from framehouse.engines.interface import Abilities, Batch, GeneratedImage, Progress


class Misbehaving:
    """An engine that fills each image with a single shade of grey. Certain words in the prompt cause faults.

    The methods `_misbehave` and `generate` define these words and the faults that they cause.

    `notes` is the path of a log file. The engine writes the line "start <task> <index>" before it generates an image,
    and the line "done <task> <index>" afterwards. If a batch has elements, the engine first writes the line "with
    <name>|<description>|<sizes of the image files in bytes> …". `seconds` is the time per image.
    """

    def __init__(self, *, notes: str = "", max_batch: int = 1, max_references: int = 10, seconds: float = 0.0) -> None:
        self._log_path = Path(notes) if notes else None
        self._max_batch = max_batch
        self._max_references = max_references
        self._seconds = seconds
        self._unavailable: dict[str, int] = {}

    def abilities(self) -> Abilities:
        return Abilities(max_references=self._max_references, max_batch=self._max_batch)

    async def generate(self, batch: Batch) -> AsyncIterator[GeneratedImage | Progress]:
        if batch.elements and self._log_path:
            elements = [f"{e.name}|{e.description}|{[len(i.content) for i in e.images]}" for e in batch.elements]
            with self._log_path.open("a") as file:
                file.write(f"with {' '.join(elements)}\n")
        for shot in batch.shots:
            self._log("start", batch, shot.index)
            self._misbehave(shot.prompt, batch)
            slow = re.search(r"slow (\d+(?:\.\d+)?)", shot.prompt)
            seconds = float(slow[1]) if slow else self._seconds
            for step in range(10):
                yield Progress(step / 10)
                await asyncio.sleep(seconds / 10)
            if "hang" in shot.prompt:
                await asyncio.sleep(3600)
            if "leave out" in shot.prompt and shot.index == batch.image_count - 1:
                return
            self._log("done", batch, shot.index)
            index = shot.index + 7 if "wrong index" in shot.prompt else shot.index
            value = (shot.seed * 37 + shot.index * 50) % 256
            height, width = (64, 48) if "odd size" in shot.prompt else (batch.size.height, batch.size.width)
            yield GeneratedImage(index, np.full((height, width, 3), value, np.uint8), {"misbehaving": True})

    def _misbehave(self, prompt: str, batch: Batch) -> None:
        if "decline" in prompt:
            raise Declined("the engine refuses to generate this")
        if "break" in prompt:
            raise Broken("the engine returned invalid data")
        if "unknown" in prompt:
            raise Unknown("the connection was lost")
        if "raise" in prompt:
            raise ZeroDivisionError("not meant to happen")
        if "crash" in prompt:
            os._exit(66)
        if "block" in prompt:
            time.sleep(0.5)
        if "freeze" in prompt:
            time.sleep(3600)
        if match := re.search(r"unavailable (\d+)", prompt):
            calls = self._unavailable[batch.task_id] = self._unavailable.get(batch.task_id, 0) + 1
            if calls <= int(match[1]):
                raise Unavailable("the engine is busy")

    def _log(self, event: str, batch: Batch, index: int) -> None:
        if self._log_path:
            with self._log_path.open("a") as file:
                file.write(f"{event} {batch.task_id} {index}\n")

    async def close(self) -> None:
        """Do nothing: there is nothing to close."""
