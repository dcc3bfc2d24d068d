"""Create, get, list and delete saved elements, and list the presets."""

from itertools import islice
from typing import Any

from fastapi import APIRouter, Header, Query, Request, Response

from framehouse.adapters.postgres.element_store import find_element, list_elements
from framehouse.adapters.presets import presets
from framehouse.adapters.storage import Storage
from framehouse.domain.element import MAX_ELEMENT_ID, read_element, read_element_id
from framehouse.domain.request import read_int
from framehouse.domain.task_json import element_task_data, preset_data
from framehouse.entrypoints.api.envelope import success
from framehouse.entrypoints.api.kling.schemas import (
    ERRORS,
    NAMED_ERRORS,
    READ_ERRORS,
    Accepted,
    DeletedOut,
    ElementTaskOut,
    Envelope,
    json_body,
    linked,
    ticket_data,
)
from framehouse.entrypoints.api.request_context import (
    MAX_PAGE,
    MAX_PAGE_SIZE,
    PAGE_SIZE,
    RequestContext,
    findable,
    not_found,
    page_of,
)
from framehouse.pipeline.saved_elements import create_element, delete_element

_CREATE_ERRORS = {status: error for status, error in ERRORS.items() if status not in (403, 404)}
_LIST = Envelope[list[ElementTaskOut]]
_PAGE = Query("1", alias="pageNum", description=f"1 to {MAX_PAGE}")
_SIZE = Query(str(PAGE_SIZE), alias="pageSize", description=f"1 to {MAX_PAGE_SIZE}")
_BODIES = {
    "create": json_body(
        "CreateElementRequest",
        {
            "image_refer": {
                "summary": "An element of two pictures",
                "value": {
                    "element_name": "Red bag",
                    "element_description": "A red leather bag with a brass clasp",
                    "reference_type": "image_refer",
                    "element_image_list": {
                        "frontal_image": "https://example.com/bag.png",
                        "refer_images": [{"image_url": "https://example.com/bag-side.png"}],
                    },
                    "tag_list": [{"tag_id": "o_104"}],
                },
            }
        },
    ),
    "delete": json_body(
        "DeleteElementRequest", {"own": {"summary": "An own element", "value": {"element_id": 1099511627776}}}
    ),
}


def _links(task: str) -> dict[str, Any]:
    """From an answer that has an element's task at this place."""
    id = f"{task}/task_result/elements/0/element_id"
    return {"get_element": {"parameters": {"id": id}}, "delete_element": {"requestBody": {"element_id": id}}}


_CREATED = linked(_CREATE_ERRORS, get_element={"parameters": {"id": "$response.body#/data/task_id"}})
_LISTED = linked(READ_ERRORS, **_links("$response.body#/data/0"))
_FOUND = linked(NAMED_ERRORS, **_links("$response.body#/data"))


def element_routes(door: RequestContext, *, storage: Storage) -> APIRouter:
    """The paths of elements, without a prefix. The older names lead to the same."""
    router = APIRouter(tags=["elements"])

    async def create(
        request: Request,
        idempotency_key: str | None = Header(
            None, description="A repeat with the same key and body answers the first task again; kept 24 h"
        ),
    ) -> Response:
        caller = await door.caller(request)
        async with door.body(request, caller, idempotency_key) as (body, idempotency):
            wanted, problems = read_element(body)
            ticket = await create_element(
                wanted,
                account_id=caller.account_id,
                db=door.db,
                storage=storage,
                problems=problems,
                idempotency=idempotency,
            )
        return success(request, ticket_data(ticket), {"Idempotency-Replayed": "true"} if ticket.replayed else None)

    async def list_own(request: Request, page: str = _PAGE, size: str = _SIZE) -> Response:
        caller = await door.caller(request)
        limit, offset = page_of(page, size)
        found = await list_elements(door.db, caller.account_id, limit=limit, offset=offset)
        here = door.links_for(request)
        return success(request, [element_task_data(task, here) for task in found])

    async def list_presets(request: Request, page: str = _PAGE, size: str = _SIZE) -> Response:
        await door.caller(request)
        limit, offset = page_of(page, size)
        here = door.links_for(request)
        found = islice(presets().values(), offset, offset + limit)
        return success(request, [preset_data(element, here) for element in found])

    async def get(request: Request, id: str) -> Response:
        caller = await door.caller(request)
        here = door.links_for(request)
        number = read_int(id) or 0
        element_id = number if 0 < number <= MAX_ELEMENT_ID else 0
        if findable(id) and (task := await find_element(door.db, caller.account_id, id, element_id)):
            return success(request, element_task_data(task, here))
        if element_id in presets():
            return success(request, preset_data(presets()[element_id], here))
        raise not_found(id)

    async def delete(request: Request) -> Response:
        caller = await door.caller(request)
        async with door.body(request, caller) as (body, _):
            task_id = await delete_element(door.db, caller.account_id, read_element_id(body))
        return success(request, {"task_id": str(task_id), "task_status": "succeed"})

    for newest, own, official, gone in (
        (True, "advanced-custom-elements", "advanced-presets-elements", "delete-elements"),
        (False, "custom-elements", "presets-elements", "delete-advanced-elements"),
    ):
        for end in ("", "/"):  # as the API's own examples have it
            shown = newest and not end
            for path, method, call, id, summary, model, answers in (
                (own, "POST", create, "create_element", "Save an element", Envelope[Accepted], _CREATED),
                (own, "GET", list_own, "list_elements", "List own elements, newest first", _LIST, _LISTED),
                (official, "GET", list_presets, "list_presets", "List the presets", _LIST, READ_ERRORS),
                (gone, "POST", delete, "delete_element", "Delete an own element", Envelope[DeletedOut], _CREATE_ERRORS),
            ):
                router.add_api_route(
                    f"/v1/general/{path}{end}",
                    call,
                    methods=[method],
                    summary=summary,
                    response_model=model,
                    responses=answers,
                    operation_id=id,
                    openapi_extra=_BODIES.get(call.__name__),
                    include_in_schema=shown,
                )
        router.add_api_route(
            f"/v1/general/{own}/{{id:path}}",
            get,
            methods=["GET"],
            summary="One element, by task id, external id or element id",
            response_model=Envelope[ElementTaskOut],
            responses=_FOUND,
            operation_id="get_element",
            include_in_schema=newest,
        )
    return router
