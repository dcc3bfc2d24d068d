"""Replace named parameters such as `:worker` with numbered parameters such as `$1`, which PostgreSQL requires."""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

# Strings, quoted names, comments and casts contain no parameters. A backslash in a string is an ordinary character.
_TOKEN = re.compile(r"'[^']*'|\"[^\"]*\"|--[^\n]*|::|:([a-z_][a-z0-9_]*)")


@lru_cache(maxsize=1000)
def numbered(statement: str) -> tuple[str, tuple[str, ...]]:
    """Return the statement with `$1`, `$2`, … in place of its named parameters, and the names in the same order.

    The first name belongs to `$1`, the second name to `$2`, and so on.
    """
    numbers: dict[str, str] = {}

    def number(token: re.Match[str]) -> str:
        return numbers.setdefault(token[1], f"${len(numbers) + 1}") if token[1] else token[0]

    return _TOKEN.sub(number, statement), tuple(numbers)


def bind(statement: str, values: tuple[Any, ...], named: Mapping[str, Any]) -> tuple[str, tuple[Any, ...]]:
    """Return a statement with numbered parameters, and the values of the parameters in order.

    `values` contains the values for a statement with numbered parameters. `named` contains the values for a statement
    with named parameters. Raises TypeError if the names in the statement are not exactly the names in `named`, or if
    both `values` and `named` are passed.
    """
    text, names = numbered(statement)
    if values and not names and not named:
        return text, values
    if values or len(names) != len(named) or not all(name in named for name in names):
        raise TypeError(f"the parameters of the statement are {', '.join(names)}, not {', '.join(named)}: {statement}")
    return text, tuple(named[name] for name in names)
