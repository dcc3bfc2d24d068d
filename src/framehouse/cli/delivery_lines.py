"""The state of callback messages as text and as JSON."""

from datetime import MAXYEAR
from typing import Any

from framehouse.domain.callback import Delivery
from framehouse.domain.delivery_advice import delivery_advice

_YEAR_OF_INFINITY = MAXYEAR
"""PostgreSQL's time `infinity` is read as a time in this year. It means that no attempt is scheduled."""


def delivery_json(row: Delivery) -> dict[str, Any]:
    """Return a message as a JSON object. The times are in the ISO 8601 format."""
    times = {
        name: at.isoformat() if (at := getattr(row, name)) and at.year != _YEAR_OF_INFINITY else None
        for name in ("created_at", "tried_at", "next_try_at")
    }
    return row._asdict() | times | {"advice": delivery_advice(row.last_error or "", row.last_code)}


def delivery_lines(row: Delivery) -> list[str]:
    """Return sentences about a message: whether it is delivered, why it is not delivered, and what to do about it."""
    if row.state == "delivered":
        return [f"delivered at {row.tried_at:%H:%M:%S} UTC (HTTP {row.last_code}); attempts: {row.tries}"]
    if not row.tries:
        after = row.next_try_at is not None and row.next_try_at.year == _YEAR_OF_INFINITY
        return [
            "waiting until the earlier message of the task is complete" if after else "waiting for the first attempt"
        ]
    if row.state == "waiting" and not row.last_error:
        return [f"the attempt of {row.tried_at:%H:%M:%S} UTC has no result yet"]
    failed = f"not delivered: {row.last_error or f'HTTP {row.last_code}'}; attempts: {row.tries}"
    if row.next_try_at:
        end = f"next attempt at {row.next_try_at:%Y-%m-%d %H:%M:%S} UTC"
    else:
        end = "no further attempt follows"
    advice = delivery_advice(row.last_error or "", row.last_code)
    return [f"{failed}; {end}", *([advice] if advice else [])]
