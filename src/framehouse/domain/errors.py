"""The expected errors, grouped by the part of the system that handles them.

FramehouseError
├── Refused        the API refuses the request; the client gets the code and the message
└── Failed         the worker decides what happens to the batch
    ├── Declined     the engine refuses to generate the batch; final, and the client gets the reason
    ├── Broken       the answer is unusable; final
    ├── Unavailable  the engine cannot generate now; the next route is tried, and later all routes again
    └── Unknown      the answer was lost after the request may have been accepted; the request is never sent again
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
"""The HTTP status of every error code of the API (contract, "Errors")."""


class FramehouseError(Exception):
    """The base class of all expected errors."""


class Refused(FramehouseError):
    """The API refuses a request. The client gets the code and the message.

    `status` is the HTTP status that belongs to the code; only 405, 413 and 415 are set explicitly. `retry_after_s` is
    set if the same request can succeed later.
    """

    def __init__(self, code: int, message: str, *, status: int | None = None, retry_after_s: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status or HTTP_STATUS[code]
        self.retry_after_s = retry_after_s


def refused_fields(problems: Iterable[str]) -> Refused:
    """An error 1201 that lists all problems, so that the caller can fix them together."""
    return Refused(1201, "; ".join(problems))


class Failed(FramehouseError):
    """A batch could not be generated. The message may be shown to the caller."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class Declined(Failed):
    """The engine refuses to generate the batch. Final: no other route is tried."""


class Broken(Failed):
    """The engine returned an unusable answer. Final: no other route is tried."""


class Unavailable(Failed):
    """The engine cannot generate the batch now.

    If the engine has saved no open order, nothing was generated and nothing has to be paid. It is then safe to try
    this route again or to try another one.
    """


class Unknown(Failed):
    """The answer was lost after the upstream may have accepted the request. A second request could be billed twice."""
