"""The previz engine. It draws panels one after another in a thread, and executes the sandbox triggers in a prompt."""

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
    """An engine that draws storyboard panels. The engine needs no model and no server, and has no options."""

    def abilities(self) -> Abilities:
        return Abilities(max_references=10, max_batch=1, negative_prompts=True, expansions=True, refusal=refusal)

    async def generate(self, batch: Batch) -> AsyncIterator[GeneratedImage | Progress]:
        for done, shot in enumerate(batch.shots):
            yield Progress(done / len(batch.shots))
            requested = behaviour(shot.prompt)
            for step in range(round(requested.slow_s / _STEP_S)):
                await asyncio.sleep(_STEP_S)
                yield Progress((done + min(0.95, (step + 1) * _STEP_S / requested.slow_s)) / len(batch.shots))
            if requested.decline or requested.refuse:
                raise Declined(requested.refuse or "declined, because the prompt contains a sandbox trigger")
            if requested.fail_image in (0, shot.index + 1):
                raise Broken("failed, because the prompt contains a sandbox trigger")
            pixels = await asyncio.to_thread(_draw, shot, batch)
            yield GeneratedImage(shot.index, pixels, {"preview": "a drawn storyboard panel, not an image from a model"})

    async def close(self) -> None:
        """Do nothing, because there is nothing to close."""


def _draw(shot: Shot, batch: Batch) -> "NDArray[np.uint8]":
    # imported here, because the API process never draws
    from framehouse.engines.previz.expand import expand_image
    from framehouse.engines.previz.panel import draw_panel

    if batch.box:
        return expand_image(batch.references[0].content, batch.size, batch.box, shot.seed)
    negative = batch.options.negative_prompt
    return draw_panel(shot, batch.image_count, batch.size, batch.references, batch.elements, negative_prompt=negative)
