"""The headers that guard every answer, whoever made it."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from framehouse.entrypoints.api.envelope import GUARDS, HEADERS

_POLICY, _CACHE = b"content-security-policy", b"cache-control"
_REVALIDATED = (_CACHE, b"no-cache")


class GuardedAnswers:
    """An app whose answers carry HEADERS where they do not have them already.

    Files with an ETag may be kept and asked for again. Pictures need no policy: with `nosniff` they are nothing else.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = _guarded(list(message.get("headers", ())))
            await send(message)

        await self._app(scope, receive, guarded if scope["type"] == "http" else send)


def _guarded(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    if headers[-len(GUARDS) :] == GUARDS:  # an envelope, which is most answers
        return headers
    has = {name.lower(): value for name, value in headers}
    for name, value in HEADERS.items():
        if name in has or (name == _POLICY and has.get(b"content-type", b"").startswith(b"image/")):
            continue
        headers.append(_REVALIDATED if name == _CACHE and b"etag" in has else (name, value))
    return headers
