"""A test engine that returns the edited image without any change, at the size that an inpainting model would have."""

import asyncio
from collections.abc import AsyncIterator

import numpy as np

from framehouse.engines.expansion_canvas import canvas_size
from framehouse.engines.interface import Abilities, Batch, GeneratedImage, Progress
from framehouse.engines.masked_canvas import draw_masked_canvas


class Echo:
    """An engine for edits with a mask."""

    def abilities(self) -> Abilities:
        return Abilities(max_references=1, masks=True)

    async def generate(self, batch: Batch) -> AsyncIterator[GeneratedImage | Progress]:
        size = canvas_size(batch.size, max_pixels=1024 * 1024)
        canvas, _ = await asyncio.to_thread(draw_masked_canvas, batch, size)
        for shot in batch.shots:
            yield GeneratedImage(shot.index, np.asarray(canvas))

    async def close(self) -> None:
        """Do nothing: there is nothing to close."""
