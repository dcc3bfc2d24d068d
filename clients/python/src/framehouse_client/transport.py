"""Translate between the effects of the client and httpx."""

from typing import Any

import httpx

from framehouse_client.effects import NoResponse, Request, Response

CONNECT_S = 10.0
MAX_REDIRECTS = 5
LIMITS = httpx.Limits(max_connections=1000, max_keepalive_connections=100)
"""Each waiting task occupies a connection, and the default of httpx is 100 connections."""
NOT_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.InvalidURL,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
)
"""The errors after which the server has certainly not received the request."""
ERRORS = (httpx.TransportError, httpx.DecodingError, httpx.InvalidURL, httpx.TooManyRedirects)


def arguments(request: Request) -> dict[str, Any]:
    """Return the arguments of `httpx.Client.stream`."""
    body: dict[str, Any] = {}
    if request.json is not None:
        body = {"json": request.json}
    elif request.content is not None:
        body = {"content": request.content}
    elif request.file is not None:
        name, content = request.file
        body = {"files": {name: ("image", content, "application/octet-stream")}}
    return body | {
        "method": request.method,
        "url": request.url,
        "headers": dict(request.headers),
        "timeout": httpx.Timeout(request.timeout_s, connect=CONNECT_S),
        "follow_redirects": request.redirects,
    }


def response_of(response: httpx.Response, body: bytes | None) -> Response:
    """Return a response. `body` is None if the body is too large."""
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Response(response.status_code, headers, body or b"", too_large=body is None)


def no_response(error: Exception) -> NoResponse:
    return NoResponse(str(error) or type(error).__name__, sent=not isinstance(error, NOT_SENT))
