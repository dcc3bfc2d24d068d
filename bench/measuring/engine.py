"""An engine that returns its image immediately, so that measurements contain everything except the generation."""

from collections.abc import AsyncIterator

import numpy as np

from framehouse.engines.interface import Abilities, Batch, GeneratedImage, Progress
from measuring.photo import photo


class Instant:
    """Returns the same photo-like image for every shot of a size."""

    def __init__(self) -> None:
        self._photos: dict[tuple[int, int], np.ndarray[tuple[int, ...], np.dtype[np.uint8]]] = {}

    def abilities(self) -> Abilities:
        return Abilities(max_references=10, max_batch=1, concurrency=16)

    async def generate(self, batch: Batch) -> AsyncIterator[GeneratedImage | Progress]:
        size = (batch.size.width, batch.size.height)
        if size not in self._photos:
            self._photos[size] = photo(*size)
        for shot in batch.shots:
            yield GeneratedImage(shot.index, self._photos[size], {})

    async def close(self) -> None:
        """Do nothing: the engine has no open resources."""
