"""The steps that create, get, list and delete elements, and the data of an element."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from framehouse_client.answers import Answer, integer, listed, nested
from framehouse_client.connection import Connection
from framehouse_client.creating import create_task
from framehouse_client.effects import Steps, sleep
from framehouse_client.errors import FramehouseError, InvalidRequest, NotFound, TaskFailed, TimedOut
from framehouse_client.exchange import get, path_segment, post
from framehouse_client.task_data import parse_task
from framehouse_client.task_request import PATHS, TaskRequest
from framehouse_client.watching import start_watch

_PRESETS, _DELETE = "/v1/general/advanced-presets-elements", "/v1/general/delete-elements"


@dataclass(frozen=True, slots=True)
class Element:
    """A saved subject, such as a character or a product. `create(…, elements=[element])` uses it.

    `image_urls` begins with the frontal image. `owned_by` is `framehouse` or `kling` for a preset. `raw` is the object
    of the response.
    """

    id: int
    name: str
    description: str = ""
    image_urls: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    owned_by: str = ""
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)


def create_element(connection: Connection, request: TaskRequest, *, timeout_s: float | None) -> Steps[Element]:
    """Create an element, and wait until the server has saved it. Raises TaskFailed and TimedOut."""
    task = yield from create_task(connection, request)
    watch = start_watch(timeout_s, reports=False)
    while True:
        answer = yield from get(connection, f"{PATHS['element']}/{path_segment(task.id)}")
        for data in nested(answer.body):
            state = parse_task(data, queried_id=task.id)
            if state and state.status == "failed":
                raise TaskFailed(state.message or "the server states no reason", task_id=state.id)
            if state and (elements := _elements_of(data)):
                return elements[0]
        if watch.remaining_s() <= 0:
            raise TimedOut(f"the element was not saved within {timeout_s:g} s", task_id=task.id)
        yield from sleep(min(watch.next_pause_s(), watch.remaining_s()))


def get_element(connection: Connection, id: int | str) -> Steps[Element]:
    """Return an element by its element id, task id or external id. Raises NotFound."""
    try:
        answer = yield from get(connection, f"{PATHS['element']}/{path_segment(str(id))}")
    except InvalidRequest as error:
        raise _not_found(error, id) from error
    for data in nested(answer.body):
        if elements := _elements_of(data):
            return elements[0]
    raise NotFound(f"the element {id} is not saved yet, or was not saved")


def list_page(connection: Connection, page: int, size: int, *, presets: bool) -> Steps[tuple[int, Sequence[Element]]]:
    """Return the number of entries of a page, and its elements. Elements whose creation failed are omitted."""
    answer: Answer = yield from get(
        connection, _PRESETS if presets else PATHS["element"], {"pageNum": page, "pageSize": size}
    )
    entries = listed(answer)
    elements = [element for entry in entries for element in _elements_of(entry)]
    return len(entries), elements


def delete_element(connection: Connection, id: int | str) -> Steps[None]:
    """Delete an element. Raises NotFound."""
    try:
        yield from post(connection, _DELETE, {"element_id": id})
    except InvalidRequest as error:
        raise _not_found(error, id) from error


def _not_found(error: FramehouseError, id: int | str) -> NotFound:
    return NotFound(
        f"the element {id} does not exist: {error.message}",
        code=error.code,
        status=error.status,
        request_id=error.request_id,
    )


def _elements_of(data: Mapping[str, Any]) -> list[Element]:
    """Return the elements of an element task. Older versions of the Kling API have them without a task."""
    result = data.get("task_result")
    values = result.get("elements") if isinstance(result, Mapping) else [data]
    return [
        _element(value) for value in values or () if isinstance(value, Mapping) and integer(value.get("element_id"))
    ]


def _element(data: Mapping[str, Any]) -> Element:
    images = data.get("element_image_list")
    images = images if isinstance(images, Mapping) else {}
    urls = [images.get("frontal_image") or data.get("element_frontal_image")]
    urls += [image.get("image_url") for image in images.get("refer_images") or () if isinstance(image, Mapping)]
    tags = [tag.get("id") or tag.get("tag_id") for tag in data.get("tag_list") or () if isinstance(tag, Mapping)]
    return Element(
        id=integer(data.get("element_id")) or 0,
        name=str(data.get("element_name") or ""),
        description=str(data.get("element_description") or ""),
        image_urls=tuple(url for url in urls if isinstance(url, str) and url),
        tags=tuple(str(tag) for tag in tags if tag),
        owned_by=str(data.get("owned_by") or ""),
        raw=data,
    )
