"""Parameters of the Kling dialect: their documentation, and how they are read."""

import re

from starlette.requests import Request

from framehouse.domain.errors import Refused, refused_fields
from framehouse.domain.request import read_int, shown
from framehouse.entrypoints.api.documentation import Parameter
from framehouse.entrypoints.api.request_headers import find_header

MAX_PAGE, MAX_PAGE_SIZE = 1000, 500
_PAGE_SIZE = 30
_MAX_WAIT_S = 60
IDEMPOTENCY_KEY = Parameter(
    "header", "Idempotency-Key", "A repeat with the same key and body answers the first task again; kept 24 h"
)
PAGE = (
    Parameter("query", "pageNum", f"1 to {MAX_PAGE}", default="1"),
    Parameter("query", "pageSize", f"1 to {MAX_PAGE_SIZE}", default=str(_PAGE_SIZE)),
)
WAIT = Parameter("query", "wait", f"Ours: answer when the task ends, after at most this many seconds (≤ {_MAX_WAIT_S})")
PREFER = Parameter("header", "prefer", "Prefer: wait=30 means the same")
INCLUDE = Parameter(
    "query",
    "include",
    'Ours: "request" adds what was asked for, "pictures" those made so far; both: "request,pictures"',
)


def read_page(request: Request) -> tuple[int, int]:
    """Limit and offset of a page of a list. Raises Refused (1201)."""
    page = _find(request, PAGE[0]) or "1"
    size = _find(request, PAGE[1]) or str(_PAGE_SIZE)
    problems = []
    number, limit = read_int(page), read_int(size)
    if number is None or not 1 <= number <= MAX_PAGE:
        problems.append(f"pageNum must be an integer from 1 to {MAX_PAGE}, not {shown(page)}")
    if limit is None or not 1 <= limit <= MAX_PAGE_SIZE:
        problems.append(f"pageSize must be an integer from 1 to {MAX_PAGE_SIZE}, not {shown(size)}")
    if problems or number is None or limit is None:
        raise refused_fields(problems)
    return limit, (number - 1) * limit


def read_wait(request: Request) -> int:
    """For how many seconds the client wants to wait for the end of a task. Raises Refused (1201)."""
    wait = _find(request, WAIT)
    if wait is None and (prefer := find_header(request.scope, b"prefer")):
        found = re.search(r"(?:^|[,;\s])wait\s*=\s*(\d{1,9})", prefer)
        wait = found[1] if found else None
    if not wait:
        return 0
    seconds = read_int(wait)
    if seconds is None or seconds < 0:
        raise Refused(1201, f"wait must be a number of seconds from 0 to {_MAX_WAIT_S}, not {shown(wait)}")
    return min(seconds, _MAX_WAIT_S)


def read_include(request: Request) -> frozenset[str]:
    """The parts that the client wants in a task beyond the contract."""
    include = _find(request, INCLUDE)
    return frozenset(include.split(",")) if include else frozenset()


def _find(request: Request, parameter: Parameter) -> str | None:
    """A query parameter. Parsing an empty query would take longer than finding the route."""
    return request.query_params.get(parameter.name) if request.scope["query_string"] else None


def read_idempotency_key(request: Request) -> str | None:
    return find_header(request.scope, b"idempotency-key")


def can_be_id(text: str) -> bool:
    """Whether a task or an element can have this id."""
    return len(text) <= 255 and "\0" not in text


def not_found(id: str) -> Refused:
    """The error for an id that this account does not have."""
    echo = "".join(c if c.isprintable() else "\ufffd" for c in id[:255])
    return Refused(1201, f"Task not found by id/external id: {echo}")
