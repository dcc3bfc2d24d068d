"""The requests to the API that the tools need in addition to the methods of `AsyncClient`."""

from collections.abc import Sequence
from typing import Any

from framehouse_client.answers import Answer, listed
from framehouse_client.connection import Connection
from framehouse_client.effects import Steps
from framehouse_client.errors import ServerError
from framehouse_client.exchange import get, path_segment, post
from framehouse_client.task_data import TaskData, parse_task, task_of

_TASKS = "/v1/tasks"
_RESPONSE_S = 30.0


def task_with_previews(connection: Connection, id: str, *, wait_s: int = 0) -> Steps[TaskData]:
    """Return a task of any kind when it has ended, or after `wait_s` seconds. `raw` contains the preview URLs."""
    query: dict[str, Any] = {"include": "previews"}
    if wait_s:
        query["wait"] = wait_s
    answer = yield from get(connection, f"{_TASKS}/{path_segment(id)}", query, timeout_s=_RESPONSE_S + wait_s)
    return _task(answer, id)


def task_page(connection: Connection, page: int, size: int) -> Steps[Sequence[TaskData]]:
    """Return a page of the tasks of all kinds, newest first."""
    answer = yield from get(connection, _TASKS, {"pageNum": page, "pageSize": size})
    return [task for data in listed(answer) if (task := parse_task(data))]


def cancel_task(connection: Connection, id: str) -> Steps[TaskData]:
    """Cancel a task of any kind that has not ended. Return its state."""
    answer = yield from post(connection, f"{_TASKS}/{path_segment(id)}/cancel", {})
    return _task(answer, id)


def _task(answer: Answer, id: str) -> TaskData:
    task = task_of(answer, queried_id=id)
    if task is None:
        raise ServerError(f"the response does not contain the task {id}", status=answer.status)
    return task
