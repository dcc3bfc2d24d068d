"""The documentation of the Kling dialect's responses, and the response for an accepted task."""

from starlette.requests import Request
from starlette.responses import Response

from framehouse.domain.task import Ticket
from framehouse.domain.task_json import common_task_data
from framehouse.entrypoints.api.documentation import Model, ResponseDoc
from framehouse.entrypoints.api.envelope import success
from framehouse.entrypoints.api.kling.schemas import ErrorOut

ERRORS = {
    status: ResponseDoc(description, ErrorOut)
    for status, description in (
        (
            400,
            "1200 the body is not JSON, 1201 fields are invalid (the message names all of them) or the id is unknown",
        ),
        (401, "1000-1004 authentication failed"),
        (403, "1103 the key may not use this model"),
        (404, "1203 the model does not exist"),
        (413, "1200 the body is too large"),
        (415, "1200 the content type is not JSON"),
        (
            429,
            "1100 the account is disabled, 1102 the account's units are used up, 1302 too many requests per second, "
            "1303 too many images in flight",
        ),
        (500, "5000 internal error; the log of the server contains the request id"),
        (503, "5001 the service is temporarily unavailable; try again"),
    )
}
SAVE_ERRORS = {status: response for status, response in ERRORS.items() if status not in (403, 404)}
READ_ERRORS = {status: ERRORS[status] for status in (400, 401, 429, 500, 503)}
ID_ERRORS = READ_ERRORS | {404: ResponseDoc("1202 no such path, if the id contains a line break", ErrorOut)}
"""The error responses of an endpoint with an id in its path."""


def success_of(model: Model, errors: dict[int, ResponseDoc]) -> dict[int, ResponseDoc]:
    """Return all documented responses of an endpoint. `model` is the schema of the successful response."""
    return {200: ResponseDoc("Successful Response", model)} | errors


def accepted(request: Request, ticket: Ticket) -> Response:
    """Return the response for an accepted task.

    The response contains the status that the task had immediately after its acceptance, even if the request repeats an
    earlier request.
    """
    data = common_task_data(ticket.task_id, ticket.external_task_id, "submitted", ticket.created_at, ticket.created_at)
    return success(request, data, {"Idempotency-Replayed": "true"} if ticket.replayed else None)
