"""Values that are not costs, and that an upstream may nevertheless report as a cost."""

from typing import Any

JSON_VALUES: list[Any] = [
    None,
    True,
    -1,
    -0.01,
    float("nan"),
    float("inf"),
    float("-inf"),
    10**300,
    1e300,
    "",
    "free",
    "NaN",
    "-1",
    "1,000",
    "9" * 5000,
    [],
    [1],
    {},
    {"amount": {"value": 1}},
]
HEADER_VALUES = [
    "",
    "-1",
    "NaN",
    "Infinity",
    "None",
    "free",
    "0.1, 0.2",
    "1e99",
    "9" * 500,
    "[1]",
    '{"amount": 1}',
    "0x1",
]
