"""The bodies of the responses that wait for the images of a task: a JSON object, or a stream of events."""

import json
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from starlette.requests import Request

from framehouse.domain.task import Ticket
from framehouse.entrypoints.api.context import ApiContext
from framehouse.entrypoints.api.openai.openai_json import (
    event,
    image_fields,
    result_pieces,
    unix_seconds,
    with_base64,
)
from framehouse.entrypoints.api.openai.partial_image_reader import PartialImageReader
from framehouse.entrypoints.api.openai.pieces_response import CutShort, TaskFailed
from framehouse.entrypoints.api.openai_errors import error_of_task
from framehouse.entrypoints.api.task_waits import follow_task

KEEP_ALIVE_S = 10.0
"""The longest time without a byte of the body, in seconds. Proxies close a connection after about 100 seconds."""
_STREAM_CHECK_S = 0.5
_COMMENT = b": the task continues\n\n"


@dataclass(frozen=True, slots=True)
class WaitingRequest:
    """A request that waits for its task. `edit` is true for the endpoint `images/edits`.

    `partial_images` is the maximum number of partial images per image in a stream.
    """

    context: ApiContext
    request: Request
    account_id: int
    ticket: Ticket
    edit: bool
    partial_images: int = 0


async def json_pieces(wait: WaitingRequest, *, urls: bool, repeats: bool) -> AsyncGenerator[bytes]:
    """Yield the JSON object with the images. While the client waits, yield a space every ten seconds.

    JSON allows spaces before an object. After the first space, the status of the response is 200. If the task then
    fails, CutShort is raised if the client repeats requests by itself (`repeats`): the response to the repeated request
    has the status of the error. Other clients receive the error as the body.

    Raises TaskFailed if the task fails before the first space. Raises Refused as `follow_task` does.
    """
    task, spaces = None, 0
    async for task in follow_task(wait.context, wait.account_id, wait.ticket.task_id, every_s=KEEP_ALIVE_S):
        if not task.ended and (spaces := spaces + 1) > 1:
            yield b" "
    assert task is not None
    if task.status == "failed":
        error = error_of_task(task)
        if spaces <= 1:
            raise TaskFailed(error)
        if repeats:
            raise CutShort
        yield json.dumps(error.body()).encode()
        return
    links = wait.context.links_for(wait.request)
    async for piece in result_pieces(task, wait.context.storage, links, urls=urls):
        yield piece


async def event_pieces(wait: WaitingRequest) -> AsyncGenerator[bytes]:
    """Yield the events of a stream: the progress, new partial images, and each image as soon as it is finished.

    If the task fails, the last event is an error. Raises Refused as `follow_task` does.
    """
    name = "image_edit" if wait.edit else "image_generation"
    finished: set[int] = set()
    partials = PartialImageReader(wait.context.storage, wait.partial_images)
    progress, sent_at = -1.0, time.monotonic()
    async for task in follow_task(wait.context, wait.account_id, wait.ticket.task_id, every_s=_STREAM_CHECK_S):
        created = {"created_at": unix_seconds(task.created_at)}
        for image in task.images:
            if image.index not in finished:
                finished.add(image.index)
                fields = {"type": f"{name}.completed", "index": image.index} | created
                yield f"event: {name}.completed\ndata: ".encode()
                async for piece in with_base64(fields | image_fields(task, image), wait.context.storage, image.key):
                    yield piece
                yield b"\n\n"
                sent_at = time.monotonic()
        if not task.ended:
            for fields in await partials.new_images(task, finished):
                yield event(f"{name}.partial_image", fields | created)
                sent_at = time.monotonic()
        if task.status == "failed":
            yield event("error", error_of_task(task).body())
        elif not task.ended and task.progress > progress:
            progress, sent_at = task.progress, time.monotonic()
            yield event(f"{name}.progress", {"progress": round(progress, 3), "task_id": str(task.id)} | created)
        elif not task.ended and time.monotonic() > sent_at + KEEP_ALIVE_S:
            sent_at = time.monotonic()
            yield _COMMENT
