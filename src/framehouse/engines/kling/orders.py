"""A batch as orders to an upstream: what is asked for, and the note that is committed before it is."""

import uuid
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

from framehouse.domain.prompt import MAX_PROMPT_CHARACTERS
from framehouse.domain.shot import Shot
from framehouse.domain.sizes import named
from framehouse.engines.arrange import arrange, worded
from framehouse.engines.interface import Batch

MAX_IMAGES = 10
_IDS = uuid.UUID("b35d9f3c-6f0e-4f57-9a0c-52d1f4f0a7d1")


@dataclass(frozen=True, slots=True)
class Order:
    """One upstream task, made or to be made.

    `shots` are the indexes of ours, in the order of its pictures. `external_id` is our name for it and never changes,
    `account` is set once it was about to be sent, `task_id`, upstream's name for it, once it is known to be taken.
    """

    external_id: str
    shots: tuple[int, ...]
    series: bool = False
    account: str = ""
    task_id: str = ""

    @property
    def images(self) -> int:
        """How many pictures it makes: what it counts in an account's concurrency."""
        return len(self.shots)


def plan_orders(batch: Batch, known: Iterable[Order], *, largest: int) -> list[Order]:
    """The orders for those shots of a batch that no known order makes, each of at most `largest` pictures.

    A whole task is asked for as it was sent to us, for the upstream plans it as we do. What is left of one is asked for
    by the shots' own words. The same shots always get the same external id: whoever orders them, they are one order.
    """
    ordered = {index for order in known for index in order.shots}
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
    return Order(f"fh-{uuid.uuid5(_IDS, f'{batch.task_id}:{indexes}')}", indexes, series)


def write_note(orders: Iterable[Order]) -> dict[str, Any]:
    """Orders as a memory keeps them; empty where there are none."""
    kept = [
        {
            "external_id": order.external_id,
            "shots": list(order.shots),
            "series": order.series,
            "account": order.account,
            "task_id": order.task_id,
        }
        for order in orders
    ]
    return {"orders": kept} if kept else {}


def read_note(note: Mapping[str, Any]) -> list[Order]:
    """The orders of a note."""
    return [Order(**(order | {"shots": tuple(order["shots"])})) for order in note.get("orders", [])]


def body_of(order: Order, batch: Batch, *, model: str, callback_url: str | None) -> dict[str, Any]:
    """The request of an order. Elements go as pictures: they are ours, and the upstream does not know them. Blocking
    where pictures have to be tiled."""
    ratio, resolution = named(batch.size)
    whole = order.images == batch.image_count
    shot = next(shot for shot in batch.shots if shot.index == order.shots[0])
    if whole:
        shot = replace(shot, prompt=batch.prompt, framing="")
    first_frame = batch.first_frame.content if batch.first_frame and not whole else b""
    arranged = arrange(batch, most=MAX_IMAGES, cite="<<<image_{}>>>", first_frame=first_frame)
    body: dict[str, Any] = {
        "model_name": model or batch.model,
        "prompt": worded(shot, batch, arranged)[:MAX_PROMPT_CHARACTERS],
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
