"""An order: one request to a model on fal, and its saved data."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class FalOrder:
    """One request to a model.

    `shots` contains the indexes of our shots, in the order in which fal returns their images. The other fields are
    empty until fal has confirmed that it accepted the request. The URLs are those in fal's response.
    """

    shots: tuple[int, ...]
    model: str
    request_id: str = ""
    status_url: str = ""
    response_url: str = ""
    cancel_url: str = ""


def data_from_order(order: FalOrder) -> dict[str, Any]:
    """Convert an order to the JSON data that is saved as `OpenOrder.data`."""
    return {"order": {**asdict(order), "shots": list(order.shots)}}


def order_from_data(data: Mapping[str, Any]) -> FalOrder | None:
    """Return the order that was saved as `OpenOrder.data`, or None if no order was saved."""
    saved = data.get("order")
    return FalOrder(**{**saved, "shots": tuple(saved["shots"])}) if saved else None
