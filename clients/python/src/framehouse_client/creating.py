"""The steps that create a task exactly once.

A response can be lost, and the client then cannot see whether the server created the task. The rules:

1. Each request has an `Idempotency-Key` and an `external_task_id`. Both are generated unless the caller chose them.
2. If the request certainly did not reach the server, or if the server states that it refuses the request because of a
   limit, the request is sent again.
3. In every other case without a task id, the client queries the task by its external id. Queries are free.
4. If the task does not exist, the request is sent again only to Framehouse, which recognizes the `Idempotency-Key`.
   Framehouse is recognized by the header `X-Framehouse` of any of its responses, including the response to the query.
5. Every other server ignores the `Idempotency-Key`. "Not found" does not prove that such a server will not create the
   task, because the first request may still be on its way. The client queries several times, and then raises
   TaskMayExist instead of sending the request again.
"""

from dataclasses import dataclass

from framehouse_client.answers import Answer
from framehouse_client.connection import Connection
from framehouse_client.effects import NoResponse, Request, Response, Steps, sleep
from framehouse_client.errors import (
    ConnectionFailed,
    FramehouseError,
    InvalidRequest,
    NotFound,
    RateLimited,
    ServerError,
    TaskMayExist,
)
from framehouse_client.exchange import Retries, checked_answer, connection_failed, get, path_segment, pause, send_once
from framehouse_client.task_data import TaskData, accepted_id, task_of
from framehouse_client.task_request import TaskRequest

_SEND_S = 180.0
"""The time that a server has to respond to a request. A request can contain ten large images."""
_QUERY_AFTER_S = (1.0, 3.0, 8.0, 20.0)
"""The pauses in seconds between the queries for a task whose response was lost, if the server is not Framehouse."""


@dataclass(frozen=True, slots=True)
class _Accepted:
    task: TaskData


@dataclass(frozen=True, slots=True)
class _Refused:
    """The server will never accept the request. `duplicate` means that the external id is taken."""

    error: FramehouseError
    duplicate: bool = False


@dataclass(frozen=True, slots=True)
class _Postponed:
    """The request has not created a task, and can be sent again."""

    error: FramehouseError
    retry_after_s: float | None = None
    unreachable: bool = False


@dataclass(frozen=True, slots=True)
class _Lost:
    """The request may have created a task."""

    error: FramehouseError
    retry_after_s: float | None = None


def create_task(connection: Connection, request: TaskRequest) -> Steps[TaskData]:
    """Create the task, or return the task that the same request created earlier. Raises FramehouseError."""
    if request.repeatable and not connection.is_framehouse:
        # An earlier process may have sent the same request. This query also shows whether the server is Framehouse.
        found = yield from _find(connection, request)
        if found:
            return found
    retries = Retries(connection)
    while True:
        response = yield from send_once(connection, _http_request(connection, request))
        match outcome := _classify(connection, request, response):
            case _Accepted(task):
                return task
            case _Refused(error, duplicate):
                # an earlier request created the task, and its response was lost
                found = (yield from _find(connection, request)) if duplicate and request.generated_id else None
                if found:
                    return found
                raise error
            case _Postponed(error, retry_after_s, unreachable):
                pause_s = retries.pause_s(retry_after_s, unreachable=unreachable)
            case _Lost(error, retry_after_s):
                found = yield from _find_lost(connection, request, error)
                if found:
                    return found
                pause_s = retries.pause_s(retry_after_s)
        if pause_s is None:
            if isinstance(outcome, _Lost) and isinstance(outcome.error, ConnectionFailed):
                raise _may_exist(request, outcome.error) from outcome.error
            raise outcome.error
        yield from pause(pause_s, outcome.error)


def _classify(
    connection: Connection, request: TaskRequest, outcome: Response | NoResponse
) -> _Accepted | _Refused | _Postponed | _Lost:
    """Classify the response to the request. A response counts as a refusal only if the server states the refusal."""
    if isinstance(outcome, NoResponse):
        failed = connection_failed(connection, outcome)
        return _Lost(failed) if outcome.sent else _Postponed(failed, unreachable=True)
    try:
        answer = checked_answer(outcome)
    except ServerError as problem:
        return _Lost(problem)
    id = accepted_id(answer)
    if answer.success and id:
        return _Accepted(_new_task(answer, id, request))
    if answer.success:
        return _Lost(ServerError("the server sent no task id", status=answer.status))
    error = answer.error()
    if id or isinstance(error, ServerError):
        return _Lost(error, answer.retry_after_s)
    if isinstance(error, RateLimited):
        return _Postponed(error, answer.retry_after_s)
    return _Refused(error, answer.is_duplicate)


def _find_lost(connection: Connection, request: TaskRequest, error: FramehouseError) -> Steps[TaskData | None]:
    """Query the task of a request whose response was lost.

    Returns None only if the request can be sent again. Raises TaskMayExist if the task is not found.
    """
    problem: FramehouseError = error
    for pause_s in (0.0, *_QUERY_AFTER_S):
        if pause_s and connection.is_framehouse:
            return None
        yield from sleep(pause_s)
        try:
            found = yield from _find(connection, request)
        except FramehouseError as failed:
            if _is_page(error) and _is_page(failed):  # for example the website of another product
                raise
            problem = failed
            break
        if found:
            return found
    if connection.is_framehouse and problem is error:
        return None
    raise _may_exist(request, problem) from problem


def _may_exist(request: TaskRequest, problem: FramehouseError) -> TaskMayExist:
    advice = (
        "The task may have been created and billed, so the request was not sent again. "
        f"To look for the task: client.get({request.external_task_id!r})"
    )
    return TaskMayExist(f"{problem.message}. {advice}", external_task_id=request.external_task_id)


def _find(connection: Connection, request: TaskRequest) -> Steps[TaskData | None]:
    """Query the task by its external id. Returns None if the server has no such task. Raises FramehouseError."""
    id = request.external_task_id
    try:
        answer = yield from get(connection, f"{request.path}/{path_segment(id)}")
    except (NotFound, InvalidRequest):
        return None
    task = task_of(answer, queried_id=id)
    # Some servers return another task if they do not have the requested task, and some add a prefix to external ids.
    return task if task and (not task.external_task_id or task.external_task_id.endswith(id)) else None


def _http_request(connection: Connection, request: TaskRequest) -> Request:
    return Request(
        method="POST",
        url=connection.url(request.path),
        headers={"Idempotency-Key": request.idempotency_key},
        json={**request.body, "external_task_id": request.external_task_id},
        timeout_s=_SEND_S,
    )


def _new_task(answer: Answer, id: str, request: TaskRequest) -> TaskData:
    """Return the task of the response to a request. The response may contain nothing but the id."""
    task = task_of(answer, queried_id=id)
    if task and not task.ended:
        return task
    return TaskData(id, "submitted", external_task_id=request.external_task_id, raw=answer.body)


def _is_page(error: FramehouseError) -> bool:
    """Return whether the server responded with success, but not with a response of the Kling API."""
    return isinstance(error, ServerError) and error.code is None and error.status is not None and error.status < 300
