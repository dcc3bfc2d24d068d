"""Send one request to one server, and classify the response.

    NotAccepted      the request was not sent, or was clearly refused; it may be sent to another server
    OutcomeUnknown   the server may have accepted the request, so the engine never sends the request again
    Declined         the server refuses the content
    Broken           the response is invalid, or reports that the request is invalid

Every `reason` continues a sentence that begins with the name of the server, as in "server 1 of 2 is busy".
"""

import asyncio
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http.cookiejar import CookieJar, DefaultCookiePolicy
from time import time
from typing import TYPE_CHECKING, Any

from framehouse.adapters.telemetry import spans
from framehouse.adapters.tls import tls_context
from framehouse.domain.errors import Broken, Declined

if TYPE_CHECKING:
    import httpx

CONNECT_TIMEOUT_S = 10.0
KEY_COOLDOWN_S = 300.0
_MAX_RETRY_AFTER_S = 3600.0
_MAX_MESSAGE_CHARACTERS = 300
_MIN_HIDDEN_CHARACTERS = 4
POLICY_CODES = {"moderation_blocked", "content_policy_violation", "content_filter"}
_POLICY = re.compile(
    r"content[ _](?:policy|filter)|policy violation|moderation[ _]blocked|safety (?:system|checker|filter)|\bnsfw\b",
    re.IGNORECASE,
)
_BUSY = re.compile(r"overloaded|loading|not ready|try again later|retry later|capacity|too many", re.IGNORECASE)


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


def open_client(headers: Mapping[str, str]) -> "httpx.AsyncClient":
    """Create an HTTP client that sends these headers. The client stores no cookies and follows no redirects.

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
    client: "httpx.AsyncClient",
    method: str,
    url: str,
    *,
    timeout_s: float,
    max_bytes: int,
    max_error_bytes: int = 65_536,
    headers: Mapping[str, str] | None = None,
    **content: Any,
) -> Reply:
    """Send a request once. Returns the response even if its status reports an error.

    Cancelling the call closes the connection. Raises NotAccepted if nothing was sent, and OutcomeUnknown if the
    response is missing or incomplete. Raises Broken if a response with status 200 is longer than `max_bytes`. A
    response with another status is truncated after about `max_error_bytes` bytes.
    """
    import httpx

    connect_s = min(CONNECT_TIMEOUT_S, timeout_s)
    timeouts = httpx.Timeout(timeout_s, connect=connect_s, pool=connect_s)
    try:
        async with (
            asyncio.timeout(timeout_s + connect_s),
            client.stream(
                method, url, timeout=timeouts, headers={**spans.trace_headers(), **(headers or {})}, **content
            ) as answer,
        ):
            limit = max_bytes if answer.status_code == 200 else max_error_bytes
            chunks, length = [], 0
            async for chunk in answer.aiter_raw():
                chunks.append(chunk)
                length += len(chunk)
                if length > limit and answer.status_code == 200:
                    raise Broken(f"the response has more than {limit:,} bytes")
                if length > limit:
                    break
            received = {name.lower(): value for name, value in answer.headers.items()}
            return Reply(answer.status_code, received, b"".join(chunks))
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol) as error:
        raise NotAccepted(f"cannot be reached: {one_line(str(error)) or type(error).__name__}") from error
    except (httpx.TimeoutException, TimeoutError) as error:
        raise OutcomeUnknown(f"did not send a complete response within {timeout_s:g} s") from error
    except httpx.HTTPError as error:
        raise OutcomeUnknown("closed the connection before its response was complete") from error


def error_from_reply(
    reply: Reply, message: str, code: str = "", *, paid: bool, server: str = "the model server", wait_s: float = 0.0
) -> Exception:
    """Return the exception for a response whose status is not 200.

    `message` and `code` are the details in its body (see `error_details`). `paid` is true if the request costs money.
    If `paid` is false, status 503 always means that the server refused the request. If `paid` is true, status 503 means
    a refusal only if the response specifies a delay, or if its message states that the server is overloaded or still
    loading. `wait_s` is the delay that the body specifies in seconds, or 0. The Retry-After header may be longer.
    """
    status = f"HTTP {reply.status}" + (f": {message}" if message else "")
    wait_s = max(wait_s, retry_after_s(reply.headers))
    if reply.status in (400, 403, 422) and (code in POLICY_CODES or _POLICY.search(message)):
        return Declined(message or f"{server} declined the prompt")
    if reply.status in (401, 402, 403):
        return NotAccepted(f"does not accept the api_key (HTTP {reply.status})", cooldown_s=KEY_COOLDOWN_S)
    if reply.status == 429:
        used_up = "insufficient_quota" in code
        return NotAccepted(
            "reports that its quota is used up" if used_up else "is busy (HTTP 429)",
            cooldown_s=KEY_COOLDOWN_S if used_up else wait_s,
        )
    if reply.status == 503 and (not paid or wait_s or _BUSY.search(message)):
        return NotAccepted("is busy or still loading (HTTP 503)", cooldown_s=wait_s)
    if 300 <= reply.status < 400:
        return NotAccepted("responds with a redirect, which is not followed; configure the redirect's target")
    if reply.status >= 500 or reply.status in (408, 409, 425, 499) or reply.status < 300:
        return OutcomeUnknown(f"returned {status}")
    return Broken(f"{server} returned {status}")


def error_details(body: bytes, hidden: Iterable[str] = ()) -> tuple[str, str]:
    """Return the message and the code in the body of an error response.

    The message is a single line of at most 300 characters. A missing message or code is returned as an empty string.
    For `hidden`, see `one_line`. This function supports the formats of OpenAI (`error`) and FastAPI (`detail`,
    including a list of invalid fields), and a plain `message`.
    """
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return "", ""
    if not isinstance(answer, dict):
        return "", ""
    error = answer.get("error") or answer.get("detail") or answer.get("message") or ""
    if isinstance(error, dict):
        return one_line(str(error.get("message", "")), hidden), str(error.get("code") or error.get("type") or "")
    if isinstance(error, list):
        fields = [field for field in error if isinstance(field, dict)]
        error = "; ".join(f"{'.'.join(map(str, field.get('loc', ())))}: {field.get('msg', '')}" for field in fields)
    return one_line(str(error), hidden), ""


def one_line(text: str, hidden: Iterable[str] = ()) -> str:
    """Return the text as a single line of at most 300 characters.

    Each text in `hidden`, such as the prompt or the key, is replaced with an ellipsis. Texts with fewer than four
    characters are not replaced, because they also occur in other words.
    """
    for secret in hidden:
        if len(secret.strip()) >= _MIN_HIDDEN_CHARACTERS:
            text = text.replace(secret, "…")
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
