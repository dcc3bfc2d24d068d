"""Adds the default security headers to every response."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from framehouse.entrypoints.api.envelope import DEFAULT_HEADER_LIST, DEFAULT_HEADERS

_POLICY, _CACHE = b"content-security-policy", b"cache-control"
_REVALIDATED = (_CACHE, b"no-cache")


class SecurityHeaders:
    """An ASGI app that adds DEFAULT_HEADERS to the responses of `app`. Existing headers are not replaced.

    For a response with an ETag, the Cache-Control header is `no-cache` instead of `no-store`, so that clients may store
    and revalidate the response. Images need no content security policy, because `nosniff` already prevents browsers
    from treating an image as a page.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = _with_defaults(list(message.get("headers", ())))
            await send(message)

        await self._app(scope, receive, send_with_headers if scope["type"] == "http" else send)


def _with_defaults(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    if headers[-len(DEFAULT_HEADER_LIST) :] == DEFAULT_HEADER_LIST:  # an envelope response already has the defaults
        return headers
    present = {name.lower(): value for name, value in headers}
    for name, value in DEFAULT_HEADERS.items():
        if name in present or (name == _POLICY and present.get(b"content-type", b"").startswith(b"image/")):
            continue
        headers.append(_REVALIDATED if name == _CACHE and b"etag" in present else (name, value))
    return headers
