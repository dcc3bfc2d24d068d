"""Format an unexpected error for the log, without the error message."""

import traceback
from collections.abc import Iterator
from types import TracebackType

_MAX_FRAMES = 20


def safe_traceback(error: BaseException) -> str:
    """Return the type and the traceback (files and lines) of an error and of each of its causes.

    Error messages are omitted, because they may contain a prompt or a database row. For example, the message of an
    asyncpg error about a violated constraint contains the row.
    """
    return " <- ".join(_parts(error))


def _parts(error: BaseException) -> Iterator[str]:
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield type(cause).__name__ + _frames(cause.__traceback__)
        if isinstance(cause, BaseExceptionGroup):
            yield "[" + "; ".join(safe_traceback(member) for member in cause.exceptions) + "]"
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)


def _frames(trace: TracebackType | None) -> str:
    """Format the 20 innermost frames like a Python traceback."""
    frames = traceback.extract_tb(trace, limit=-_MAX_FRAMES)
    return "".join(f'\n  File "{frame.filename}", line {frame.lineno}, in {frame.name}' for frame in frames)
