"""Create, get, list and cancel tasks."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Any, NamedTuple

from fastapi import APIRouter, Header, Query, Request, Response

from framehouse.adapters.postgres.callback_queue import list_callbacks
from framehouse.adapters.postgres.coalesce import Coalesced
from framehouse.adapters.postgres.task_store import Asked, Found, find_task, find_tasks, list_tasks
from framehouse.adapters.storage import Storage
from framehouse.domain.account import Caller
from framehouse.domain.errors import Refused
from framehouse.domain.request import read_int, read_request, shown
from framehouse.domain.task import Task, Ticket
from framehouse.domain.task_json import delivery_data, pictures_made, request_data, task_data
from framehouse.engines.registry import Registry
from framehouse.entrypoints.api.envelope import success
from framehouse.entrypoints.api.kling.schemas import (
    ERRORS,
    NAMED_ERRORS,
    READ_ERRORS,
    Accepted,
    DeliveryOut,
    Envelope,
    TaskOut,
    json_body,
    linked,
    ticket_data,
)
from framehouse.entrypoints.api.long_poll import Waiting
from framehouse.entrypoints.api.request_body import is_small
from framehouse.entrypoints.api.request_context import (
    MAX_PAGE,
    MAX_PAGE_SIZE,
    PAGE_SIZE,
    Idempotency,
    RequestContext,
    findable,
    not_found,
    page_of,
)
from framehouse.pipeline.accept import AcceptCounter, accept
from framehouse.pipeline.cancel import cancel as cancel_task

MAX_WAIT_S = 60
HOT_PATH = "/v1/images/omni-image"
OPERATION, MADE = "framehouse.operation", "framehouse.made"
"""Where a request's scope has the name of what it asks for, and the task that it made."""
_INCLUDE = Query(
    None, description='Ours: "request" adds what was asked for, "pictures" those made so far; both: "request,pictures"'
)
_BODY = json_body(
    "OmniImageRequest",
    {
        "series": {
            "summary": "Three pictures that belong together",
            "value": {
                "model_name": "kling-v3-omni",
                "prompt": "Create a three-frame product storyboard",
                "result_type": "series",
            },
        },
        "reference": {
            "summary": "One picture from a reference",
            "value": {
                "model_name": "kling-v3-omni",
                "prompt": "The bag of <<<image_1>>> on a beach at sunset",
                "image_list": [{"image": "https://example.com/bag.png"}],
                "resolution": "2k",
                "aspect_ratio": "3:2",
                "watermark_info": {"enabled": True},
            },
        },
        "element": {
            "summary": "One picture with a preset element",
            "value": {
                "model_name": "kling-v3-omni",
                "prompt": "<<<element_1>>> waters the flowers on a balcony",
                "element_list": [{"element_id": 101}],
            },
        },
    },
)

_BY_ITS_ID = {"parameters": {"id": "$response.body#/data/task_id"}}
_BY_THE_FIRST_ID = {"parameters": {"id": "$response.body#/data/0/task_id"}}


class TaskRoutes(NamedTuple):
    """The paths of tasks, without a prefix. `create` and `get` serve the two that are asked for all the time, by
    whichever way a request came: POST of HOT_PATH, and GET of a task, by its id, with nothing else said."""

    router: APIRouter
    create: Callable[[Request], Awaitable[Response]]
    get: Callable[[Request, str], Awaitable[Response]]


def task_routes(
    door: RequestContext, *, storage: Storage, registry: Registry, waiting: Waiting, retention: timedelta
) -> TaskRoutes:
    """See TaskRoutes."""
    router = APIRouter(tags=["tasks"])
    db = door.db
    counter = AcceptCounter(db)
    find: Coalesced[Asked, Found] = Coalesced(partial(find_tasks, db))

    def view(request: Request, task: Task, include: str | None) -> dict[str, Any]:
        links = door.links_for(request) if task.pictures else door.links
        data = task_data(task, links)
        if not include:
            return data
        wanted = include.split(",")
        if "request" in wanted:
            data["request"] = request_data(task)
        if "pictures" in wanted and task.status == "processing":
            data["pictures"] = pictures_made(task, links)
        return data

    async def get_task(caller: Caller, either_id: str, key_id: int | None = None) -> Task:
        found = await find(Asked(caller.account_id, either_id, key_id)) if findable(either_id) else None
        if found is None or found.refused or found.task is None:
            raise not_found(either_id)  # the door tells who is refused so
        return found.task

    async def create_task(request: Request) -> Response:
        key = request.headers.get("idempotency-key")

        async def offer(caller: Caller, body: Any, idempotency: Idempotency | None) -> Ticket:
            wanted, problems = read_request(body, registry.model)
            return await accept(
                wanted,
                caller=caller,
                model=registry.model(wanted.model),
                counter=counter,
                storage=storage,
                problems=problems,
                idempotency=idempotency,
            )

        async def offer_small(caller: Caller) -> Ticket:
            return await offer(caller, *await door.small_body(request, key))

        if is_small(request):
            ticket = await door.serve(request, offer_small)
        else:  # nobody's large body is read who has not shown that his key is good
            caller = await door.caller(request)
            async with door.body(request, caller, key) as (body, idempotency):
                ticket = await offer(caller, body, idempotency)
        request.scope["task_id"] = ticket.task_id
        if not ticket.replayed:
            request.scope[MADE] = ticket.task_id
        return success(request, ticket_data(ticket), {"Idempotency-Replayed": "true"} if ticket.replayed else None)

    async def get_now(request: Request, id: str) -> Response:
        task = await door.serve(request, lambda caller: get_task(caller, id, caller.key_id))
        return success(request, view(request, task, None))

    @router.post(
        HOT_PATH,
        summary="Accept a task",
        response_model=Envelope[Accepted],
        responses=linked(ERRORS, get_task=_BY_ITS_ID, cancel_task=_BY_ITS_ID, list_callbacks=_BY_ITS_ID),
        openapi_extra=_BODY,
        operation_id="create_task",
    )
    async def create(
        request: Request,
        _idempotency_key: str | None = Header(
            None,
            alias="Idempotency-Key",
            description="A repeat with the same key and body answers the first task again; kept 24 h",
        ),
    ) -> Response:
        return await create_task(request)

    @router.get(
        HOT_PATH,
        summary="List tasks, newest first",
        response_model=Envelope[list[TaskOut]],
        responses=linked(READ_ERRORS, get_task=_BY_THE_FIRST_ID, cancel_task=_BY_THE_FIRST_ID),
        operation_id="list_tasks",
    )
    async def list_all(
        request: Request,
        page: str = Query("1", alias="pageNum", description=f"1 to {MAX_PAGE}"),
        size: str = Query(str(PAGE_SIZE), alias="pageSize", description=f"1 to {MAX_PAGE_SIZE}"),
        include: str | None = _INCLUDE,
    ) -> Response:
        caller = await door.caller(request)
        limit, offset = page_of(page, size)
        tasks = await list_tasks(db, caller.account_id, limit=limit, offset=offset)
        return success(request, [view(request, task, include) for task in tasks])

    @router.get(
        HOT_PATH + "/{id:path}/callbacks",
        summary="The callback messages of a task, newest first, and what became of them",
        response_model=Envelope[list[DeliveryOut]],
        responses=NAMED_ERRORS,
        operation_id="list_callbacks",
    )
    async def callbacks(request: Request, id: str) -> Response:
        caller = await door.caller(request)
        named = f"{id}/callbacks"  # an external id may end like this path, and the contract goes first
        if findable(named) and (task := await find_task(db, caller.account_id, named)):
            return success(request, view(request, task, None))
        task = await get_task(caller, id)
        messages = await list_callbacks(
            db, caller.account_id, either_id=str(task.id), failed=False, limit=MAX_PAGE_SIZE
        )
        return success(request, [delivery_data(message) for message in messages])

    @router.get(
        HOT_PATH + "/{id:path}",
        summary="One task, by task id or external id",
        response_model=Envelope[TaskOut],
        responses=linked(NAMED_ERRORS, cancel_task=_BY_ITS_ID, list_callbacks=_BY_ITS_ID),
        operation_id="get_task",
    )
    async def get(
        request: Request,
        id: str,
        wait: str | None = Query(
            None,
            description=f"Ours: answer when the task ends, after at most this many seconds (≤ {MAX_WAIT_S})",
        ),
        prefer: str | None = Header(None, description="Prefer: wait=30 means the same"),
        include: str | None = _INCLUDE,
    ) -> Response:
        caller = await door.caller(request)
        seconds = _wait_seconds(wait, prefer)
        task = await get_task(caller, id)
        if seconds:
            request.scope[OPERATION] = "wait_task"
        if seconds and not task.ended:
            with waiting.watch(task.id) as ended:
                task = await get_task(caller, str(task.id))
                if not task.ended:
                    with suppress(TimeoutError):
                        async with asyncio.timeout(seconds):
                            await ended.wait()
                    task = await get_task(caller, str(task.id))
        return success(request, view(request, task, include))

    @router.post(
        HOT_PATH + "/{id:path}/cancel",
        summary="End a task that has not ended; its quota and units come back",
        response_model=Envelope[TaskOut],
        responses=linked(NAMED_ERRORS, get_task=_BY_ITS_ID),
        operation_id="cancel_task",
    )
    async def cancel(request: Request, id: str) -> Response:
        caller = await door.caller(request)
        task = await get_task(caller, id)
        await cancel_task(db, caller.account_id, task.id, retention)
        task = await get_task(caller, str(task.id))
        return success(request, view(request, task, None))

    return TaskRoutes(router, create_task, get_now)


def _wait_seconds(wait: str | None, prefer: str | None) -> int:
    if wait is None and prefer and (found := re.search(r"(?:^|[,;\s])wait\s*=\s*(\d{1,9})", prefer)):
        wait = found[1]
    if not wait:
        return 0
    seconds = read_int(wait)
    if seconds is None or seconds < 0:
        raise Refused(1201, f"wait must be a number of seconds from 0 to {MAX_WAIT_S}, not {shown(wait)}")
    return min(seconds, MAX_WAIT_S)
