"""Send one HTTP request to a model server.

    NotAccepted      the request was not sent, or was clearly refused; it may be sent to another server
    OutcomeUnknown   the server may have accepted the request

Every `reason` continues a sentence that begins with the name of the server, as in "server 1 of 2 is busy".
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http.cookiejar import CookieJar, DefaultCookiePolicy
from time import time
from typing import TYPE_CHECKING, Any

from framehouse.adapters.telemetry import spans
from framehouse.adapters.tls import tls_context
from framehouse.domain.errors import Broken

if TYPE_CHECKING:
    import httpx

CONNECT_TIMEOUT_S = 10.0
KEY_COOLDOWN_S = 300.0
_MAX_RETRY_AFTER_S = 3600.0
_MAX_MESSAGE_CHARACTERS = 300
_MAX_ERROR_BYTES = 65_536


class NotAccepted(Exception):
    """Raised when the server did not accept the request. No image was generated, and nothing is charged.

    If `cooldown_s` is not 0, the server must not be used for at least `cooldown_s` seconds, even if its health check
    succeeds.
    """

    def __init__(self, reason: str, *, cooldown_s: float = 0.0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.cooldown_s = cooldown_s


class OutcomeUnknown(Exception):
    """Raised when the request was sent, but it is not known whether the server generated the images."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Reply:
    """A complete response. The names in `headers` are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def new_client(headers: Mapping[str, str]) -> "httpx.AsyncClient":
    """Return an HTTP client that sends `headers` and no cookies, and follows no redirects.

    Each request uses a new connection. If a request reused an idle connection, the server could close the connection
    while the request is being sent, and the response would be lost.
    """
    import httpx

    return httpx.AsyncClient(
        headers={"Accept": "application/json", "Accept-Encoding": "identity", **headers},
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=0),
        follow_redirects=False,
        trust_env=False,
        verify=tls_context(),
    )


async def send_request(
    client: "httpx.AsyncClient", method: str, url: str, *, timeout_s: float, max_bytes: int, **content: Any
) -> Reply:
    """Send a request once. Returns the response even if its status reports an error.

    Cancelling the call closes the connection. Raises NotAccepted if nothing was sent, and OutcomeUnknown if the
    response is missing or incomplete. Raises Broken if a response with status 200 is longer than `max_bytes`. A
    response with another status is truncated after about 65,536 bytes.
    """
    import httpx

    connect_s = min(CONNECT_TIMEOUT_S, timeout_s)
    timeouts = httpx.Timeout(timeout_s, connect=connect_s, pool=connect_s)
    try:
        async with (
            asyncio.timeout(timeout_s + connect_s),
            client.stream(method, url, timeout=timeouts, headers=spans.trace_headers(), **content) as answer,
        ):
            limit = max_bytes if answer.status_code == 200 else _MAX_ERROR_BYTES
            chunks, length = [], 0
            async for chunk in answer.aiter_raw():
                chunks.append(chunk)
                length += len(chunk)
                if length > limit and answer.status_code == 200:
                    raise Broken(f"the model server's response has more than {limit:,} bytes")
                if length > limit:
                    break
            headers = {name.lower(): value for name, value in answer.headers.items()}
            return Reply(answer.status_code, headers, b"".join(chunks))
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol) as error:
        raise NotAccepted(f"cannot be reached: {one_line(str(error)) or type(error).__name__}") from error
    except (httpx.TimeoutException, TimeoutError) as error:
        raise OutcomeUnknown(f"did not send a complete response within {timeout_s:g} s") from error
    except httpx.HTTPError as error:
        raise OutcomeUnknown("closed the connection before its response was complete") from error


def one_line(text: str) -> str:
    """Return the text as a single line of at most 300 printable characters."""
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return text if len(text) <= _MAX_MESSAGE_CHARACTERS else text[: _MAX_MESSAGE_CHARACTERS - 1] + "…"


def retry_after_s(headers: Mapping[str, str]) -> float:
    """Return the delay in the Retry-After header in seconds, at most 3,600.

    Returns 0 if the header is missing or invalid.
    """
    value = headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return min(_MAX_RETRY_AFTER_S, float(value[:9]))
    try:
        return min(_MAX_RETRY_AFTER_S, max(0.0, parsedate_to_datetime(value).timestamp() - time()))
    except (ValueError, TypeError, OverflowError):
        return 0.0
