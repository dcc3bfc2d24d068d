"""The endpoints of the Kling dialect."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from pydantic import BaseModel

from framehouse.domain.billing import MAX_MS
from framehouse.domain.task_kind import TASK_PATHS, TaskKind
from framehouse.entrypoints.api.documentation import BodySchema, Json, Operation, Parameter
from framehouse.entrypoints.api.kling import account_endpoints, element_endpoints, examples
from framehouse.entrypoints.api.kling.billing_schemas import ChargeRequest, ChargesOut, CostsOut
from framehouse.entrypoints.api.kling.element_schemas import (
    CreateElementRequest,
    DeletedOut,
    DeleteElementRequest,
    ElementTaskOut,
)
from framehouse.entrypoints.api.kling.parameters import (
    ELEMENT_ID,
    IDEMPOTENCY_KEY,
    INCLUDE,
    PAGE,
    PREFER,
    PRIORITY,
    WAIT,
)
from framehouse.entrypoints.api.kling.request_schemas import (
    CombinationRequest,
    ExpansionRequest,
    GenerationRequest,
    OmniImageRequest,
    TryOnRequest,
)
from framehouse.entrypoints.api.kling.response_schemas import (
    Accepted,
    AccountOut,
    AnyTaskOut,
    DeliveryOut,
    Envelope,
    GenerationOut,
    TaskOut,
)
from framehouse.entrypoints.api.kling.responses import ERRORS, ID_ERRORS, READ_ERRORS, REPLAYED, SAVE_ERRORS, success_of
from framehouse.entrypoints.api.kling.task_endpoints import TaskEndpoints
from framehouse.entrypoints.api.router import Endpoint

_ELEMENTS, _OLD_ELEMENTS = "/v1/general/advanced-custom-elements", "/v1/general/custom-elements"
_PRESETS, _OLD_PRESETS = "/v1/general/advanced-presets-elements", "/v1/general/presets-elements"
_DELETE, _OLD_DELETE = "/v1/general/delete-elements", "/v1/general/delete-advanced-elements"


_TIME: Json = {"type": "integer", "minimum": 0, "maximum": MAX_MS}


def _links(*names: str, id: str) -> dict[str, Json]:
    """Return OpenAPI links to the operations with these names.

    The argument `id` is a JSON pointer to a field of the response, relative to the response's `data`. Each operation
    receives the value of this field as its parameter `id`.
    """
    return {name: {"parameters": {"id": f"$response.body#/data{id}"}} for name in names}


def _element_links(task: str) -> dict[str, Json]:
    """Return links to element operations. `task` is a JSON pointer to the task that creates the element. The pointer is
    relative to the response's `data`."""
    id = f"{task}/task_result/elements/0/element_id"
    delete = {"requestBody": {"element_id": f"$response.body#/data{id}"}}
    return _links("get_element", id=id) | {"delete_element": delete}


def _with_alias(endpoint: Endpoint, old_path: str) -> Iterator[Endpoint]:
    """Yield the endpoint and an alias: the same endpoint at its older path."""
    yield endpoint
    yield replace(endpoint, path=old_path, documentation=None)


@dataclass(frozen=True, slots=True)
class _TaskDocs:
    """The documentation of the endpoints for one kind of task. `noun` is part of the names of the operations."""

    noun: str
    create: str
    body: type[BaseModel]
    examples: Mapping[str, Json]
    task: type[BaseModel] = GenerationOut
    example: Json = field(default_factory=lambda: examples.GENERATION)


_TASKS: dict[TaskKind, _TaskDocs] = {
    "omni-image": _TaskDocs(
        "task",
        "Generate images or a series from a prompt, reference images and elements",
        OmniImageRequest,
        examples.CREATE_TASK,
        TaskOut,
        examples.OMNI_IMAGE,
    ),
    "generations": _TaskDocs(
        "generation", "Generate images from a prompt", GenerationRequest, examples.CREATE_GENERATION
    ),
    "multi-image2image": _TaskDocs(
        "combination", "Combine subjects, a scene and a style", CombinationRequest, examples.CREATE_COMBINATION
    ),
    "expand": _TaskDocs("expansion", "Expand an image beyond its edges", ExpansionRequest, examples.CREATE_EXPANSION),
    "try-on": _TaskDocs("try_on", "Dress a person in a garment", TryOnRequest, examples.CREATE_TRY_ON),
}


def _task_endpoints(kind: TaskKind, docs: _TaskDocs) -> Iterator[Endpoint]:
    path, noun, endpoints = TASK_PATHS[kind], docs.noun, TaskEndpoints(kind)
    get, cancel, callbacks = f"get_{noun}", f"cancel_{noun}", f"list_{noun}_callbacks"
    yield Endpoint(
        "POST",
        path,
        endpoints.create,
        f"create_{noun}",
        Operation(
            "tasks",
            docs.create,
            success_of(Envelope[Accepted], ERRORS, examples.ACCEPTED, REPLAYED),
            parameters=(IDEMPOTENCY_KEY, PRIORITY),
            body=BodySchema(docs.body, docs.examples),
            links=_links(get, cancel, callbacks, id="/task_id"),
        ),
    )
    yield from _stored_task_endpoints(path, noun, endpoints, docs.task, docs.example)


def _stored_task_endpoints(
    path: str, noun: str, endpoints: TaskEndpoints, task: type[BaseModel], example: Json
) -> Iterator[Endpoint]:
    get, cancel, callbacks = f"get_{noun}", f"cancel_{noun}", f"list_{noun}_callbacks"
    yield Endpoint(
        "GET",
        path,
        endpoints.list_tasks,
        f"list_{noun}s",
        Operation(
            "tasks",
            "List tasks, newest first",
            success_of(Envelope[list[task]], READ_ERRORS, [example]),  # type: ignore[valid-type]
            parameters=(*PAGE, INCLUDE),
            links=_links(get, cancel, id="/0/task_id"),
        ),
    )
    yield Endpoint(
        "GET",
        path + "/{id:path}/callbacks",
        endpoints.list_callbacks,
        callbacks,
        Operation(
            "tasks",
            "List the callback messages of a task and their delivery states, newest first",
            success_of(Envelope[list[DeliveryOut]], ID_ERRORS, [examples.DELIVERY]),
        ),
    )
    yield Endpoint(
        "GET",
        path + "/{id:path}",
        endpoints.get,
        get,
        Operation(
            "tasks",
            "Get a task by its task id or external id",
            success_of(Envelope[task], ID_ERRORS, example),  # type: ignore[valid-type]
            parameters=(WAIT, INCLUDE, PREFER),
            links=_links(cancel, callbacks, id="/task_id"),
        ),
    )
    yield Endpoint(
        "POST",
        path + "/{id:path}/cancel",
        endpoints.cancel,
        cancel,
        Operation(
            "tasks",
            "Cancel a task that has not ended, and release its quota and its units",
            success_of(Envelope[task], ID_ERRORS, example),  # type: ignore[valid-type]
            links=_links(get, id="/task_id"),
        ),
    )


_TASK_ENDPOINTS = (
    *(endpoint for kind, docs in _TASKS.items() for endpoint in _task_endpoints(kind, docs)),
    *_stored_task_endpoints("/v1/tasks", "any_task", TaskEndpoints(None), AnyTaskOut, examples.ANY_TASK),
)

_CREATE_ELEMENT = Endpoint(
    "POST",
    _ELEMENTS,
    element_endpoints.create_element,
    "create_element",
    Operation(
        "elements",
        "Create an element",
        success_of(Envelope[Accepted], SAVE_ERRORS, examples.ACCEPTED, REPLAYED),
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
        success_of(Envelope[list[ElementTaskOut]], READ_ERRORS, [examples.ELEMENT_TASK]),
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
        success_of(Envelope[list[ElementTaskOut]], READ_ERRORS, [examples.ELEMENT_TASK]),
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
        success_of(Envelope[DeletedOut], SAVE_ERRORS, examples.DELETED_ELEMENT),
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
        success_of(Envelope[ElementTaskOut], ID_ERRORS, examples.ELEMENT_TASK),
        parameters=(ELEMENT_ID,),
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
        success_of(
            Envelope[AccountOut],
            {status: READ_ERRORS[status] for status in (401, 429, 500, 503)},
            examples.ACCOUNT,
        ),
        operation_id="get_account",
    ),
)

_BILLING_ENDPOINTS = (
    Endpoint(
        "GET",
        "/account/costs",
        account_endpoints.get_costs,
        "get_costs",
        Operation(
            "account",
            "Get the resource pack of the caller's account",
            success_of(Envelope[CostsOut], READ_ERRORS, examples.COSTS),
            parameters=(
                Parameter("query", "start_time", "Unix time in milliseconds", schema=_TIME),
                Parameter(
                    "query",
                    "end_time",
                    "Unix time in milliseconds; units used after this time do not count",
                    schema=_TIME,
                ),
                Parameter(
                    "query",
                    "resource_pack_name",
                    "The name of the pack, which is the name of the account; at most 1000 characters",
                    schema={"maxLength": 1000},
                ),
            ),
        ),
    ),
    Endpoint(
        "POST",
        "/account/billing/package",
        account_endpoints.list_charges,
        "list_charges",
        Operation(
            "account",
            "List the charges of the caller's account, newest first",
            success_of(Envelope[ChargesOut], SAVE_ERRORS, examples.CHARGES),
            body=BodySchema(ChargeRequest, examples.LIST_CHARGES),
        ),
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
    *_BILLING_ENDPOINTS,
)
