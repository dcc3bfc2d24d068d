"""What an image costs the operator: the price of a route, or what the upstream has reported."""

from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class Cost:
    """An amount of money, or of an upstream's units. `currency` is for example `USD` or `units`."""

    amount: Decimal
    currency: str


def cost_of_image(price: Cost | None, reported: Cost | None) -> Cost | None:
    """Return the cost of an image, or None if it is not known.

    `price` is the price per image of the route. `reported` is the cost that the upstream has reported. A reported cost
    in another currency than the price does not count, because the budget of the route is in the currency of the price.
    """
    if reported and (price is None or reported.currency == price.currency):
        return reported
    return price
