"""Classify the error responses of servers.

    NotAccepted      the request was clearly refused; it may be sent to another server
    OutcomeUnknown   the server may have accepted the request, so the engine never sends the request again
    Declined         the server refuses the content
    Broken           the server reports that the request is invalid

Sources for the codes: the documentation of Volcengine, Zhipu, Azure, xAI and LiteLLM, and the reports of their users.
"""

import json
import re
from collections.abc import Mapping
from typing import NamedTuple

from framehouse.domain.errors import Broken, Declined
from framehouse.engines.http_exchange import NotAccepted, OutcomeUnknown, Reply, one_line, retry_after_s

KEY_COOLDOWN_S = 300.0
_POLICY_CODES = re.compile(
    r"moderation_blocked|content_policy_violation|content_?filter|ResponsibleAIPolicyViolation"
    r"|\w*SensitiveContentDetected(?:\.\w+)?|(?:Input|Output)\w+RiskDetection|1301",
    re.IGNORECASE,
)
_POLICY = re.compile(
    r"content[ _](?:policy|filter|moderation)|policy ?violation|moderation[ _]blocked|content management policy"
    r"|violates? usage guidelines|safety (?:system|checker|filter)|\bnsfw\b",
    re.IGNORECASE,
)
_ACCOUNT_CODES = re.compile(
    r"insufficient_\w*quota|(?:Account|Service)Overdue(?:Error)?|SetLimitExceeded|budget_exceeded|.*spending-limit|1113",
    re.IGNORECASE,
)
_ACCOUNT = re.compile(r"budget has been exceeded|exceeded ?budget|crossed budget", re.IGNORECASE)
_BLOCKED = re.compile(r"resource has been (?:temporarily )?blocked", re.IGNORECASE)
_WRONG_KEY = re.compile(r"(?:incorrect|invalid) api[ _]key|no connected db", re.IGNORECASE)
_BUSY = re.compile(r"overloaded|loading|not ready|try again later|retry later|capacity|too many", re.IGNORECASE)


class ErrorDetails(NamedTuple):
    """The message and the codes of an error. A missing message is empty."""

    message: str
    codes: frozenset[str] = frozenset()


def error_from_reply(reply: Reply, *, paid: bool, hidden: Mapping[str, str] | None = None) -> Exception:
    """Return the exception for a response whose status is not 200. For `paid`, see `error_from_details`.

    `hidden` maps each text that messages must not contain to its replacement.
    """
    return error_from_details(reply, error_details(reply.body, hidden), paid=paid)


def error_from_details(
    reply: Reply, details: ErrorDetails, *, paid: bool, server: str = "the model server", wait_s: float = 0.0
) -> Exception:
    """Return the exception for a response whose status is not 200, and whose body contains these details.

    `paid` is true if the request costs money. If `paid` is false, status 503 always means that the server refused the
    request. If `paid` is true, status 503 means a refusal only if the response specifies a delay, or if its message
    states that the server is overloaded or still loading. `server` is the name of the server in messages. `wait_s` is
    the delay in seconds that the body specifies, or 0. The Retry-After header may be longer.
    """
    message = details.message
    status = f"HTTP {reply.status}" + (f": {message}" if message else "")
    wait_s = max(wait_s, retry_after_s(reply.headers))
    if reply.status in (400, 402, 403, 429) and (_any(_ACCOUNT_CODES, details.codes) or _ACCOUNT.search(message)):
        reason = "reports that its quota is used up or that the account cannot pay"
        return NotAccepted(f"{reason} (HTTP {reply.status})", cooldown_s=max(wait_s, KEY_COOLDOWN_S))
    if reply.status == 403 and _BLOCKED.search(message):
        return NotAccepted("has blocked the account (HTTP 403)", cooldown_s=KEY_COOLDOWN_S)
    if reply.status in (400, 403, 422) and is_declined(details):
        return Declined(message or f"{server} declined the prompt")
    if reply.status in (401, 402, 403) or (reply.status == 400 and _WRONG_KEY.search(message)):
        return NotAccepted(f"does not accept the api_key (HTTP {reply.status})", cooldown_s=KEY_COOLDOWN_S)
    if reply.status == 429:
        return NotAccepted("is busy (HTTP 429)", cooldown_s=wait_s)
    if reply.status == 503 and (not paid or wait_s or _BUSY.search(message)):
        return NotAccepted("is busy or still loading (HTTP 503)", cooldown_s=wait_s)
    if 300 <= reply.status < 400:
        return NotAccepted("responds with a redirect, which is not followed; set base_urls to the redirect's target")
    if reply.status >= 500 or reply.status in (408, 409, 425, 499) or reply.status < 300:
        return OutcomeUnknown(f"returned {status}")
    return Broken(f"{server} returned {status}")


def error_from_item(item: Mapping[str, object], hidden: Mapping[str, str] | None = None) -> Declined | Broken | None:
    """Return the exception for an entry of a response that contains an error instead of an image.

    Returns None if the entry contains no error. In the responses of xAI, the field `respect_moderation` is false if an
    image was blocked.
    """
    if item.get("respect_moderation") is False:
        return Declined("the moderation of the model server has blocked the image")
    if not item.get("error"):
        return None
    details = _details_of(item, hidden)
    if is_declined(details):
        return Declined(details.message or "the model server declined the image")
    return Broken(f"the model server returned an error instead of an image: {details.message or 'no message'}")


def is_policy_code(code: str) -> bool:
    """Return whether a code means that the server refuses the content."""
    return _POLICY_CODES.fullmatch(code) is not None


def is_declined(details: ErrorDetails) -> bool:
    """Return whether an error states that the prompt or an image violates a policy."""
    return _any(_POLICY_CODES, details.codes) or _POLICY.search(details.message) is not None


def error_details(body: bytes, hidden: Mapping[str, str] | None = None) -> ErrorDetails:
    """Return the message and the codes in the body of an error response.

    The message is a single line of at most 300 characters. This function supports the formats of OpenAI (`error`),
    FastAPI (`detail`, including a list of invalid fields) and xAI (`error` and `code`), and a plain `message`.
    """
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return ErrorDetails("")
    return _details_of(answer, hidden) if isinstance(answer, dict) else ErrorDetails("")


def _details_of(answer: Mapping[str, object], hidden: Mapping[str, str] | None) -> ErrorDetails:
    error = answer.get("error") or answer.get("detail") or answer.get("message") or ""
    if isinstance(error, dict):
        fields = [error, error.get("inner_error"), error.get("innererror"), error.get("provider_specific_fields")]
        fields += [fields[3].get("innererror")] if isinstance(fields[3], dict) else []
        codes = {
            str(part[name]) for part in fields if isinstance(part, dict) for name in ("code", "type") if part.get(name)
        }
        return ErrorDetails(one_line(str(error.get("message") or ""), hidden), frozenset(codes))
    if isinstance(error, list):
        error = "; ".join(_invalid_field(field) for field in error if isinstance(field, dict))
    return ErrorDetails(one_line(str(error), hidden), frozenset({str(answer["code"])} if answer.get("code") else ()))


def _invalid_field(field: Mapping[str, object]) -> str:
    """Return the name of an invalid field and the problem, from an error response of FastAPI."""
    place = field.get("loc")
    return f"{'.'.join(map(str, place)) if isinstance(place, list) else place}: {field.get('msg', '')}"


def _any(pattern: re.Pattern[str], codes: frozenset[str]) -> bool:
    return any(pattern.fullmatch(code) for code in codes)
