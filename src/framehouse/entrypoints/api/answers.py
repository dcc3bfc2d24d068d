"""Every answer's envelope, and the request id that follows a request from its header to its log line."""

import json
import re
import secrets
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from framehouse.domain.errors import Refused

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")
HEADERS = {
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"content-security-policy": b"default-src 'none'; base-uri 'none'; frame-ancestors 'none'",
    b"cache-control": b"no-store",
}
"""What every answer of the API carries. Pictures, the console and the docs have kinder ones of their own."""


def request_id_of(request: Request) -> str:
    """The caller's X-Request-Id where it is usable, else a new one; the same for the whole request."""
    scope = request.scope
    if "request_id" not in scope:
        sent = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
        scope["request_id"] = sent.decode() if _REQUEST_ID.fullmatch(sent) else secrets.token_hex(16)
    return str(scope["request_id"])


def success(request: Request, data: Any, headers: dict[str, str] | None = None) -> Response:
    request_id = request_id_of(request)
    body = {"code": 0, "message": "SUCCEED", "request_id": request_id, "data": data}
    return JSONResponse(body, headers={"X-Request-Id": request_id, **(headers or {})})


def failure(request: Request, error: Refused) -> Response:
    request_id = request_id_of(request)
    headers = {"X-Request-Id": request_id}
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(error.retry_after_s)
    body = {"code": error.code, "message": error.message, "request_id": request_id}
    return JSONResponse(body, status_code=error.status, headers=headers)


def raw_failure(code: int, message: str) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """Headers and body of an answer to what is no request yet."""
    request_id = secrets.token_hex(16)
    body = json.dumps({"code": code, "message": message, "request_id": request_id}, separators=(",", ":"))
    more = {b"content-type": b"application/json", b"x-request-id": request_id.encode()}
    return [*(HEADERS | more).items()], body.encode()
