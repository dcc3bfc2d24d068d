"""The engine: panels drawn in a thread, one after the other."""

import asyncio
from collections.abc import AsyncIterator

from framehouse.adapters.engines.base import Abilities, Batch, Painted, Progress
from framehouse.adapters.engines.previz.panel import draw_panel


class Previz:
    """Needs nothing and takes no options."""

    def abilities(self) -> Abilities:
        return Abilities(max_references=10, max_batch=1)

    async def paint(self, batch: Batch) -> AsyncIterator[Painted | Progress]:
        for done, shot in enumerate(batch.shots):
            yield Progress(done / len(batch.shots))
            pixels = await asyncio.to_thread(draw_panel, shot, batch.image_count, batch.size, batch.references)
            yield Painted(shot.index, pixels, {"preview": "a drawn storyboard panel, not a model's picture"})

    async def close(self) -> None:
        """Nothing is open."""
