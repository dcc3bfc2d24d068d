"""Two engines for a series: one generates only from text, and the other only from references or a first image."""

from collections.abc import AsyncIterator
from typing import ClassVar

import numpy as np

from framehouse.domain.errors import Unavailable
from framehouse.engines.interface import Abilities, Batch, GeneratedImage, Progress

TEXT, EDIT = "tests.support.series_engines:TextEngine", "tests.support.series_engines:EditEngine"


class TextEngine:
    """Generates red images. `calls` contains the indexes of the shots of each call."""

    calls: ClassVar[list[list[int]]] = []

    def abilities(self) -> Abilities:
        return Abilities(max_references=0)

    async def generate(self, batch: Batch) -> AsyncIterator[GeneratedImage | Progress]:
        self.calls.append([shot.index for shot in batch.shots])
        for shot in batch.shots:
            yield GeneratedImage(shot.index, np.full((64, 64, 3), (200, 0, 0), np.uint8), {"by": "text"})

    async def close(self) -> None:
        """Do nothing: there is nothing to close."""


class EditEngine:
    """Generates images in a darker colour than the first image. Generates nothing from text alone.

    `calls` contains the indexes of the shots of each call.
    """

    calls: ClassVar[list[list[int]]] = []

    def abilities(self) -> Abilities:
        return Abilities(max_references=3, whole_series=True, needs_reference=True)

    async def generate(self, batch: Batch) -> AsyncIterator[GeneratedImage | Progress]:
        self.calls.append([shot.index for shot in batch.shots])
        source = batch.first_frame or next(iter(batch.references), None)
        if source is None:
            raise Unavailable("this engine generates only from references")
        for shot in batch.shots:
            yield GeneratedImage(shot.index, np.full((64, 64, 3), (100, 0, 0), np.uint8), {"by": "edit"})

    async def close(self) -> None:
        """Do nothing: there is nothing to close."""
