"""The costs that upstreams report: which values count, and how a cost is divided among images."""

from decimal import Decimal
from typing import Any

import pytest

from framehouse.domain.cost import Cost, divide_cost, reported_cost
from tests.support.misreported_costs import HEADER_VALUES, JSON_VALUES


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (3, "3"),
        (0, "0"),
        (0.04, "0.04"),
        (3.45e-05, "0.000034"),
        (1e-300, "0"),
        ("0.04", "0.04"),
        (" 24 ", "24"),
        ("3.45e-05", "0.000034"),
        ("1E2", "100"),
        (1_000_000, "1000000"),
        ("999999.9999996", "1000000"),
    ],
)
def test_a_number_or_a_text_with_a_number_is_a_cost(value: Any, expected: str) -> None:
    cost = reported_cost(value, "USD")
    assert cost is not None
    assert (cost.amount, cost.currency) == (Decimal(expected), "USD")
    assert -cost.amount.as_tuple().exponent <= 6  # type: ignore[operator]


MORE_VALUES = [
    1_000_001,
    1_000_000.5,
    "1000001",
    "+1",
    -(10**5000),
    10**5000,
    "1e999999999",
    "0." + "1" * 5000,
    " ",
    "0.04 USD",
    "$1",
    "1_000",
    "٣",
    ".5",
    "5.",
    b"1",
    (1,),
    Decimal(1),
]


def test_no_other_value_is_a_cost() -> None:
    values = [*JSON_VALUES, *HEADER_VALUES, *MORE_VALUES]
    assert [value for value in values if reported_cost(value, "USD")] == []


def test_a_cost_can_be_reported_in_parts_of_its_currency() -> None:
    assert reported_cost(200_000_000, "USD", divisor=10**10) == Cost(Decimal("0.02"), "USD")
    assert reported_cost("1", "USD", divisor=10**10) == Cost(Decimal(0), "USD")
    assert reported_cost(10**16, "USD", divisor=10**10) == Cost(Decimal(1_000_000), "USD")
    assert reported_cost(10**16 + 1, "USD", divisor=10**10) is None


@pytest.mark.parametrize(
    ("amount", "shares"),
    [
        ("0.04", ["0.040000"]),
        ("0.04", ["0.013334", "0.013333", "0.013333"]),
        ("25", ["8.333334", "8.333333", "8.333333"]),
        ("0.000002", ["0.000001", "0.000001", "0.000000", "0.000000"]),
        ("0", ["0.000000", "0.000000"]),
        ("999999.999999", ["500000.000000", "499999.999999"]),
    ],
)
def test_the_shares_of_a_cost_add_up_to_the_cost(amount: str, shares: list[str]) -> None:
    cost = Cost(Decimal(amount), "EUR")
    divided = divide_cost(cost, len(shares))
    assert [str(share.amount) for share in divided if share] == shares
    assert {share.currency for share in divided if share} == {"EUR"}
    assert sum(share.amount for share in divided if share) == cost.amount


def test_the_shares_of_an_unknown_cost_are_unknown() -> None:
    assert divide_cost(None, 2) == [None, None]
    assert divide_cost(Cost(Decimal(1), "USD"), 0) == []
