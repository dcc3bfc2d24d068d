"""An open order that a test inspects."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from framehouse.engines.interface import BatchLost
from framehouse.engines.unsaved_order import UnsavedOrder


class RecordedOrder(UnsavedOrder):
    """Records what the engine saves. Save number `lost_at`, from 1, raises BatchLost; 0 means never.

    `saving` is set when a save begins. The save waits for `may_save`, which is set by default.
    """

    def __init__(self, data: Mapping[str, Any] | None = None, *, callback_url: str | None = None) -> None:
        self.data = dict(data or {})
        self.saved: list[Mapping[str, Any]] = []
        self.given_up = ""
        self.wanted = True
        self.lost_at = 0
        self.saving, self.may_save = asyncio.Event(), asyncio.Event()
        self.may_save.set()
        self.upstream_callback_url = callback_url

    async def save(self, data: Mapping[str, Any]) -> None:
        self.saving.set()
        await self.may_save.wait()
        if len(self.saved) + 1 == self.lost_at:
            raise BatchLost
        self.data = json.loads(json.dumps(data))
        self.saved.append(self.data)

    async def give_up(self, reason: str) -> None:
        self.data, self.given_up = {}, reason

    async def is_wanted(self) -> bool:
        return self.wanted

    async def pause(self, seconds: float) -> None:
        await asyncio.sleep(min(seconds, 0.02))
