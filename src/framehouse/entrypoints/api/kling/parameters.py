"""The documentation of the Kling dialect's parameters, and the functions that read them."""

import re

from starlette.requests import Request

from framehouse.domain.errors import Refused, refused_fields
from framehouse.domain.request import quoted, read_int
from framehouse.entrypoints.api.documentation import Parameter
from framehouse.entrypoints.api.request_headers import find_header

MAX_PAGE, MAX_PAGE_SIZE = 1000, 500
_PAGE_SIZE = 30
_MAX_WAIT_S = 60
IDEMPOTENCY_KEY = Parameter(
    "header",
    "Idempotency-Key",
    "Within 24 hours, a repeated request with the same key and body returns the first task again",
)
PAGE = (
    Parameter("query", "pageNum", f"1 to {MAX_PAGE}", default="1"),
    Parameter("query", "pageSize", f"1 to {MAX_PAGE_SIZE}", default=str(_PAGE_SIZE)),
)
WAIT = Parameter(
    "query", "wait", f"Extension: respond when the task ends, or after this number of seconds (at most {_MAX_WAIT_S})"
)
PREFER = Parameter("header", "prefer", "`Prefer: wait=30` is the same as the parameter `wait=30`")
INCLUDE = Parameter(
    "query",
    "include",
    "Extension: `request` adds the request of a task, `pictures` adds the images generated so far; "
    "`request,pictures` adds both",
)


def read_page(request: Request) -> tuple[int, int]:
    """The limit and the offset of the requested page of a list. Raises Refused (1201) if a parameter is invalid."""
    page = _find(request, PAGE[0]) or "1"
    size = _find(request, PAGE[1]) or str(_PAGE_SIZE)
    problems = []
    number, limit = read_int(page), read_int(size)
    if number is None or not 1 <= number <= MAX_PAGE:
        problems.append(f"pageNum must be an integer from 1 to {MAX_PAGE}, not {quoted(page)}")
    if limit is None or not 1 <= limit <= MAX_PAGE_SIZE:
        problems.append(f"pageSize must be an integer from 1 to {MAX_PAGE_SIZE}, not {quoted(size)}")
    if problems or number is None or limit is None:
        raise refused_fields(problems)
    return limit, (number - 1) * limit


def read_wait(request: Request) -> int:
    """The requested time to wait for the end of a task, in seconds; 0 if the request does not contain it.

    Values over 60 count as 60. Raises Refused (1201) if the parameter is not a number or is negative.
    """
    wait = _find(request, WAIT)
    if wait is None and (prefer := find_header(request.scope, b"prefer")):
        match = re.search(r"(?:^|[,;\s])wait\s*=\s*(\d{1,9})", prefer)
        wait = match[1] if match else None
    if not wait:
        return 0
    seconds = read_int(wait)
    if seconds is None or seconds < 0:
        raise Refused(1201, f"wait must be a number of seconds from 0 to {_MAX_WAIT_S}, not {quoted(wait)}")
    return min(seconds, _MAX_WAIT_S)


def read_include(request: Request) -> frozenset[str]:
    """The values of the parameter `include`. Unknown values are allowed."""
    include = _find(request, INCLUDE)
    return frozenset(include.split(",")) if include else frozenset()


def _find(request: Request, parameter: Parameter) -> str | None:
    """A query parameter. An empty query string is not parsed, because that takes longer than finding the endpoint."""
    return request.query_params.get(parameter.name) if request.scope["query_string"] else None


def read_idempotency_key(request: Request) -> str | None:
    return find_header(request.scope, b"idempotency-key")


def can_be_id(text: str) -> bool:
    """Whether a task or an element can have this id."""
    return len(text) <= 255 and "\0" not in text


def not_found(id: str) -> Refused:
    """The error for an id that does not exist in the caller's account."""
    echo = "".join(c if c.isprintable() else "\ufffd" for c in id[:255])
    return Refused(1201, f"Task not found by id/external id: {echo}")
