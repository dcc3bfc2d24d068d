"""Errors in the form of OpenAI's API: the status, the body and the headers of an error response."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from framehouse.domain.errors import Refused
from framehouse.domain.task import CANCELED, Task
from framehouse.entrypoints.api.envelope import CODE, json_response, request_id_of

PREFIX = "/openai/"
_INVALID_REQUEST, _SERVER = "invalid_request_error", "server_error"
_CODES: dict[int, tuple[str, str]] = {
    1000: (_INVALID_REQUEST, "invalid_api_key"),
    1001: (_INVALID_REQUEST, "invalid_api_key"),
    1002: (_INVALID_REQUEST, "invalid_api_key"),
    1003: (_INVALID_REQUEST, "invalid_api_key"),
    1004: (_INVALID_REQUEST, "invalid_api_key"),
    1100: ("insufficient_quota", "account_disabled"),
    1101: ("insufficient_quota", "insufficient_quota"),
    1102: ("insufficient_quota", "insufficient_quota"),
    1103: (_INVALID_REQUEST, "model_not_allowed"),
    1200: (_INVALID_REQUEST, "invalid_body"),
    1201: (_INVALID_REQUEST, "invalid_value"),
    1202: (_INVALID_REQUEST, "unknown_url"),
    1203: (_INVALID_REQUEST, "model_not_found"),
    1300: ("image_generation_user_error", "moderation_blocked"),
    1301: ("image_generation_user_error", "moderation_blocked"),
    1302: ("requests", "rate_limit_exceeded"),
    1303: ("requests", "rate_limit_exceeded"),
}
"""The type and the code of OpenAI's API for each code of the Kling API. Other codes are errors of the server."""
_REPEATABLE = frozenset({1302, 1303, 5000, 5001, 5002})
"""The codes of errors after which the same request can succeed."""
_PARAM_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyz_[]0123456789.")


@dataclass(frozen=True, slots=True)
class OpenAIError:
    """An error in the form of OpenAI's API. `param` is the name of the field that is wrong, or empty.

    OpenAI's clients repeat a request after HTTP 429 or 5xx, unless `repeatable` is false.
    """

    status: int
    type: str
    code: str
    message: str
    param: str = ""
    repeatable: bool = False
    retry_after_s: int | None = None

    def body(self) -> dict[str, Any]:
        param = self.param or None
        return {"error": {"message": self.message, "type": self.type, "param": param, "code": self.code}}


def error_of(refused: Refused) -> OpenAIError:
    """Return the error for a refused request."""
    type, code = _CODES.get(refused.code, (_SERVER, "server_error"))
    param = "model" if refused.code in (1103, 1203) else _first_field(refused.message) if refused.code == 1201 else ""
    repeatable = refused.code in _REPEATABLE
    return OpenAIError(refused.status, type, code, refused.message, param, repeatable, refused.retry_after_s)


def _first_field(message: str) -> str:
    """Return the name of the field with which a message about invalid fields starts, or an empty string."""
    name = message.split(" ", 1)[0]
    return name if set(name) <= _PARAM_CHARACTERS else ""


def error_of_task(task: Task) -> OpenAIError:
    """Return the error for a task that has failed."""
    if task.status_message == CANCELED:
        return OpenAIError(409, _INVALID_REQUEST, "task_canceled", "The task was canceled.")
    message = f"The images could not be generated: {task.status_message or 'no reason was given'}"
    if task.declined:
        return OpenAIError(400, "image_generation_user_error", "image_generation_declined", message)
    return OpenAIError(500, _SERVER, "image_generation_failed", message)


def openai_failure(request: Request, refused: Refused, headers: dict[str, str]) -> Response:
    """Return the response for a refused request."""
    request.scope[CODE] = refused.code
    return error_to_response(request, error_of(refused), headers)


def error_to_response(
    request: Request, error: OpenAIError, headers: Mapping[str, str] = MappingProxyType({})
) -> Response:
    sent = {"X-Request-Id": request_id_of(request), "X-Should-Retry": "true" if error.repeatable else "false"}
    if error.retry_after_s is not None:
        sent["Retry-After"] = str(error.retry_after_s)
    return json_response(error.status, error.body(), {**sent, **headers})
