"""Create, get, list and cancel tasks."""

import asyncio
import re
from contextlib import suppress
from datetime import timedelta
from typing import Any

from fastapi import APIRouter, Header, Query, Request, Response

from framehouse.adapters.engines.registry import Registry
from framehouse.adapters.postgres.pool import Database
from framehouse.adapters.postgres.tasks import find_task, list_tasks
from framehouse.adapters.storage import Storage
from framehouse.domain.account import Caller
from framehouse.domain.answer import task_data
from framehouse.domain.errors import Refused
from framehouse.domain.links import Links
from framehouse.domain.request import read_int, read_request, shown
from framehouse.domain.task import Task
from framehouse.entrypoints.api.answers import success
from framehouse.entrypoints.api.body import Bodies
from framehouse.entrypoints.api.rate import RateLimit
from framehouse.entrypoints.api.schemas import (
    Accepted,
    Envelope,
    ErrorOut,
    TaskOut,
    ticket_data,
)
from framehouse.entrypoints.api.waiting import Waiting
from framehouse.entrypoints.auth import authenticate
from framehouse.pipeline.accept import AcceptCounter, accept
from framehouse.pipeline.cancel import cancel as cancel_task

MAX_WAIT_S = 60
_MAX_PAGE, _MAX_PAGE_SIZE, _PAGE_SIZE = 1000, 500, 30
_PATH = "/v1/images/omni-image"
_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorOut, "description": text}
    for status, text in (
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
_READ_ERRORS: dict[int | str, dict[str, Any]] = {status: _ERRORS[status] for status in (400, 401, 429, 500, 503)}
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"$ref": "#/components/schemas/OmniImageRequest"},
                "examples": {
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
                },
            }
        },
    }
}


def task_routes(
    *,
    db: Database,
    storage: Storage,
    registry: Registry,
    links: Links,
    waiting: Waiting,
    rate: RateLimit,
    retention: timedelta,
    bodies: Bodies,
) -> APIRouter:
    """The paths of tasks, without a prefix."""
    router = APIRouter(tags=["tasks"])
    counter = AcceptCounter(db)

    def links_for(request: Request) -> Links:
        return links if links.base else links.at(str(request.base_url))

    async def caller_of(request: Request) -> Caller:
        caller = await authenticate(db, request.headers.get("authorization"))
        rate.check(caller)
        return caller

    async def get_task(caller: Caller, either_id: str) -> Task:
        task = None
        if len(either_id) <= 255 and "\0" not in either_id:
            task = await find_task(db, caller.account_id, either_id)
        if task is None:
            raise Refused(1201, f"Task not found by id/external id: {_echo(either_id)}")
        return task

    @router.post(
        _PATH,
        summary="Accept a task",
        response_model=Envelope[Accepted],
        responses=_ERRORS,
        openapi_extra=_BODY,
        name="create_task",
    )
    async def create(
        request: Request,
        idempotency_key: str | None = Header(
            None, description="A repeat with the same key and body answers the first task again; kept 24 h"
        ),
    ) -> Response:
        caller = await caller_of(request)
        if idempotency_key and len(idempotency_key) > 255:
            raise Refused(1201, "Idempotency-Key has more than 255 characters")
        async with bodies.read(request, digest=bool(idempotency_key)) as body:
            wanted, problems = read_request(body.value, registry.model)
            ticket = await accept(
                wanted,
                caller=caller,
                model=registry.model(wanted.model),
                counter=counter,
                db=db,
                storage=storage,
                problems=problems,
                idempotency=(idempotency_key, body.digest) if idempotency_key else None,
            )
        return success(request, ticket_data(ticket), {"Idempotency-Replayed": "true"} if ticket.replayed else None)

    @router.get(
        _PATH, summary="List tasks, newest first", response_model=Envelope[list[TaskOut]], responses=_READ_ERRORS
    )
    async def list_all(
        request: Request,
        page: str = Query("1", alias="pageNum", description=f"1 to {_MAX_PAGE}"),
        size: str = Query(str(_PAGE_SIZE), alias="pageSize", description=f"1 to {_MAX_PAGE_SIZE}"),
    ) -> Response:
        caller = await caller_of(request)
        number, limit = _page(page, size)
        tasks = await list_tasks(db, caller.account_id, limit=limit, offset=(number - 1) * limit)
        here = links_for(request)
        return success(request, [task_data(task, here) for task in tasks])

    @router.get(
        _PATH + "/{id:path}",
        summary="One task, by task id or external id",
        response_model=Envelope[TaskOut],
        responses=_READ_ERRORS,
    )
    async def get(
        request: Request,
        id: str,
        wait: str | None = Query(
            None,
            description=f"Ours: answer when the task ends, after at most this many seconds (≤ {MAX_WAIT_S})",
        ),
        prefer: str | None = Header(None, description="Prefer: wait=30 means the same"),
    ) -> Response:
        caller = await caller_of(request)
        seconds = _wait_seconds(wait, prefer)
        task = await get_task(caller, id)
        if seconds and not task.ended:
            with waiting.watch(task.id) as ended:
                task = await get_task(caller, str(task.id))
                if not task.ended:
                    with suppress(TimeoutError):
                        async with asyncio.timeout(seconds):
                            await ended.wait()
                    task = await get_task(caller, str(task.id))
        return success(request, task_data(task, links_for(request)))

    @router.post(
        _PATH + "/{id:path}/cancel",
        summary="End a task that has not ended; its quota and units come back",
        response_model=Envelope[TaskOut],
        responses=_READ_ERRORS,
    )
    async def cancel(request: Request, id: str) -> Response:
        caller = await caller_of(request)
        task = await get_task(caller, id)
        await cancel_task(db, caller.account_id, task.id, retention)
        task = await get_task(caller, str(task.id))
        return success(request, task_data(task, links_for(request)))

    return router


def _echo(text: str) -> str:
    return "".join(c if c.isprintable() else "\ufffd" for c in text[:255])


def _page(page: str, size: str) -> tuple[int, int]:
    page, size = page or "1", size or str(_PAGE_SIZE)
    problems = []
    number, limit = read_int(page), read_int(size)
    if number is None or not 1 <= number <= _MAX_PAGE:
        problems.append(f"pageNum must be an integer from 1 to {_MAX_PAGE}, not {shown(page)}")
    if limit is None or not 1 <= limit <= _MAX_PAGE_SIZE:
        problems.append(f"pageSize must be an integer from 1 to {_MAX_PAGE_SIZE}, not {shown(size)}")
    if problems or number is None or limit is None:
        raise Refused(1201, "; ".join(problems))
    return number, limit


def _wait_seconds(wait: str | None, prefer: str | None) -> int:
    if wait is None and prefer and (found := re.search(r"(?:^|[,;\s])wait\s*=\s*(\d{1,9})", prefer)):
        wait = found[1]
    if not wait:
        return 0
    seconds = read_int(wait)
    if seconds is None or seconds < 0:
        raise Refused(1201, f"wait must be a number of seconds from 0 to {MAX_WAIT_S}, not {shown(wait)}")
    return min(seconds, MAX_WAIT_S)
