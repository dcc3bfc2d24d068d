"""The previz engine. It draws panels one after another in a thread, and obeys the sandbox triggers in a prompt."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from framehouse.domain.errors import Broken, Declined, Postponed
from framehouse.domain.model import accept_every_prompt
from framehouse.domain.shot import Shot
from framehouse.engines.interface import Abilities, Batch, GeneratedImage, Progress
from framehouse.engines.option_checks import BadOption
from framehouse.engines.previz.sandbox import Behaviour, behaviour, refusal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_STEPS = 10
"""The maximum number of steps into which a simulated wait is divided. Progress is reported after each step."""
_SHORTEST_STEP_S = 1.0


class Previz:
    """An engine that draws storyboard panels. It needs no model and no server.

    If `sandbox` is false, the engine ignores the sandbox triggers in prompts.
    """

    def __init__(self, *, sandbox: bool = True) -> None:
        if not isinstance(sandbox, bool):
            raise BadOption("sandbox must be true or false")
        self._sandbox = sandbox

    def abilities(self) -> Abilities:
        return Abilities(
            max_references=10,
            max_batch=1,
            negative_prompts=True,
            expansions=True,
            masks=True,
            masked_references=10,
            source_type="algorithmicMedia",
            refusal=refusal if self._sandbox else accept_every_prompt,
        )

    async def generate(self, batch: Batch) -> AsyncIterator[GeneratedImage | Progress]:
        for done, shot in enumerate(batch.shots):
            requested = behaviour(shot.prompt) if self._sandbox else Behaviour()
            waited_s = await _waited_s(shot, batch, requested.slow_s)
            yield Progress((done + waited_s / (requested.slow_s + 1)) / len(batch.shots))
            if waited_s < requested.slow_s:
                step_s = max(_SHORTEST_STEP_S, requested.slow_s / _STEPS)
                raise Postponed(min(requested.slow_s - waited_s, step_s))
            if requested.decline or requested.refuse:
                raise Declined(requested.refuse or "declined, because the prompt contains a sandbox trigger")
            if requested.fail_image in (0, shot.index + 1):
                raise Broken("failed, because the prompt contains a sandbox trigger")
            pixels = await asyncio.to_thread(_draw, shot, batch)
            facts: dict[str, object] = {"preview": "a drawn storyboard panel, not an image from a model"}
            if batch.box and batch.prompt:
                facts["not_used"] = "prompt"
            yield GeneratedImage(shot.index, pixels, facts)

    async def close(self) -> None:
        """Do nothing, because there is nothing to close."""


async def _waited_s(shot: Shot, batch: Batch, slow_s: float) -> float:
    """Return how many seconds a shot has waited, at most `slow_s`. The open order stores the start of the wait.

    If the batch has no open order, as in tests of the engine, this function itself sleeps for `slow_s` seconds.
    """
    order = batch.open_order
    if order is None:
        await asyncio.sleep(slow_s)
    if order is None or not slow_s:
        return slow_s
    if order.data.get("shot") != shot.index:
        await order.save({"shot": shot.index, "since": time.time()})
    return min(slow_s, max(0.0, time.time() - float(order.data["since"])))


def _draw(shot: Shot, batch: Batch) -> "NDArray[np.uint8]":
    # imported here, because the API process never draws
    from framehouse.engines.previz.expand import expand_image
    from framehouse.engines.previz.masked_edit import edit_image
    from framehouse.engines.previz.panel import draw_panel

    if batch.box:
        return expand_image(batch.references[0].content, batch.size, batch.box, shot.seed)
    if batch.mask:
        return edit_image(shot, batch)
    negative = batch.options.negative_prompt
    return draw_panel(shot, batch.image_count, batch.size, batch.references, batch.elements, negative_prompt=negative)
