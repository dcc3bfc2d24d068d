"""A minimal example of an engine, with the code of docs/writing-an-engine.md. Each image has one shade of grey."""

from collections.abc import AsyncIterator

import numpy as np

from framehouse.engines.interface import Abilities, Batch, GeneratedImage, Progress


class Plain:
    def __init__(self, *, grey: int = 128) -> None:  # the options of the route
        self._grey = grey

    def abilities(self) -> Abilities:
        return Abilities(max_references=0, max_batch=4, source_type="algorithmicMedia")

    async def generate(self, batch: Batch) -> AsyncIterator[GeneratedImage | Progress]:
        for done, shot in enumerate(batch.shots):
            yield Progress(done / len(batch.shots))
            shade = (self._grey + shot.seed) % 256
            yield GeneratedImage(shot.index, np.full((batch.size.height, batch.size.width, 3), shade, np.uint8))

    async def close(self) -> None:
        """Do nothing: there is nothing to close."""
