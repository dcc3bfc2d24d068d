"""Every answer's envelope, and the request id that follows a request from its header to its log line."""

import random
import re
from collections.abc import Mapping, MutableMapping
from types import MappingProxyType
from typing import Any

import pydantic_core
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from framehouse.domain.errors import Refused
from framehouse.entrypoints.api.request_headers import find_header

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
HEADERS = {
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"content-security-policy": b"default-src 'none'; base-uri 'none'; frame-ancestors 'none'",
    b"cache-control": b"no-store",
}
"""What every answer of the API carries. Pictures, the console and the docs have kinder ones of their own."""


CODE = "framehouse.code"
"""Where a request's scope has the code of its answer; nowhere where it succeeded."""
GUARDS = list(HEADERS.items())


class _Answer(Response):
    """JSON in its envelope, with HEADERS. No value in its head is a client's, but for a request id that fits."""

    def __init__(self, status: int, body: Mapping[str, Any], headers: Mapping[str, str]) -> None:
        self.status_code = status
        self.background = None
        self.body = pydantic_core.to_json(body)
        self.raw_headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(self.body)),
            *((name.lower().encode(), value.encode()) for name, value in headers.items()),
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [*self.raw_headers, *GUARDS]
        await send({"type": "http.response.start", "status": self.status_code, "headers": headers})
        await send({"type": "http.response.body", "body": self.body})


def request_id_of(request: Request) -> str:
    """The caller's X-Request-Id where it is usable, else a new one; the same for the whole request."""
    return request_id_in(request.scope)


def request_id_in(scope: MutableMapping[str, Any]) -> str:
    """As `request_id_of`, by the scope that all of a request share."""
    if "request_id" not in scope:
        sent = find_header(scope, b"x-request-id")
        scope["request_id"] = sent if sent and _REQUEST_ID.fullmatch(sent) else _new_request_id()
    return str(scope["request_id"])


def _new_request_id() -> str:
    return f"{random.getrandbits(128):032x}"


def success(request: Request, data: Any, headers: dict[str, str] | None = None) -> Response:
    request_id = request_id_of(request)
    body = {"code": 0, "message": "SUCCEED", "request_id": request_id, "data": data}
    return _Answer(200, body, {"X-Request-Id": request_id, **(headers or {})})


def failure(request: Request, error: Refused, headers: Mapping[str, str] = MappingProxyType({})) -> Response:
    request_id = request_id_of(request)
    request.scope[CODE] = error.code
    headers = {"X-Request-Id": request_id, **headers}
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(error.retry_after_s)
    body = {"code": error.code, "message": error.message, "request_id": request_id}
    return _Answer(error.status, body, headers)


def raw_failure(code: int, message: str) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """Headers and body of an answer to what is no request yet."""
    request_id = _new_request_id()
    body = pydantic_core.to_json({"code": code, "message": message, "request_id": request_id})
    more = {b"content-type": b"application/json", b"x-request-id": request_id.encode()}
    return [*(HEADERS | more).items()], body
