"""Read the responses of Framehouse, of Kling, and of resellers that do not follow Kling's documentation exactly.

Examples of such differences: HTTP 200 with an error code, codes that are strings or words, and the body of Kling's
response as the text of a reseller's error.
"""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from framehouse_client.effects import Response
from framehouse_client.errors import (
    AuthenticationError,
    ContentRefused,
    FramehouseError,
    InvalidRequest,
    NotFound,
    QuotaExceeded,
    RateLimited,
    ServerError,
)

_SUCCESS_WORDS = frozenset({"success", "succeed", "succeeded", "ok"})
_MAX_MESSAGE_CHARACTERS = 500
_MAX_DEPTH = 4
_UNCLEAR_STATUSES = frozenset({408, 409, 425, 499})
"""Statuses below 500 that do not mean that the server refused the request."""
_TEMPORARY_STATUSES = _UNCLEAR_STATUSES | {429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529}

_CODES: Mapping[int, type[FramehouseError]] = {
    **dict.fromkeys((1000, 1001, 1002, 1003, 1004, 1103), AuthenticationError),
    **dict.fromkeys((1100, 1101, 1102), QuotaExceeded),
    **dict.fromkeys((1202, 1203), NotFound),
    **dict.fromkeys((1300, 1301), ContentRefused),
    **dict.fromkeys((1302, 1303, 1304), RateLimited),
}
_STATUSES: Mapping[int, type[FramehouseError]] = {
    **dict.fromkeys((401, 403), AuthenticationError),
    402: QuotaExceeded,
    **dict.fromkeys((404, 405), NotFound),
    429: RateLimited,
    451: ContentRefused,
}
# Patterns that are searched in the name of an error, such as `insufficient_quota`.
_NAMES: tuple[tuple[re.Pattern[str], type[FramehouseError]], ...] = (
    (re.compile(r"content.?(policy|filter)|moderation|sensitive|nsfw|prohibited|risk.?control"), ContentRefused),
    (re.compile(r"insufficient|balance|quota|arrear|billing|payment"), QuotaExceeded),
    (re.compile(r"rate.?limit|too.?many|concurren|parallel|throttl"), RateLimited),
    (re.compile(r"(invalid|wrong|incorrect).?(api.?)?(key|token)|unauthori[sz]ed|authentication"), AuthenticationError),
    (re.compile(r"not.?found|unsupported.?model"), NotFound),
    (re.compile(r"invalid.?(request|param|argument|input)|bad.?request|validation"), InvalidRequest),
)
_UNKNOWN_TASK = re.compile(
    r"(task|element|record|job|\bid\b|任务|记录)[^.]{0,300}(not.?(found|exist)|n.t.exist|不存在)"
    r"|(no such|unknown).(task|element|record|job|id\b)|not.?(found|exist)[^.]{0,20}(task|\bid\b)"
)
_DUPLICATE = re.compile(r"external.*(already|exist|duplicate)|(already.exists|duplicate).*(external|task)")


@dataclass(frozen=True, slots=True)
class Answer:
    """A response as the client understands it.

    `success` is true if the server states success. `code` is a code of the Kling API, or None. `name` is another code,
    such as `model_not_found`, in lower case, or an empty string. `body` is empty if the response is not a JSON object.
    """

    status: int
    body: Mapping[str, Any]
    success: bool
    code: int | None
    name: str
    message: str
    request_id: str
    retry_after_s: float | None

    @property
    def data(self) -> Any:
        return self.body.get("data")

    @property
    def is_duplicate(self) -> bool:
        """Whether the server refuses the request because its external id is taken."""
        return not self.success and bool(_DUPLICATE.search(f"{self.name} {self.message}".lower()))

    @property
    def is_temporary(self) -> bool:
        """Whether the same query may succeed later."""
        if self.success or self.code in (1100, 1101, 1102):
            return False
        if self.code is not None:
            return self.code >= 5000 or _CODES.get(self.code) is RateLimited
        return self.status in _TEMPORARY_STATUSES

    def error(self) -> FramehouseError:
        """Return the error that the answer reports."""
        kind = self._error_class()
        message = self.message
        if not self.body and (self.status < 300 or kind is NotFound):
            message = f"the server does not implement the Kling API at this URL; check the URL: {message}"
        error = kind(message, code=self.code, status=self.status, request_id=self.request_id)
        if isinstance(error, RateLimited):
            error.retry_after_s = self.retry_after_s
        return error

    def _error_class(self) -> type[FramehouseError]:
        if self.is_duplicate:
            return InvalidRequest
        if self.code is not None:
            if self.code in _CODES:
                return _CODES[self.code]
            if not 1200 <= self.code < 1400:
                return ServerError
            return NotFound if _UNKNOWN_TASK.search(self.message.lower()) else InvalidRequest
        for pattern, kind in _NAMES:
            if self.name and pattern.search(self.name):
                return kind
        if self.status in _STATUSES:
            return _STATUSES[self.status]
        if 400 <= self.status < 500 and self.status not in _UNCLEAR_STATUSES:
            return NotFound if _UNKNOWN_TASK.search(f"{self.name} {self.message}".lower()) else InvalidRequest
        return ServerError


def parse_answer(response: Response) -> Answer:
    """Parse a response. Never raises an error."""
    body = _object(response.body)
    code = _code(body)
    message = _message(body)
    if isinstance(code, str) and code not in _SUCCESS_WORDS:
        inner = _object(message.encode())  # some resellers send the body of Kling's response as their own message
        if isinstance(inner_code := _code(inner), int) and inner_code >= 1000:
            code, message = inner_code, _message(inner)
    succeeded = 200 <= response.status < 300
    stated = code in _SUCCESS_WORDS if isinstance(code, str) else code is None or code == 0 or 200 <= code < 300
    number = code if isinstance(code, int) and code >= 1000 else None
    # some resellers send HTTP 200 with a code such as 429
    status = code if succeeded and isinstance(code, int) and 400 <= code < 600 else response.status
    if not body:
        message = _text(re.sub(r"<[^>]{0,1000}>", " ", response.body[:2000].decode("utf-8", "replace")))
    return Answer(
        status=status,
        body=body,
        success=succeeded and stated and bool(body),
        code=number,
        name=code if isinstance(code, str) and code not in _SUCCESS_WORDS else "",
        message=_text(message) or f"HTTP {response.status}",
        request_id=str(body.get("request_id") or response.headers.get("x-request-id") or ""),
        retry_after_s=_retry_after(response.headers.get("retry-after", "")),
    )


def nested(answer: object) -> Iterator[Mapping[str, Any]]:
    """Yield the objects that may be a task: `data`, the data of `data`, and so on, and the object itself.

    A list with one element counts as this element.
    """
    value = answer
    for _ in range(_MAX_DEPTH):
        value = value.get("data") if isinstance(value, Mapping) else None
        value = value[0] if isinstance(value, list) and len(value) == 1 else value
        if isinstance(value, Mapping):
            yield value
    if isinstance(answer, Mapping):
        yield answer


def listed(answer: Answer) -> list[Mapping[str, Any]]:
    """Return the objects of a page. Some resellers put the list into a field of `data`."""
    value = answer.data
    if isinstance(value, Mapping):
        names = ("list", "items", "tasks", "records", "data", "result")
        value = next((value[name] for name in names if isinstance(value.get(name), list)), None)
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def integer(value: object) -> int | None:
    """Return a number, or text that contains a number, as an integer. Returns None for all other values."""
    if isinstance(value, str) and re.fullmatch(r"\s*-?[0-9]{1,18}\s*", value):
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _object(body: bytes) -> Mapping[str, Any]:
    with suppress(ValueError, RecursionError):
        value = json.loads(body)
        if isinstance(value, dict):
            return value
    return {}


def _code(body: Mapping[str, Any]) -> int | str | None:
    """Return the code of a response as a number or as a word in lower case, or None if the response has no code."""
    error = body.get("error")
    inner = error if isinstance(error, Mapping) else {}
    word = error if isinstance(error, str) and re.fullmatch(r"[\w.:-]{1,100}", error) else None
    for value in (body.get("code"), inner.get("code"), inner.get("type"), word):
        number = integer(value)
        if number is not None:
            return number
        if isinstance(value, str) and value.strip():
            return value.strip().lower()[:100]
    failed = inner or error or body.get("success") is False or body.get("status") in ("error", "fail", "failed")
    return "error" if failed else None


def _message(body: Mapping[str, Any]) -> str:
    error = body.get("error")
    values: list[object] = [body.get(name) for name in ("message", "msg", "detail", "error_message")]
    values += [error.get("message")] if isinstance(error, Mapping) else [error]
    return next((value for value in values if isinstance(value, str) and value), "")


def _text(text: str) -> str:
    """Return text on one line and without control characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in text[:2000]).split())[:_MAX_MESSAGE_CHARACTERS]


def _retry_after(value: str) -> float | None:
    """Return the value of a Retry-After header in seconds, or None if the header is absent or invalid."""
    if re.fullmatch(r"\s*[0-9]{1,9}(\.[0-9]{1,9})?\s*", value):
        return float(value)
    with suppress(ValueError):
        moment = parsedate_to_datetime(value)
        return max(0.0, (moment.replace(tzinfo=moment.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
    return None
