"""The effects of the client: what a step asks a runner to do.

A step is a generator that contains the rules of one operation, for example of creating a task. A step yields effects
and receives their results; it does no input or output. `sync_client` and `async_client` each have a runner that
performs the effects. Both clients therefore follow the same rules, and a test can run a step without a server.
"""

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")

MAX_ANSWER_BYTES = 50_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Send an HTTP request. The result is a Response or a NoResponse.

    At most one of `content`, `json` and `file` is set. `file` is the name of a form field, and the content of the file
    that the form contains. Redirects are followed only if `redirects` is true.
    """

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    json: object = None
    content: bytes | None = None
    file: tuple[str, bytes] | None = None
    timeout_s: float = 60.0
    max_bytes: int = MAX_ANSWER_BYTES
    redirects: bool = False


@dataclass(frozen=True, slots=True)
class Response:
    """An HTTP response. The names of the headers are in lower case. `too_large` means that the body was not read."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    too_large: bool = False


@dataclass(frozen=True, slots=True)
class NoResponse:
    """There was no complete HTTP response. If `sent` is false, the server has certainly not received the request."""

    reason: str
    sent: bool


@dataclass(frozen=True, slots=True)
class Sleep:
    """Wait. The result is None."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Call:
    """Call a function that reads or writes files. The result is the result of the function; errors end the step."""

    function: Callable[[], Any]


Effect = Request | Sleep | Call
Steps = Generator[Effect, Any, T]


def send(request: Request) -> Steps[Response | NoResponse]:
    outcome: Response | NoResponse = yield request
    return outcome


def sleep(seconds: float) -> Steps[None]:
    yield Sleep(seconds)


def call(function: Callable[[], T]) -> Steps[T]:
    result: T = yield Call(function)
    return result
