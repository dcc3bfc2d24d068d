"""The prices of tokens, for services that charge for tokens but report no cost."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from decimal import Decimal

from framehouse.domain.cost import Cost, reported_cost
from framehouse.engines.option_checks import BadOption, as_json, check_number

_MAX_PRICE = 100_000
_MAX_TOKENS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens of a request."""

    text_input: int
    image_input: int
    text_output: int
    image_output: int


_NAMES = tuple(field.name for field in fields(Tokens))


def token_count(value: object) -> int:
    """Return a number of tokens that a service has reported. Raises ValueError if the number is missing or wrong."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MAX_TOKENS:
        raise ValueError("not a number of tokens")
    return value


@dataclass(frozen=True, slots=True)
class TokenPrices:
    """The prices of a model in USD per million tokens."""

    text_input: Decimal
    image_input: Decimal
    text_output: Decimal
    image_output: Decimal

    def cost(self, tokens: Tokens) -> Cost | None:
        """Return the cost of a request, or None if its amount is 0 or impossible."""
        total = sum((getattr(self, name) * getattr(tokens, name) for name in _NAMES), Decimal(0))
        return reported_cost(f"{total:f}", "USD", divisor=1_000_000) if total else None


def check_token_prices(value: object) -> TokenPrices | None:
    """Check the option `token_prices`. Returns None if the option is omitted. Raises BadOption."""
    if value is None:
        return None
    if not isinstance(value, Mapping) or set(value) != set(_NAMES):
        raise BadOption(
            f"token_prices must contain exactly the prices {', '.join(_NAMES)}, in USD per million tokens; "
            f"it is {as_json(value)}"
        )
    prices = {name: check_number(f"token_prices.{name}", value[name], 0, _MAX_PRICE) for name in _NAMES}
    return TokenPrices(**{name: Decimal(str(price)) for name, price in prices.items()})
