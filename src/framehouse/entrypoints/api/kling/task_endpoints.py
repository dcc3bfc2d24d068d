"""The endpoints that create, get, list and cancel tasks, and list the callback messages of tasks.

Each kind of task has its own set of these endpoints.
"""

import hashlib
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from framehouse.adapters.postgres import callback_queue, task_store
from framehouse.adapters.postgres.task_store import TaskQuery
from framehouse.domain.account import Caller
from framehouse.domain.errors import Refused
from framehouse.domain.request import read_request
from framehouse.domain.task import Task, Ticket
from framehouse.domain.task_json import delivery_data, generated_images, request_data, task_data
from framehouse.domain.task_kind import TASK_KINDS, TaskKind
from framehouse.entrypoints.api.context import CREATED_TASK, OPERATION, ApiContext, Idempotency
from framehouse.entrypoints.api.envelope import success
from framehouse.entrypoints.api.kling.parameters import (
    MAX_PAGE_SIZE,
    read_idempotency_key,
    read_include,
    read_low_priority,
    read_page,
    read_wait,
)
from framehouse.entrypoints.api.kling.responses import accepted
from framehouse.entrypoints.api.request_body import is_small
from framehouse.entrypoints.api.task_waits import get_task, wait_for_end
from framehouse.pipeline.accept import accept
from framehouse.pipeline.cancel import cancel


@dataclass(frozen=True, slots=True)
class TaskEndpoints:
    """The endpoints for one kind of task, or for tasks of all kinds if `kind` is None."""

    kind: TaskKind | None

    async def create(self, context: ApiContext, request: Request) -> Response:
        """Accept a task.

        A large body is read only after the API key has been verified. If the body is small, the SQL statement that
        accepts the task also verifies the API key.
        """
        idempotency_key = read_idempotency_key(request)

        async def accept_small(caller: Caller) -> Ticket:
            return await self._accept(context, request, caller, *await context.small_body(request, idempotency_key))

        if is_small(request):
            ticket = await context.serve(request, accept_small)
        else:
            caller = await context.caller(request)
            async with context.body(request, caller, idempotency_key) as (body, idempotency):
                ticket = await self._accept(context, request, caller, body, idempotency)
        request.scope["task_id"] = ticket.task_id
        if not ticket.replayed:
            request.scope[CREATED_TASK] = ticket.task_id
        return accepted(request, ticket)

    async def _accept(
        self, context: ApiContext, request: Request, caller: Caller, body: Any, idempotency: Idempotency | None
    ) -> Ticket:
        assert self.kind is not None, "tasks are created at the endpoint of their kind"
        task_request, problems = read_request(body, context.registry.catalog, self.kind)
        return await accept(
            task_request,
            caller=caller,
            model=context.registry.model(task_request.model),
            accept_queue=context.accept_queue,
            storage=context.storage,
            problems=problems,
            idempotency=self._of_endpoint(idempotency),
            low=read_low_priority(request),
        )

    def _of_endpoint(self, idempotency: Idempotency | None) -> Idempotency | None:
        """Return the idempotency key with a digest of the body and the endpoint.

        The digest includes the endpoint, because the same body sent to two endpoints is not the same request. The
        digest for omni-image is an exception: as in older versions, it does not include the endpoint. The server
        therefore recognizes an omni-image request that is sent before an upgrade and repeated after the upgrade.
        """
        if idempotency is None or self.kind in (None, "omni-image"):
            return idempotency
        key, digest = idempotency
        return key, hashlib.sha256(f"{self.kind} ".encode() + digest).digest()

    async def list_tasks(self, context: ApiContext, request: Request) -> Response:
        caller = await context.caller(request)
        limit, offset = read_page(request)
        include = read_include(request)
        kinds = (self.kind,) if self.kind else TASK_KINDS
        tasks = await task_store.list_tasks(context.db, caller.account_id, limit=limit, offset=offset, kinds=kinds)
        if "previews" in include:
            tasks = await task_store.with_thumb_hashes(context.db, tasks)
        return success(request, [self._data(context, request, task, include) for task in tasks])

    async def get(self, context: ApiContext, request: Request) -> Response:
        """Get a task. The SQL statement that finds the task also verifies the API key."""

        async def find(caller: Caller) -> tuple[Task, int]:
            wait_s = read_wait(request)
            return await self._get_requested(context, request, caller, caller.key_id), wait_s

        task, wait_s = await context.serve(request, find)
        if wait_s:
            request.scope[OPERATION] = str(request.scope[OPERATION]).replace("get_", "wait_", 1)
            task = await wait_for_end(context, task, wait_s)
        include = read_include(request)
        if "previews" in include:
            (task,) = await task_store.with_thumb_hashes(context.db, [task])
        return success(request, self._data(context, request, task, include))

    async def list_callbacks(self, context: ApiContext, request: Request) -> Response:
        """List the callback messages of a task.

        In the Kling API, a GET request to the path of this endpoint returns the task whose external id is
        `<id>/callbacks`. If such a task exists, the response contains the task and not the callback messages. The list
        of callback messages is an extension, and the Kling API takes precedence.
        """
        caller, id = await context.caller(request), request.path_params["id"]
        with suppress(Refused):
            task = await get_task(context, TaskQuery(caller.account_id, f"{id}/callbacks", kind=self.kind))
            return success(request, self._data(context, request, task))
        task = await self._get_requested(context, request, caller)
        messages = await callback_queue.list_callbacks(
            context.db, caller.account_id, either_id=str(task.id), failed=False, limit=MAX_PAGE_SIZE
        )
        return success(request, [delivery_data(message) for message in messages])

    async def cancel(self, context: ApiContext, request: Request) -> Response:
        caller = await context.caller(request)
        task = await self._get_requested(context, request, caller)
        await cancel(context.db, caller.account_id, task.id, context.retention)
        task = await get_task(context, TaskQuery(caller.account_id, str(task.id)))
        return success(request, self._data(context, request, task))

    async def _get_requested(
        self, context: ApiContext, request: Request, caller: Caller, key_id: int | None = None
    ) -> Task:
        """Return the task whose id is in the path of a request. For `key_id` and the errors, see `get_task`.

        A slash at the end of the path is ignored, unless it belongs to an external id.
        """
        query = TaskQuery(caller.account_id, request.path_params["id"], key_id, self.kind)
        try:
            return await get_task(context, query)
        except Refused:
            if request.scope["path"].endswith("/"):
                with suppress(Refused):
                    return await get_task(context, query._replace(either_id=f"{query.either_id}/"))
            raise

    def _data(self, context: ApiContext, request: Request, task: Task, include: Collection[str] = ()) -> dict[str, Any]:
        links = context.links_for(request) if task.images else context.links
        previews = "previews" in include
        data = task_data(task, links, previews=previews)
        if self.kind is None:
            data["kind"] = task.kind
        if "request" in include:
            data["request"] = request_data(task)
        if "pictures" in include and task.status == "processing":
            data["pictures"] = generated_images(task, links, previews=previews)
        return data
