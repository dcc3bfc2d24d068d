"""What an image costs the operator: the price of a route, or what the upstream has reported."""

import re
from dataclasses import dataclass
from decimal import Decimal

_NUMBER = re.compile(r"[0-9]{1,20}(?:\.[0-9]{1,30})?(?:[eE][+-]?[0-9]{1,3})?")
_MAX_AMOUNT = 1_000_000
"""A larger reported cost is ignored, because the sums in the database must have at most twelve digits."""
_STEPS = 1_000_000
"""The database stores amounts with six decimal places."""


@dataclass(frozen=True, slots=True)
class Cost:
    """An amount of money, or of an upstream's units. `currency` is for example `USD` or `units`."""

    amount: Decimal
    currency: str


def reported_cost(value: object, currency: str, *, divisor: int = 1) -> Cost | None:
    """Return the cost that an upstream has reported, rounded to six decimal places.

    `value` is the value of a JSON field or of a header: a number, or a text that contains a number. `divisor` is the
    number by which `value` must be divided to get an amount in `currency`.

    Returns None for every other value, for negative and non-finite numbers, and for an amount of more than one million.
    """
    if not isinstance(value, int | float | str):
        return None
    if isinstance(value, int) and not 0 <= value <= _MAX_AMOUNT * divisor:
        return None  # str() raises an error for a very long integer
    text = str(value).strip()
    if not _NUMBER.fullmatch(text):
        return None
    amount = Decimal(text) / divisor
    return Cost(round(amount, 6), currency) if amount <= _MAX_AMOUNT else None


def divide_cost(cost: Cost | None, images: int) -> list[Cost | None]:
    """Return the share of each of the images in a cost with at most six decimal places.

    If there are images, the sum of the shares is exactly the cost. The shares differ by at most 0.000001.
    """
    if cost is None or not images:
        return [None] * images
    share, rest = divmod(int(cost.amount * _STEPS), images)
    return [Cost(Decimal(share + (number < rest)).scaleb(-6), cost.currency) for number in range(images)]


def cost_of_image(price: Cost | None, reported: Cost | None) -> Cost | None:
    """Return the cost of an image, or None if it is not known.

    `price` is the price per image of the route. `reported` is the cost that the upstream has reported. A reported cost
    in another currency than the price does not count, because the budget of the route is in the currency of the price.
    """
    if reported and (price is None or reported.currency == price.currency):
        return reported
    return price
