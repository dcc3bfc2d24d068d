"""The endpoints that create, get, list and delete saved elements, and list the presets."""

from itertools import islice

from starlette.requests import Request
from starlette.responses import Response

from framehouse.adapters.postgres import element_store
from framehouse.adapters.presets import presets
from framehouse.domain.element import MAX_ELEMENT_ID, read_element, read_element_id
from framehouse.domain.field_reader import read_int
from framehouse.domain.task_json import element_task_data, preset_data
from framehouse.entrypoints.api.context import ApiContext
from framehouse.entrypoints.api.envelope import success
from framehouse.entrypoints.api.kling.parameters import read_idempotency_key, read_page
from framehouse.entrypoints.api.kling.responses import accepted
from framehouse.entrypoints.api.task_waits import can_be_id, not_found
from framehouse.pipeline import saved_elements


async def create_element(context: ApiContext, request: Request) -> Response:
    caller = await context.caller(request)
    async with context.body(request, caller, read_idempotency_key(request)) as (body, idempotency):
        element, problems = read_element(body)
        ticket = await saved_elements.create_element(
            element,
            account_id=caller.account_id,
            db=context.db,
            storage=context.storage,
            problems=problems,
            idempotency=idempotency,
        )
    return accepted(request, ticket)


async def list_elements(context: ApiContext, request: Request) -> Response:
    """List the caller's own elements, newest first."""
    caller = await context.caller(request)
    limit, offset = read_page(request)
    tasks = await element_store.list_elements(context.db, caller.account_id, limit=limit, offset=offset)
    links = context.links_for(request)
    return success(request, [element_task_data(task, links) for task in tasks])


async def list_presets(context: ApiContext, request: Request) -> Response:
    await context.caller(request)
    limit, offset = read_page(request)
    links = context.links_for(request)
    page = islice(presets().values(), offset, offset + limit)
    return success(request, [preset_data(element, links) for element in page])


async def get_element(context: ApiContext, request: Request) -> Response:
    """Get an element by its task id, external id or element id. A preset has only an element id."""
    caller = await context.caller(request)
    id, links = request.path_params["id"], context.links_for(request)
    number = read_int(id) or 0
    element_id = number if 0 < number <= MAX_ELEMENT_ID else 0
    if can_be_id(id) and (task := await element_store.find_element(context.db, caller.account_id, id, element_id)):
        return success(request, element_task_data(task, links))
    if element_id in presets():
        return success(request, preset_data(presets()[element_id], links))
    raise not_found(id)


async def delete_element(context: ApiContext, request: Request) -> Response:
    caller = await context.caller(request)
    async with context.body(request, caller) as (body, _):
        task_id = await saved_elements.delete_element(context.db, caller.account_id, read_element_id(body))
    return success(request, {"task_id": str(task_id), "task_status": "succeed"})
