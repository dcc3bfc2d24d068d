"""Tasks for the engine `kling` and a record of their orders, for tests that call the engine without a worker."""

from dataclasses import replace
from typing import Any

from framehouse.engines.interface import Batch, GeneratedImage, Progress
from framehouse.engines.kling import Kling
from framehouse.testing.engine_contract import batch, generate
from tests.support.kling_upstream import Upstream
from tests.support.recorded_order import RecordedOrder


class KlingRecord(RecordedOrder):
    """A record of orders at an upstream of the engine `kling`."""

    @property
    def orders(self) -> list[dict[str, Any]]:
        return list(self.data.get("orders", []))


def kling(served: Upstream, *accounts: dict[str, object], **options: Any) -> Kling:
    defaults: dict[str, Any] = {"answer_s": 30, "lost_after_s": 0.2}
    return Kling(base_url=served.base_url, accounts=accounts or ({"api_key": "key"},), **(defaults | options))


def task(
    *, shots: int = 1, prompt: str = "a fox", series: bool = False, open_order: KlingRecord | None = None
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
