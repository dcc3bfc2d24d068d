"""Error responses in the form of the dialect that a request uses."""

import logging

from starlette.requests import Request
from starlette.responses import Response

from framehouse.adapters.postgres.pool import DatabaseUnavailable
from framehouse.adapters.storage import StorageUnavailable
from framehouse.adapters.telemetry import metrics
from framehouse.adapters.telemetry.safe_traceback import safe_traceback
from framehouse.domain.errors import Refused
from framehouse.entrypoints.api.envelope import failure, request_id_of
from framehouse.entrypoints.api.openai_errors import PREFIX, openai_failure

log = logging.getLogger(__name__)
_MAX_PATH_CHARACTERS = 200


def no_such_path(request: Request, closest: str = "") -> Refused:
    """Return the error for an unknown path. The message contains `closest`, the most similar existing path."""
    advice = f"; the most similar path is {closest}" if closest else ""
    return Refused(1202, f"no such path: {request.url.path[:_MAX_PATH_CHARACTERS]}{advice}")


def not_allowed(request: Request) -> Refused:
    path = request.url.path[:_MAX_PATH_CHARACTERS]
    return Refused(1202, f"{request.method} is not allowed on {path}", status=405)


def error_response(request: Request, error: Exception) -> Response:
    """Return the response for an error. All errors except Refused are also logged."""
    match error:
        case Refused():
            return refusal_response(request, error)
        case DatabaseUnavailable() | StorageUnavailable():
            log.error("request %s: %s: %s", request_id_of(request), type(error).__name__, error)
            return refusal_response(
                request, Refused(5001, "the service is temporarily unavailable; try again", retry_after_s=2)
            )
    log.error("request %s failed: %s", request_id_of(request), safe_traceback(error))
    metrics.INTERNAL_ERRORS.inc()
    return refusal_response(request, Refused(5000, "internal error"))


def refusal_response(request: Request, refused: Refused, headers: dict[str, str] | None = None) -> Response:
    """Return the response for a refused request: an envelope, or OpenAI's form under the path of that dialect."""
    if request.scope["path"].startswith(PREFIX):
        return openai_failure(request, refused, headers or {})
    return failure(request, refused, headers or {})
