"""The documentation of the Kling dialect's responses, and the response for an accepted task."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from framehouse.domain.task import Ticket
from framehouse.domain.task_json import common_task_data
from framehouse.entrypoints.api.documentation import Json, Model, ResponseDoc
from framehouse.entrypoints.api.envelope import success
from framehouse.entrypoints.api.kling.response_schemas import ErrorOut

EXAMPLE_REQUEST_ID = "6f0c2b9d4d3e4a6f8a1b0c9d8e7f6a5b"
REQUEST_ID = {"X-Request-Id": "The id of the request, which the log of the server also contains"}
REPLAYED = {"Idempotency-Replayed": "`true` if the request repeats an earlier request with the same `Idempotency-Key`"}
_RETRY_AFTER = {
    "Retry-After": "The number of seconds to wait before repeating the request; absent if waiting is useless"
}


def error_doc(component: str, description: str, **examples: tuple[int, str]) -> ResponseDoc:
    """Return the documentation of an error response. `examples` contains codes and messages."""
    headers = REQUEST_ID | (_RETRY_AFTER if component in ("TooManyRequests", "Unavailable") else {})
    bodies: dict[str, Json] = {
        name: {"summary": f"Code {code}", "value": {"code": code, "message": message, "request_id": EXAMPLE_REQUEST_ID}}
        for name, (code, message) in examples.items()
    }
    return ResponseDoc(description, ErrorOut, examples=bodies, headers=headers, component=component)


ERRORS = {
    400: error_doc(
        "BadRequest",
        "1200 the body is not JSON, 1201 fields are invalid (the message names all of them) or the id is unknown, "
        "1301 the first engine of the model refuses the prompt",
        field=(1201, "n must be from 1 to 9, not 12"),
        unknown_id=(1201, "Task not found by id/external id: 019a3c5e-7c1a-7b1e-9d55-3f2f6f0c9a12"),
    ),
    401: error_doc(
        "Unauthorized",
        "Authentication failed: 1000 the signature of the JWT is wrong, 1001 the header is missing, 1002 the token is "
        "malformed, unknown or revoked, 1003 the JWT is not valid yet, 1004 the JWT has expired",
        missing=(1001, "the Authorization header is missing; send Authorization: Bearer <key>"),
        expired=(1004, "the JWT has expired (exp)"),
    ),
    403: error_doc(
        "Forbidden",
        "1103 the key may not use this model",
        model=(1103, "this key may not use kling-v3-omni"),
    ),
    404: error_doc(
        "NotFound",
        "1203 the model does not exist",
        model=(1203, 'model_name "kling-v9" does not exist'),
    ),
    413: error_doc(
        "TooLarge",
        "1200 the body is too large",
        body=(1200, "the body is too large; at most 157,286,400 bytes are allowed"),
    ),
    415: error_doc(
        "UnsupportedMediaType",
        "1200 the content type or the content encoding is not supported",
        type=(1200, "the Content-Type must be application/json"),
    ),
    429: error_doc(
        "TooManyRequests",
        "1100 the account is disabled, 1102 the account's units are used up, 1302 too many requests per second, "
        "1303 too many images in flight",
        in_flight=(1303, "parallel task over resource pack limit"),
        units=(1102, "the account has too few units (4 units left, 8 needed)"),
    ),
    500: error_doc(
        "InternalError",
        "5000 internal error; the log of the server contains the request id",
        internal=(5000, "internal error"),
    ),
    503: error_doc(
        "Unavailable",
        "5001 the service is temporarily unavailable; try again",
        database=(5001, "the service is temporarily unavailable; try again"),
    ),
}
SAVE_ERRORS = {status: response for status, response in ERRORS.items() if status not in (403, 404)}
READ_ERRORS = {status: ERRORS[status] for status in (400, 401, 429, 500, 503)}
ID_ERRORS = READ_ERRORS | {
    404: error_doc(
        "NoSuchPath",
        "1202 no such path, if the id contains a line break",
        path=(1202, "no such path: /kling/v1/images/omni-image/"),
    )
}
"""The error responses of an endpoint with an id in its path."""


def example_of(body: Json) -> dict[str, Json]:
    """Return the examples of a successful response, given its body."""
    return {"success": {"summary": "The request succeeded", "value": body}}


def success_of(
    model: Model, errors: dict[int, ResponseDoc], data: Any = None, headers: Mapping[str, str] = MappingProxyType({})
) -> dict[int, ResponseDoc]:
    """Return all documented responses of an endpoint.

    `model` is the schema of the successful response, and `data` is an example of its field `data`. `headers` contains
    the descriptions of further headers of the successful response.
    """
    body = {"code": 0, "message": "SUCCEED", "request_id": EXAMPLE_REQUEST_ID, "data": data}
    examples = {} if data is None else example_of(body)
    return {
        200: ResponseDoc("The request succeeded", model, examples=examples, headers={**REQUEST_ID, **headers})
    } | errors


def accepted(request: Request, ticket: Ticket) -> Response:
    """Return the response for an accepted task.

    The response contains the status that the task had immediately after its acceptance, even if the request repeats an
    earlier request.
    """
    data = common_task_data(ticket.task_id, ticket.external_task_id, "submitted", ticket.created_at, ticket.created_at)
    return success(request, data, {"Idempotency-Replayed": "true"} if ticket.replayed else None)
