"""Tasks for the engine `kling` and a record of their orders, for tests that call the engine without a worker."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from framehouse.engines.interface import Batch, BatchLost, GeneratedImage, Progress
from framehouse.engines.kling import Kling
from framehouse.testing.engine_contract import batch, generate
from tests.support.kling_upstream import Upstream


class RecordedOrder:
    """An open order that a test inspects. Save number `lost_at`, from 1, raises BatchLost; 0 means never."""

    upstream_callback_url = None

    def __init__(self, data: Mapping[str, Any] | None = None) -> None:
        self.data: Mapping[str, Any] = dict(data or {})
        self.saved: list[Mapping[str, Any]] = []
        self.given_up = ""
        self.wanted = True
        self.lost_at = 0

    async def save(self, data: Mapping[str, Any]) -> None:
        if len(self.saved) + 1 == self.lost_at:
            raise BatchLost
        self.data = json.loads(json.dumps(data))
        self.saved.append(self.data)

    async def give_up(self, reason: str) -> None:
        self.data, self.given_up = {}, reason

    async def take_places(self, account: str, places: int, *, limit: int | None) -> int | None:
        return 0

    async def release_places(self, account: str) -> None:
        return

    async def take_request(self, account: str, *, per_minute: int) -> float:
        return 0.0

    async def is_wanted(self) -> bool:
        return self.wanted

    async def pause(self, seconds: float) -> None:
        await asyncio.sleep(min(seconds, 0.02))

    @property
    def orders(self) -> list[dict[str, Any]]:
        return list(self.data.get("orders", []))


def kling(served: Upstream, *accounts: dict[str, object], **options: Any) -> Kling:
    defaults: dict[str, Any] = {"answer_s": 30, "lost_after_s": 0.2}
    return Kling(base_url=served.base_url, accounts=accounts or ({"api_key": "key"},), **(defaults | options))


def task(
    *, shots: int = 1, prompt: str = "a fox", series: bool = False, open_order: RecordedOrder | None = None
) -> Batch:
    whole = replace(batch(shots=shots, prompt=prompt), task_id="0199", prompt=prompt, model="m", series=series)
    if not series:
        whole = replace(whole, shots=tuple(replace(shot, framing="") for shot in whole.shots))
    return replace(whole, open_order=open_order)


async def generate_and_close(engine: Kling, whole: Batch) -> list[GeneratedImage | Progress]:
    try:
        return await generate(engine, whole)
    finally:
        await engine.close()
