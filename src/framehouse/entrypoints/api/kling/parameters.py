"""The documentation of the Kling dialect's parameters, and the functions that read the parameters."""

import re

from starlette.requests import Request

from framehouse.domain.errors import Refused, refused_fields
from framehouse.domain.field_reader import quoted, read_int
from framehouse.entrypoints.api.documentation import Parameter
from framehouse.entrypoints.api.request_headers import find_header

MAX_PAGE, MAX_PAGE_SIZE = 1000, 500
_PAGE_SIZE = 30
_MAX_WAIT_S = 60
IDEMPOTENCY_KEY = Parameter(
    "header",
    "Idempotency-Key",
    "If a request with the same key and body is repeated within 24 hours, the response contains the task that the "
    "first request created",
)
PRIORITY = Parameter(
    "header",
    "X-Framehouse-Priority",
    "Extension: `low` or `normal`. A task with low priority is generated when no task with normal priority waits",
    default="normal",
)
PAGE = (
    Parameter("query", "pageNum", f"1 to {MAX_PAGE}", default="1"),
    Parameter("query", "pageSize", f"1 to {MAX_PAGE_SIZE}", default=str(_PAGE_SIZE)),
)
WAIT = Parameter(
    "query",
    "wait",
    f"Extension: the response is sent when the task ends, or after this number of seconds (at most {_MAX_WAIT_S})",
)
PREFER = Parameter("header", "prefer", "`Prefer: wait=30` has the same effect as the parameter `wait=30`")
INCLUDE = Parameter(
    "query",
    "include",
    "Extension: additional fields of the response. `request` adds the request of a task. `pictures` adds the images "
    "that are already generated. `previews` adds `preview_url` and `thumb_hash` to each image. A list such as "
    "`request,pictures,previews` adds several fields",
)


def read_page(request: Request) -> tuple[int, int]:
    """Return the limit and the offset of the requested page. Raises Refused (1201) if a parameter is invalid."""
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
    """Return the requested time to wait for the end of a task, in seconds. Returns 0 if no time is given.

    Values greater than 60 are treated as 60. Raises Refused (1201) if the value is not a number or is negative.
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
    """Return the values of the parameter `include`. Unknown values are allowed."""
    include = _find(request, INCLUDE)
    return frozenset(include.split(",")) if include else frozenset()


def _find(request: Request, parameter: Parameter) -> str | None:
    """Return the value of a query parameter, or None if the request does not contain the parameter.

    An empty query string is not parsed, because parsing it would take longer than routing the request.
    """
    return request.query_params.get(parameter.name) if request.scope["query_string"] else None


def read_idempotency_key(request: Request) -> str | None:
    return find_header(request.scope, b"idempotency-key")


def read_low_priority(request: Request) -> bool:
    """Return whether the task has low priority. Raises Refused (1201) if the header is neither `low` nor `normal`."""
    priority = find_header(request.scope, b"x-framehouse-priority")
    if priority is None or (name := priority.strip().lower()) == "normal":
        return False
    if name != "low":
        raise Refused(1201, f"X-Framehouse-Priority must be low or normal, not {quoted(priority)}")
    return True
