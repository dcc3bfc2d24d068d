"""The endpoints of OpenAI's image API: generate and edit images, list models, and, as an extension, get tasks."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from framehouse.adapters.postgres.task_store import TaskQuery, expire_key_soon
from framehouse.domain.account import Caller
from framehouse.domain.errors import Refused
from framehouse.domain.model import Model
from framehouse.domain.openai_request import ImageDelivery, offers_images, read_openai_request, request_digest
from framehouse.domain.task import Task, Ticket
from framehouse.entrypoints.api.context import CREATED_TASK, ApiContext, check_idempotency_key
from framehouse.entrypoints.api.envelope import json_response, request_id_of
from framehouse.entrypoints.api.kling.parameters import (
    read_idempotency_key,
    read_low_priority,
    read_wait,
)
from framehouse.entrypoints.api.openai.image_pieces import WaitingRequest, event_pieces, json_pieces
from framehouse.entrypoints.api.openai.openai_body import read_fields
from framehouse.entrypoints.api.openai.openai_json import task_object
from framehouse.entrypoints.api.openai.pieces_response import PiecesResponse
from framehouse.entrypoints.api.openai.retry_key import retry_count, retry_key
from framehouse.entrypoints.api.task_waits import get_task, wait_for_end
from framehouse.pipeline.accept import accept
from framehouse.pipeline.cancel import cancel

TASK_HEADER = "X-Framehouse-Task-Id"


async def generate_images(context: ApiContext, request: Request) -> ASGIApp:
    return await _create(context, request, edit=False)


async def edit_images(context: ApiContext, request: Request) -> ASGIApp:
    return await _create(context, request, edit=True)


async def _create(context: ApiContext, request: Request, *, edit: bool) -> ASGIApp:
    """Accept a task, and return the response that the client requests: images, events, or the task itself."""
    caller = await context.caller(request)
    sent_key, count = read_idempotency_key(request), retry_count(request)
    check_idempotency_key(sent_key)
    async with read_fields(context, request, caller) as fields:
        image_request, model, delivery, problems = read_openai_request(fields, context.registry.catalog, edit=edit)
        digest = request_digest(fields, edit=edit)
        idempotency = (sent_key, digest) if sent_key else None
        if idempotency is None and count is not None:
            idempotency = await retry_key(context.db, caller.account_id, digest, count)
        ticket = await accept(
            image_request,
            caller=caller,
            model=model,
            accept_queue=context.accept_queue,
            storage=context.storage,
            problems=problems,
            idempotency=idempotency,
            low=read_low_priority(request),
        )
    request.scope["task_id"] = ticket.task_id
    if not ticket.replayed:
        request.scope[CREATED_TASK] = ticket.task_id
    chosen_key = idempotency[0] if idempotency and not sent_key else ""
    return await _respond(context, request, caller, ticket, delivery, edit=edit, chosen_key=chosen_key)


async def _respond(
    context: ApiContext,
    request: Request,
    caller: Caller,
    ticket: Ticket,
    delivery: ImageDelivery,
    *,
    edit: bool,
    chosen_key: str,
) -> ASGIApp:
    """Return the response to an accepted request.

    `chosen_key` is the idempotency key that the server has chosen for the request, or empty. The key expires soon after
    the response has been sent.
    """

    async def sent() -> None:
        if chosen_key:
            await expire_key_soon(context.db, caller.account_id, chosen_key)

    headers = {TASK_HEADER: str(ticket.task_id)} | ({"Idempotency-Replayed": "true"} if ticket.replayed else {})
    if delivery.asynchronous:
        task = await get_task(context, TaskQuery(caller.account_id, str(ticket.task_id)))
        return _json(request, task_object(task, context.links_for(request)), headers, status=202)
    wait = WaitingRequest(context, request, caller.account_id, ticket, edit, delivery.partial_images)
    if delivery.stream:
        return PiecesResponse(request, event_pieces(wait), "text/event-stream", headers, sent)
    pieces = json_pieces(wait, urls=delivery.urls, repeats=retry_count(request) is not None)
    return PiecesResponse(request, pieces, "application/json", headers, sent)


async def get_image_task(context: ApiContext, request: Request) -> Response:
    """Get a task of any kind by its task id or external id. With `wait`, wait until the task has ended."""
    task = await _requested_task(context, request)
    if wait_s := read_wait(request):
        task = await wait_for_end(context, task, wait_s)
    return _json(request, task_object(task, context.links_for(request)))


async def cancel_image_task(context: ApiContext, request: Request) -> Response:
    task = await _requested_task(context, request)
    await cancel(context.db, task.account_id, task.id, context.retention)
    task = await get_task(context, TaskQuery(task.account_id, str(task.id)))
    return _json(request, task_object(task, context.links_for(request)))


async def _requested_task(context: ApiContext, request: Request) -> Task:
    """Return the task whose id is in the path. Raises Refused (1203) if the account has no such task."""
    caller = await context.caller(request)
    try:
        return await get_task(context, TaskQuery(caller.account_id, request.path_params["id"]))
    except Refused as error:
        raise Refused(1203, error.message) from error


async def list_models(context: ApiContext, request: Request) -> Response:
    caller = await context.caller(request)
    models = [_model_object(model) for model in context.registry.models if _may_use(caller, model)]
    return _json(request, {"object": "list", "data": models})


async def get_model(context: ApiContext, request: Request) -> Response:
    """Get a model by its name or by one of its aliases."""
    caller, name = await context.caller(request), request.path_params["id"]
    model = context.registry.catalog.find(name) if len(name) <= 200 else None
    if model is None or not _may_use(caller, model):
        raise Refused(1203, f'model "{name[:200]}" does not exist')
    return _json(request, _model_object(model))


def _may_use(caller: Caller, model: Model) -> bool:
    return offers_images(model) and caller.may_use(model.name)


def _model_object(model: Model) -> dict[str, Any]:
    return {"id": model.name, "object": "model", "created": 0, "owned_by": "framehouse"}


def _json(
    request: Request, body: dict[str, Any], headers: dict[str, str] | None = None, *, status: int = 200
) -> Response:
    return json_response(status, body, {"X-Request-Id": request_id_of(request), **(headers or {})})
