"""An engine whose upstream reports the cost of some images."""

from collections.abc import AsyncIterator
from decimal import Decimal

import numpy as np

from framehouse.domain.cost import Cost
from framehouse.engines.interface import Abilities, Batch, GeneratedImage, Progress

PRICED = "tests.support.priced_engine:PricedEngine"


class PricedEngine:
    """Reports a cost of 0.5 `currency` for each image whose prompt contains "reported"."""

    def __init__(self, *, currency_of_upstream: str = "USD") -> None:
        self._currency = currency_of_upstream

    def abilities(self) -> Abilities:
        return Abilities(max_references=10, max_batch=4)

    async def generate(self, batch: Batch) -> AsyncIterator[GeneratedImage | Progress]:
        for shot in batch.shots:
            cost = Cost(Decimal("0.5"), self._currency) if "reported" in shot.prompt else None
            yield GeneratedImage(shot.index, np.full((64, 64, 3), 90, np.uint8), {}, cost)

    async def close(self) -> None:
        """Do nothing: there is nothing to close."""
