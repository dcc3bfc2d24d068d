"""The endpoint `/mcp`, which passes the messages of MCP clients to a mounted ASGI app.

The endpoint checks the Origin header and the key, and reads the body with the same limits as other bodies. The mounted
app then sends requests to the API with the caller's own Authorization header.
"""

from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from framehouse.domain.errors import Refused
from framehouse.domain.field_reader import quoted
from framehouse.entrypoints.api.authentication import authenticate, authorization_of
from framehouse.entrypoints.api.context import ApiContext
from framehouse.entrypoints.api.envelope import CODE, request_id_of
from framehouse.entrypoints.api.request_headers import find_header

MAX_VALUES = 100_000
"""The maximum number of JSON values in a message. Parsing millions of values would block the event loop for seconds and
use hundreds of megabytes. A base64 image is only one value."""
_LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "::1")
_UNAUTHORIZED = 401


async def serve_mcp(context: ApiContext, request: Request) -> ASGIApp:
    """Pass one message to the mounted app.

    The rate limit does not count this request, because it counts the requests that the mounted app sends. A refusal is
    a JSON-RPC error, because the clients of MCP show only the messages of such errors to their users.
    """
    try:
        if problem := origin_problem(find_header(request.scope, b"origin"), context.links.base):
            raise Refused(1200, problem, status=403)
        caller = await authenticate(context.db, authorization_of(request.scope), context.key_cache)
        app = await context.mcp.app()
        async with AsyncExitStack() as stack:
            bodies = context.mcp.bodies.read_whole(request, account_id=caller.account_id)
            body = await stack.enter_async_context(bodies)
            if _max_values(body) > MAX_VALUES:
                raise Refused(1200, f"the message has too many values; at most {MAX_VALUES:,} are allowed", status=413)
            return _Message(app, body, stack.pop_all())
    except Refused as error:
        return _refusal(request, error)


def _max_values(body: bytes) -> int:
    """Return an upper limit of the number of JSON values. Only commas and brackets in strings make it too high."""
    return sum(body.count(character) for character in (b",", b"[", b"{"))


def _refusal(request: Request, error: Refused) -> Response:
    request.scope[CODE] = error.code
    headers = {"X-Request-Id": request_id_of(request)}
    if error.status == _UNAUTHORIZED:
        headers["WWW-Authenticate"] = 'Bearer realm="framehouse"'
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(error.retry_after_s)
    problem = {"code": error.code, "message": f"{error.message} (code {error.code})"}
    return JSONResponse({"jsonrpc": "2.0", "id": None, "error": problem}, error.status, headers)


def origin_problem(origin: str | None, public_url: str) -> str:
    """Return why a browser page with this Origin header must not send messages, or an empty string if it may.

    A page of another site can make a browser resolve the site's host name to this server (DNS rebinding). The browser
    still sends the site's own origin. Programs that are not browsers send no Origin header.
    """
    if origin is None:
        return ""
    try:
        sent, public = urlsplit(origin), urlsplit(public_url)
        is_public = bool(public_url) and (sent.scheme, sent.netloc) == (public.scheme, public.netloc)
        if sent.scheme in ("http", "https") and (is_public or sent.hostname in _LOOPBACK_HOSTS):
            return ""
    except ValueError:
        pass
    return (
        f"the Origin {quoted(origin)} is not allowed; allowed are pages of this machine and of the setting public_url"
    )


@dataclass(frozen=True, slots=True)
class _Message:
    """An ASGI app that passes a message to `app` and afterwards closes `resources`, the slot of a large body."""

    app: ASGIApp
    body: bytes
    resources: AsyncExitStack = field(repr=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        unread = [self.body]

        async def receive_body() -> Message:
            if unread:
                return {"type": "http.request", "body": unread.pop(), "more_body": False}
            return await receive()

        async with self.resources:
            await self.app(scope, receive_body, send)
