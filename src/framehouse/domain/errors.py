"""What can go wrong, sorted by who can do something about it.

FramehouseError
├── Refused        the caller can: its code and sentence become the answer
└── Failed         the worker decides what happens to the batch
    ├── Declined     the engine will not paint this; final, the reason is shown
    ├── Broken       nonsense came back; final
    ├── Unavailable  not now: later again, then the next route
    └── Unknown      the answer got lost after the request may have been taken: never submit again
"""

from collections.abc import Iterable

HTTP_STATUS: dict[int, int] = {
    1000: 401,
    1001: 401,
    1002: 401,
    1003: 401,
    1004: 401,
    1100: 429,
    1101: 429,
    1102: 429,
    1103: 403,
    1200: 400,
    1201: 400,
    1202: 404,
    1203: 404,
    1300: 400,
    1301: 400,
    1302: 429,
    1303: 429,
    5000: 500,
    5001: 503,
    5002: 504,
}
"""Every code the API answers with, and its HTTP status (contract, "Errors")."""


class FramehouseError(Exception):
    """The root of everything raised on purpose."""


class Refused(FramehouseError):
    """The caller can do something about it.

    `status` is the HTTP status: the code's own, but for 413, 415 and 405, which keep theirs.
    `retry_after_s` is set where trying again, later and unchanged, can succeed.
    """

    def __init__(self, code: int, message: str, *, status: int | None = None, retry_after_s: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status or HTTP_STATUS[code]
        self.retry_after_s = retry_after_s


def refused_fields(problems: Iterable[str]) -> Refused:
    """One 1201 that names all problems, so that a caller mends them in one go."""
    return Refused(1201, "; ".join(problems))


class Failed(FramehouseError):
    """Painting did not work out; the message may be shown to the caller."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class Declined(Failed):
    """The engine will not paint this. Final, and no other route is asked."""


class Broken(Failed):
    """The engine answered with nonsense. Final."""


class Unavailable(Failed):
    """Not now. Nothing was painted and nothing is owed, so it is safe to ask again or elsewhere."""


class Unknown(Failed):
    """The answer got lost after the request may have been taken: asking again could be paid twice."""
