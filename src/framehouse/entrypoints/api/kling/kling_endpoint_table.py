"""The endpoints of the Kling dialect."""

from collections.abc import Iterator
from dataclasses import replace

from framehouse.entrypoints.api.documentation import BodySchema, Json, Operation
from framehouse.entrypoints.api.kling import account_endpoints, element_endpoints, examples, omni_image_endpoints
from framehouse.entrypoints.api.kling.parameters import IDEMPOTENCY_KEY, INCLUDE, PAGE, PREFER, WAIT
from framehouse.entrypoints.api.kling.responses import ERRORS, ID_ERRORS, READ_ERRORS, SAVE_ERRORS, success_of
from framehouse.entrypoints.api.kling.schemas import (
    Accepted,
    AccountOut,
    CreateElementRequest,
    DeletedOut,
    DeleteElementRequest,
    DeliveryOut,
    ElementTaskOut,
    Envelope,
    OmniImageRequest,
    TaskOut,
)
from framehouse.entrypoints.api.router import Endpoint

_TASKS = "/v1/images/omni-image"
_ELEMENTS, _OLD_ELEMENTS = "/v1/general/advanced-custom-elements", "/v1/general/custom-elements"
_PRESETS, _OLD_PRESETS = "/v1/general/advanced-presets-elements", "/v1/general/presets-elements"
_DELETE, _OLD_DELETE = "/v1/general/delete-elements", "/v1/general/delete-advanced-elements"


def _links(*names: str, id: str) -> dict[str, Json]:
    """Return links to the operations with these names.

    `id` is the JSON pointer to the value for the operations' parameter `id`, relative to the response's `data`.
    """
    return {name: {"parameters": {"id": f"$response.body#/data{id}"}} for name in names}


def _element_links(task: str) -> dict[str, Json]:
    """Return links to element operations. `task` is the JSON pointer to an element task in the response's `data`."""
    id = f"{task}/task_result/elements/0/element_id"
    delete = {"requestBody": {"element_id": f"$response.body#/data{id}"}}
    return _links("get_element", id=id) | {"delete_element": delete}


def _with_alias(endpoint: Endpoint, old_path: str) -> Iterator[Endpoint]:
    """Yield the endpoint and its alias, the older path."""
    yield endpoint
    yield replace(endpoint, path=old_path, documentation=None)


_TASK_ENDPOINTS = (
    Endpoint(
        "POST",
        _TASKS,
        omni_image_endpoints.create_task,
        "create_task",
        Operation(
            "tasks",
            "Create a task",
            success_of(Envelope[Accepted], ERRORS),
            parameters=(IDEMPOTENCY_KEY,),
            body=BodySchema(OmniImageRequest, examples.CREATE_TASK),
            links=_links("get_task", "cancel_task", "list_callbacks", id="/task_id"),
        ),
    ),
    Endpoint(
        "GET",
        _TASKS,
        omni_image_endpoints.list_tasks,
        "list_tasks",
        Operation(
            "tasks",
            "List tasks, newest first",
            success_of(Envelope[list[TaskOut]], READ_ERRORS),
            parameters=(*PAGE, INCLUDE),
            links=_links("get_task", "cancel_task", id="/0/task_id"),
        ),
    ),
    Endpoint(
        "GET",
        _TASKS + "/{id:path}/callbacks",
        omni_image_endpoints.list_callbacks,
        "list_callbacks",
        Operation(
            "tasks",
            "List the callback messages of a task and their delivery states, newest first",
            success_of(Envelope[list[DeliveryOut]], ID_ERRORS),
        ),
    ),
    Endpoint(
        "GET",
        _TASKS + "/{id:path}",
        omni_image_endpoints.get_task,
        "get_task",
        Operation(
            "tasks",
            "Get a task by its task id or external id",
            success_of(Envelope[TaskOut], ID_ERRORS),
            parameters=(WAIT, INCLUDE, PREFER),
            links=_links("cancel_task", "list_callbacks", id="/task_id"),
        ),
    ),
    Endpoint(
        "POST",
        _TASKS + "/{id:path}/cancel",
        omni_image_endpoints.cancel_task,
        "cancel_task",
        Operation(
            "tasks",
            "Cancel a task that has not ended, and release its quota and its units",
            success_of(Envelope[TaskOut], ID_ERRORS),
            links=_links("get_task", id="/task_id"),
        ),
    ),
)

_CREATE_ELEMENT = Endpoint(
    "POST",
    _ELEMENTS,
    element_endpoints.create_element,
    "create_element",
    Operation(
        "elements",
        "Create an element",
        success_of(Envelope[Accepted], SAVE_ERRORS),
        parameters=(IDEMPOTENCY_KEY,),
        body=BodySchema(CreateElementRequest, examples.CREATE_ELEMENT),
        links=_links("get_element", id="/task_id"),
    ),
)
_LIST_ELEMENTS = Endpoint(
    "GET",
    _ELEMENTS,
    element_endpoints.list_elements,
    "list_elements",
    Operation(
        "elements",
        "List the account's own elements, newest first",
        success_of(Envelope[list[ElementTaskOut]], READ_ERRORS),
        parameters=PAGE,
        links=_element_links("/0"),
    ),
)
_LIST_PRESETS = Endpoint(
    "GET",
    _PRESETS,
    element_endpoints.list_presets,
    "list_presets",
    Operation(
        "elements",
        "List the preset elements",
        success_of(Envelope[list[ElementTaskOut]], READ_ERRORS),
        parameters=PAGE,
    ),
)
_DELETE_ELEMENT = Endpoint(
    "POST",
    _DELETE,
    element_endpoints.delete_element,
    "delete_element",
    Operation(
        "elements",
        "Delete one of the account's own elements",
        success_of(Envelope[DeletedOut], SAVE_ERRORS),
        body=BodySchema(DeleteElementRequest, examples.DELETE_ELEMENT),
    ),
)
_GET_ELEMENT = Endpoint(
    "GET",
    _ELEMENTS + "/{id:path}",
    element_endpoints.get_element,
    "get_element",
    Operation(
        "elements",
        "Get an element by its task id, external id or element id",
        success_of(Envelope[ElementTaskOut], ID_ERRORS),
        links=_element_links(""),
    ),
)

_ACCOUNT_ENDPOINT = Endpoint(
    "GET",
    "/v1/account",
    account_endpoints.get_account,
    "account",
    Operation(
        "account",
        "Get the caller's account: its concurrency, its units, and the prefixes of its keys",
        success_of(Envelope[AccountOut], {status: READ_ERRORS[status] for status in (401, 429, 500, 503)}),
        operation_id="account_kling_v1_account_get",
    ),
)

ENDPOINTS = (
    *_TASK_ENDPOINTS,
    *_with_alias(_CREATE_ELEMENT, _OLD_ELEMENTS),
    *_with_alias(_LIST_ELEMENTS, _OLD_ELEMENTS),
    *_with_alias(_LIST_PRESETS, _OLD_PRESETS),
    *_with_alias(_DELETE_ELEMENT, _OLD_DELETE),
    _GET_ELEMENT,
    replace(_GET_ELEMENT, path=_OLD_ELEMENTS + "/{id:path}", documentation=None),
    _ACCOUNT_ENDPOINT,
)
