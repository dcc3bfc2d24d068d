"""A substitute for the record of an order, for calls without a worker."""

import asyncio
from collections.abc import Mapping
from typing import Any


class UnsavedOrder:
    """An `OpenOrder` that keeps its data only in memory, used if `Batch.open_order` is None.

    No later call can continue such an order, so it is not wanted any more after its call has ended. Requests and places
    are not limited.
    """

    upstream_callback_url: str | None = None

    def __init__(self) -> None:
        self.data: Mapping[str, Any] = {}

    async def save(self, data: Mapping[str, Any]) -> None:
        self.data = data

    async def give_up(self, reason: str) -> None:
        self.data = {}

    async def is_wanted(self) -> bool:
        return False

    async def take_places(self, account: str, places: int, *, limit: int | None) -> int | None:
        return 0

    async def release_places(self, account: str) -> None:
        return

    async def take_request(self, account: str, *, per_minute: int) -> float:
        return 0.0

    async def pause(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
