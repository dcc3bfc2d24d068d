"""The expected errors, grouped by the part of the system that handles them.

FramehouseError
├── Refused        The API refuses the request. The client receives the code and the message.
├── Postponed      Nothing failed, but the engine cannot continue with the batch until a pause is over.
└── Failed         A batch could not be generated. The subclass determines the next step of the worker:
    ├── Declined     The engine refuses to generate the batch. The task fails, and the client receives the reason.
    ├── Broken       The response of the engine is unusable. The task fails.
    ├── Unavailable  The engine cannot generate the batch now. If the engine has saved an open order, this route is
    │                tried again later. Otherwise, the worker tries the next route. If no route is left, all routes are
    │                tried again later.
    └── Unknown      The upstream may have accepted the request, but its response was lost. If the engine has saved an
                     open order, this route is tried again later. Otherwise, the request is not sent again, and the
                     task fails.
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
"""The HTTP status of every error code of the API. docs/errors.md describes the codes."""


class FramehouseError(Exception):
    """The base class of all expected errors."""


class Refused(FramehouseError):
    """The API refuses a request. The client receives the code and the message.

    `status` is the HTTP status. The default is the entry for the code in HTTP_STATUS. The API passes the statuses 405,
    413 and 415 explicitly. `retry_after_s` is the value of the Retry-After header, and is set if the same request can
    succeed later.
    """

    def __init__(self, code: int, message: str, *, status: int | None = None, retry_after_s: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status or HTTP_STATUS[code]
        self.retry_after_s = retry_after_s


def refused_fields(problems: Iterable[str]) -> Refused:
    """Return an error with code 1201 whose message lists all problems, so that the client can fix them in one step."""
    return Refused(1201, "; ".join(problems))


class Postponed(FramehouseError):
    """The engine has nothing to do for `after_s` seconds.

    The worker returns the batch to the queue for this time, so the batch occupies no slot. The engine must have saved
    an open order, from which it continues when it receives the batch again.
    """

    def __init__(self, after_s: float) -> None:
        super().__init__(f"postponed for {after_s:.1f} s")
        self.after_s = after_s


class Failed(FramehouseError):
    """A batch could not be generated. The client may see the message."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class Declined(Failed):
    """The engine refuses to generate the batch. No other route is tried, and the task fails."""


class Broken(Failed):
    """The engine returned an unusable response. No other route is tried, and the task fails."""


class Unavailable(Failed):
    """The engine cannot generate the batch now.

    If the engine has not saved an open order, nothing was generated or billed. In this case, it is safe to try this
    route again or to try another route.
    """


class Unknown(Failed):
    """The upstream may have accepted the request, but its response was lost.

    If the request is sent again, it could be billed twice.
    """
