"""The engine: panels drawn in a thread, one after the other, and the sandbox that client teams test against."""

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from framehouse.domain.errors import Broken, Declined
from framehouse.domain.shot import Shot
from framehouse.engines.interface import Abilities, Batch, GeneratedImage, Progress
from framehouse.engines.previz.sandbox import behaviour, refusal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_STEP_S = 0.2


class Previz:
    """Needs nothing and takes no options."""

    def abilities(self) -> Abilities:
        return Abilities(max_references=10, max_batch=1, refusal=refusal)

    async def generate(self, batch: Batch) -> AsyncIterator[GeneratedImage | Progress]:
        for done, shot in enumerate(batch.shots):
            yield Progress(done / len(batch.shots))
            asked = behaviour(shot.prompt)
            for step in range(round(asked.slow_s / _STEP_S)):
                await asyncio.sleep(_STEP_S)
                yield Progress((done + min(0.95, (step + 1) * _STEP_S / asked.slow_s)) / len(batch.shots))
            if asked.decline or asked.refuse:
                raise Declined(asked.refuse or "declined, as the prompt asks the sandbox to")
            if asked.fail_image in (0, shot.index + 1):
                raise Broken("failed, as the prompt asks the sandbox to")
            pixels = await asyncio.to_thread(_drawn, shot, batch)
            yield GeneratedImage(shot.index, pixels, {"preview": "a drawn storyboard panel, not a model's picture"})

    async def close(self) -> None:
        """Nothing is open."""


def _drawn(shot: Shot, batch: Batch) -> "NDArray[np.uint8]":
    from framehouse.engines.previz.panel import draw_panel  # here, for only who draws needs it, not the API

    return draw_panel(shot, batch.image_count, batch.size, batch.references, batch.elements)
