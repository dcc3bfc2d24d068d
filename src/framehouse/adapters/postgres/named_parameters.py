"""Named parameters: `:worker` in a statement is replaced by `$1`, the only form that PostgreSQL accepts."""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

# Strings, quoted names, comments and casts contain no parameters. A backslash in a string is not an escape.
_TOKEN = re.compile(r"'[^']*'|\"[^\"]*\"|--[^\n]*|::|:([a-z_][a-z0-9_]*)")


@lru_cache(maxsize=1000)
def numbered(statement: str) -> tuple[str, tuple[str, ...]]:
    """Return the statement with `$1`, `$2`, … instead of its named parameters, and the names in this order."""
    numbers: dict[str, str] = {}

    def number(token: re.Match[str]) -> str:
        return numbers.setdefault(token[1], f"${len(numbers) + 1}") if token[1] else token[0]

    return _TOKEN.sub(number, statement), tuple(numbers)


def bind(statement: str, values: tuple[Any, ...], named: Mapping[str, Any]) -> tuple[str, tuple[Any, ...]]:
    """Return the numbered statement and its values in order.

    A statement that already has numbered parameters takes `values`, in order; any other statement takes `named`. Raises
    TypeError unless the names in the statement are exactly the names in `named`.
    """
    text, names = numbered(statement)
    if values and not names and not named:
        return text, values
    if values or len(names) != len(named) or not all(name in named for name in names):
        raise TypeError(f"the statement takes {', '.join(names)}, not {', '.join(named)}: {statement}")
    return text, tuple(named[name] for name in names)
