"""Split a batch into orders, convert orders to and from the saved data, and build the request for an order."""

import uuid
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

from framehouse.domain.prompt import MAX_PROMPT_CHARACTERS
from framehouse.domain.shot import Shot
from framehouse.domain.sizes import ratio_and_resolution
from framehouse.engines.arrange import arrange_images, build_prompt
from framehouse.engines.interface import Batch

MAX_IMAGES = 10
_ID_NAMESPACE = uuid.UUID("b35d9f3c-6f0e-4f57-9a0c-52d1f4f0a7d1")


@dataclass(frozen=True, slots=True)
class Order:
    """One order for an upstream. The order becomes one task at the upstream.

    `shots` contains the indexes of our shots, in the order of the upstream's images. `external_id` is our id for the
    order and never changes. `account` is set before the order is sent. `task_id` is the upstream's id for the task, and
    is set when it is known that the upstream accepted the order.
    """

    external_id: str
    shots: tuple[int, ...]
    series: bool = False
    account: str = ""
    task_id: str = ""

    @property
    def images(self) -> int:
        """The number of images, which count towards the concurrency limit of the account."""
        return len(self.shots)


def plan_orders(batch: Batch, saved: Iterable[Order], *, largest: int) -> list[Order]:
    """Return orders for those shots of a batch that are not in a saved order.

    If possible, the complete task becomes one order with the prompt of the task, because the upstream derives shots
    from the prompt in the same way as Framehouse. This requires that no shot has been generated or is in a saved order.
    The task must also be a series or have at most `largest` images. Otherwise, each order contains shots with the same
    prompt and framing, and at most `largest` images. The external id depends only on the task and the shots, so two
    workers that order the same shots send the same external id.
    """
    ordered = {index for order in saved for index in order.shots}
    shots = [shot for shot in batch.shots if shot.index not in ordered]
    if len(shots) == batch.image_count and (batch.series or len(shots) <= largest):
        return [_order(batch, shots, series=batch.series)]
    groups = [list(group) for _, group in groupby(shots, lambda shot: (shot.prompt, shot.framing))]
    return [
        _order(batch, group[start : start + largest], series=False)
        for group in groups
        for start in range(0, len(group), largest)
    ]


def _order(batch: Batch, shots: Sequence[Shot], *, series: bool) -> Order:
    indexes = tuple(shot.index for shot in shots)
    return Order(f"fh-{uuid.uuid5(_ID_NAMESPACE, f'{batch.task_id}:{indexes}')}", indexes, series)


def data_from_orders(orders: Iterable[Order]) -> dict[str, Any]:
    """Return the orders as the JSON data of an open order. The data is empty if there are no orders."""
    entries = [
        {
            "external_id": order.external_id,
            "shots": list(order.shots),
            "series": order.series,
            "account": order.account,
            "task_id": order.task_id,
        }
        for order in orders
    ]
    return {"orders": entries} if entries else {}


def orders_from_data(data: Mapping[str, Any]) -> list[Order]:
    """Return the orders in the JSON data of an open order."""
    return [Order(**(order | {"shots": tuple(order["shots"])})) for order in data.get("orders", [])]


def request_body(order: Order, batch: Batch, *, model: str, callback_url: str | None) -> dict[str, Any]:
    """Return the JSON body of the request that places an order. Drawing a contact sheet blocks the calling thread.

    Elements are sent as images, because our elements do not exist at the upstream.
    """
    ratio, resolution = ratio_and_resolution(batch.size)
    whole = order.images == batch.image_count
    shot = next(shot for shot in batch.shots if shot.index == order.shots[0])
    if whole:
        shot = replace(shot, prompt=batch.prompt, framing="")
    first_frame = batch.first_frame.content if batch.first_frame and not whole else b""
    arranged = arrange_images(batch, max_images=MAX_IMAGES, cite="<<<image_{}>>>", first_frame=first_frame)
    body: dict[str, Any] = {
        "model_name": model or batch.model,
        "prompt": build_prompt(shot, batch, arranged)[:MAX_PROMPT_CHARACTERS],
        "resolution": resolution,
        "aspect_ratio": ratio,
        "result_type": "series" if order.series else "single",
        "external_task_id": order.external_id,
    }
    body["series_amount" if order.series else "n"] = order.images
    if arranged.files:
        body["image_list"] = [{"image": b64encode(content).decode()} for content in arranged.files]
    if callback_url:
        body["callback_url"] = callback_url
    return body
