"""The responses of the Kling dialect: their documentation, and the response to an accepted task."""

from starlette.requests import Request
from starlette.responses import Response

from framehouse.domain.task import Ticket
from framehouse.domain.task_json import head_data
from framehouse.entrypoints.api.documentation import Answer, Model
from framehouse.entrypoints.api.envelope import success
from framehouse.entrypoints.api.kling.schemas import ErrorOut

ERRORS = {
    status: Answer(description, ErrorOut)
    for status, description in (
        (400, "1200 not JSON, 1201 a field is wrong (all problems named) or the task is unknown"),
        (401, "1000-1004 authentication"),
        (403, "1103 no right for this model"),
        (404, "1203 the model does not exist"),
        (413, "1200 the body is too large"),
        (415, "1200 the content type is not JSON"),
        (429, "1100 account disabled, 1102 units used up, 1302 too many requests, 1303 too many pictures in flight"),
        (500, "5000 our fault; the request id finds it in our log"),
        (503, "5001 not now, try again"),
    )
}
SAVE_ERRORS = {status: answer for status, answer in ERRORS.items() if status not in (403, 404)}
READ_ERRORS = {status: ERRORS[status] for status in (400, 401, 429, 500, 503)}
NAMED_ERRORS = READ_ERRORS | {404: Answer("1202 no such path: no id has a line break", ErrorOut)}
"""The errors of a route with an id in its path."""


def success_of(model: Model, errors: dict[int, Answer]) -> dict[int, Answer]:
    """The documentation of all responses of a route that answers with this schema."""
    return {200: Answer("Successful Response", model)} | errors


def accepted(request: Request, ticket: Ticket) -> Response:
    """The response to an accepted task, as of the moment of acceptance, also if the request was a repeated one."""
    data = head_data(ticket.task_id, ticket.external_task_id, "submitted", ticket.created_at, ticket.created_at)
    return success(request, data, {"Idempotency-Replayed": "true"} if ticket.replayed else None)
