"""An engine that has its picture at once: what is measured is everything else."""

from collections.abc import AsyncIterator

import numpy as np

from framehouse.engines.interface import Abilities, Batch, GeneratedImage, Progress
from measuring.photo import photo


class Instant:
    """Paints a photo, by nobody's hand: the same one for each size."""

    def __init__(self) -> None:
        self._made: dict[tuple[int, int], np.ndarray[tuple[int, ...], np.dtype[np.uint8]]] = {}

    def abilities(self) -> Abilities:
        return Abilities(max_references=10, max_batch=1, concurrency=16)

    async def generate(self, batch: Batch) -> AsyncIterator[GeneratedImage | Progress]:
        size = (batch.size.width, batch.size.height)
        if size not in self._made:
            self._made[size] = photo(*size)
        for shot in batch.shots:
            yield GeneratedImage(shot.index, self._made[size], {})

    async def close(self) -> None:
        """Nothing is open."""
