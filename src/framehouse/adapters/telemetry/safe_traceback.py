"""What the log says of an error that nobody expected."""

import traceback
from collections.abc import Iterator
from types import TracebackType

_MOST_PLACES = 20


def trace(error: BaseException) -> str:
    """Where it came from, for a log line: types, files and lines. Never its own words, for they may quote a prompt or
    a row of the database (asyncpg adds the row that a constraint refused)."""
    return " <- ".join(_parts(error))


def _parts(error: BaseException) -> Iterator[str]:
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield type(cause).__name__ + _places(cause.__traceback__)
        if isinstance(cause, BaseExceptionGroup):
            yield "[" + "; ".join(trace(one) for one in cause.exceptions) + "]"
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)


def _places(found: TracebackType | None) -> str:
    """The innermost frames, as a traceback has them."""
    frames = traceback.extract_tb(found, limit=-_MOST_PLACES)
    return "".join(f'\n  File "{frame.filename}", line {frame.lineno}, in {frame.name}' for frame in frames)
