"""The envelope and the default headers of a response, and the id of a request.

The envelope is the JSON object with the fields `code`, `message`, `request_id` and `data`.
"""

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
DEFAULT_HEADERS = {
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"content-security-policy": b"default-src 'none'; base-uri 'none'; frame-ancestors 'none'",
    b"cache-control": b"no-store",
    b"x-framehouse": b"1",
}
"""The default headers of all responses. Responses with images, the console or the docs override some of the headers
with less strict values.

`X-Framehouse` shows clients that the server recognizes repeated requests by their `Idempotency-Key`: Kling and its
resellers ignore that header, so a client must not repeat a request to them (docs/adr/0026).
"""
DEFAULT_HEADER_LIST = list(DEFAULT_HEADERS.items())
CODE = "framehouse.code"
"""The key in a request's scope for the error code of the response. The scope of a successful request does not contain
this key."""


class _JsonResponse(Response):
    """A response with a JSON body and the default headers.

    The headers are not validated, because the only value that can come from the client is a request id, which has
    already been validated.
    """

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
        headers = [*self.raw_headers, *DEFAULT_HEADER_LIST]
        await send({"type": "http.response.start", "status": self.status_code, "headers": headers})
        await send({"type": "http.response.body", "body": self.body})


def json_response(status: int, body: Mapping[str, Any], headers: Mapping[str, str]) -> Response:
    """Return a response with a JSON body that is not an envelope. The header values must be valid."""
    return _JsonResponse(status, body, headers)


def request_id_of(request: Request) -> str:
    """Return the client's X-Request-Id if it is valid. Otherwise, return a new id.

    All calls for the same request return the same id.
    """
    return request_id_in(request.scope)


def request_id_in(scope: MutableMapping[str, Any]) -> str:
    """Return the same id as `request_id_of`, given the scope of the request."""
    if "request_id" not in scope:
        header = find_header(scope, b"x-request-id")
        scope["request_id"] = header if header and _REQUEST_ID.fullmatch(header) else _new_request_id()
    return str(scope["request_id"])


def _new_request_id() -> str:
    return f"{random.getrandbits(128):032x}"


def success(request: Request, data: Any, headers: dict[str, str] | None = None) -> Response:
    request_id = request_id_of(request)
    body = {"code": 0, "message": "SUCCEED", "request_id": request_id, "data": data}
    return _JsonResponse(200, body, {"X-Request-Id": request_id, **(headers or {})})


def failure(request: Request, error: Refused, headers: Mapping[str, str] = MappingProxyType({})) -> Response:
    request_id = request_id_of(request)
    request.scope[CODE] = error.code
    headers = {"X-Request-Id": request_id, **headers}
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(error.retry_after_s)
    body = {"code": error.code, "message": error.message, "request_id": request_id}
    return _JsonResponse(error.status, body, headers)


def raw_failure(code: int, message: str) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """Return the headers and the body of an error response for input that is not a complete HTTP request."""
    request_id = _new_request_id()
    body = pydantic_core.to_json({"code": code, "message": message, "request_id": request_id})
    headers = DEFAULT_HEADERS | {b"content-type": b"application/json", b"x-request-id": request_id.encode()}
    return [*headers.items()], body
