"""The steps that get, list, cancel and watch tasks."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from framehouse_client.answers import Answer, listed
from framehouse_client.connection import Connection
from framehouse_client.effects import Steps, sleep
from framehouse_client.errors import (
    ConnectionFailed,
    FramehouseError,
    InvalidRequest,
    NotFound,
    RateLimited,
    ServerError,
    TimedOut,
)
from framehouse_client.exchange import get, path_segment, post
from framehouse_client.task_data import ImageData, TaskData, parse_task, task_of
from framehouse_client.task_request import KINDS, PATHS

ANY_KIND = "/v1/tasks"
"""The path at which Framehouse has the tasks of all kinds, including kinds that this version does not know."""
PAGE_SIZE = 100
_LAST_PAGE = 1000
_LONG_POLL_S, _PROGRESS_S = 30, 1
_FIRST_POLL_S, _LONGEST_POLL_S, _POLL_GROWTH = 0.5, 5.0, 1.3
_RESPONSE_S = 30.0


@dataclass(slots=True)
class Watch:
    """How long a caller waits for a task. `long_poll_s` is the time that the server may wait before it responds."""

    timeout_s: float | None
    long_poll_s: int
    started: float = field(default_factory=time.monotonic)
    _pause_s: float = _FIRST_POLL_S

    @property
    def until(self) -> float | None:
        return None if self.timeout_s is None else self.started + self.timeout_s

    def remaining_s(self) -> float:
        return float("inf") if self.until is None else self.until - time.monotonic()

    def next_pause_s(self) -> float:
        pause_s, self._pause_s = self._pause_s, min(_LONGEST_POLL_S, self._pause_s * _POLL_GROWTH)
        return pause_s


def start_watch(timeout_s: float | None, *, reports: bool) -> Watch:
    """Return a Watch. With `reports`, the caller needs the state every second, and not only the end of the task."""
    return Watch(timeout_s, _PROGRESS_S if reports else _LONG_POLL_S)


def get_task(connection: Connection, id: str, kind: str = "") -> Steps[TaskData]:
    """Return a task by its id or external id. If the kind is not known, all kinds are tried. Raises NotFound."""
    if kind:
        return (yield from _get(connection, PATHS.get(kind, ANY_KIND), id, kind))
    missing: FramehouseError | None = None
    for kind in KINDS:
        try:
            return (yield from _get(connection, PATHS[kind], id, kind))
        except (NotFound, InvalidRequest) as error:
            missing = missing or error
        if connection.is_framehouse:
            return (yield from _get(connection, ANY_KIND, id, ""))
    assert missing
    raise missing


def watch_task(connection: Connection, task: TaskData, watch: Watch, *, pictures: bool = False) -> Steps[TaskData]:
    """Return the state of a task after the server reported a change, or after a pause. Raises TimedOut.

    A server that supports the parameter `wait` responds after a while. All other servers respond immediately, so the
    client pauses before its next query. With `pictures`, the state contains the images that exist already.
    """
    remaining_s = watch.remaining_s()
    if remaining_s <= 0:
        raise TimedOut(f"the task {task.id} did not end within {watch.timeout_s:g} s", task_id=task.id)
    wait_s = int(min(watch.long_poll_s, remaining_s))
    query: dict[str, object] = {"wait": wait_s} if wait_s else {}
    if pictures:
        query["include"] = "pictures"
    started = time.monotonic()
    try:
        state = yield from _get(
            connection,
            PATHS.get(task.kind, ANY_KIND),
            task.id,
            task.kind,
            query,
            until=watch.until,
            timeout_s=_RESPONSE_S + wait_s,
        )
    except (ConnectionFailed, ServerError, RateLimited) as error:
        if watch.remaining_s() <= 0:
            raise TimedOut(f"waited {watch.timeout_s:g} s for the task {task.id}: {error}", task_id=task.id) from error
        raise
    if not state.ended and time.monotonic() - started < 0.5 * max(wait_s, 1):
        yield from sleep(max(0.0, min(watch.next_pause_s(), watch.remaining_s())))
    return state


def cancel_task(connection: Connection, task: TaskData) -> Steps[TaskData]:
    """Cancel a task. Raises NotFound if the server cannot cancel tasks."""
    answer = yield from post(connection, f"{PATHS.get(task.kind, ANY_KIND)}/{path_segment(task.id)}/cancel", {})
    return _state(answer, task.id, task.kind)


def list_page(connection: Connection, kind: str, page: int, size: int) -> Steps[Sequence[TaskData]]:
    """Return a page of tasks, newest first. `page` starts at 1. An empty page is the last page.

    Without a kind, Framehouse returns the tasks of all kinds, and other servers return the omni-image tasks.
    """
    if page > _LAST_PAGE:
        return ()
    query = {"pageNum": page, "pageSize": size}
    if kind:
        return _page((yield from get(connection, PATHS[kind], query)), kind)
    if not connection.is_framehouse:
        answer = yield from get(connection, PATHS["omni-image"], query)
        if not connection.is_framehouse:
            return _page(answer, "omni-image")
    return _page((yield from get(connection, ANY_KIND, query)), "")


def new_images(task: TaskData, yielded: set[int]) -> list[ImageData]:
    """Return the images of a task whose indexes are not in `yielded`, and add their indexes."""
    images = [image for image in task.images or task.finished if image.index not in yielded]
    yielded.update(image.index for image in images)
    return images


def with_kind(task: TaskData, kind: str) -> TaskData:
    """Return a task with its kind. Only some responses of Framehouse state the kind."""
    return replace(task, kind=kind) if kind else task


def _get(
    connection: Connection,
    path: str,
    id: str,
    kind: str,
    query: dict[str, object] | None = None,
    *,
    until: float | None = None,
    timeout_s: float = _RESPONSE_S,
) -> Steps[TaskData]:
    answer = yield from get(connection, f"{path}/{path_segment(id)}", query, until=until, timeout_s=timeout_s)
    return _state(answer, id, kind)


def _state(answer: Answer, id: str, kind: str) -> TaskData:
    task = task_of(answer, queried_id=id)
    if task is None:
        raise ServerError(f"the response does not contain the task {id}", status=answer.status)
    return with_kind(task, kind)


def _page(answer: Answer, kind: str) -> list[TaskData]:
    tasks = (parse_task(data) for data in listed(answer))
    return [with_kind(task, kind) for task in tasks if task]
