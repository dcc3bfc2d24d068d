"""The endpoints of the OpenAI dialect. Their base URL is `/openai/v1`."""

from framehouse.entrypoints.api.documentation import BodySchema, Model, Operation, Parameter, ResponseDoc
from framehouse.entrypoints.api.kling.parameters import IDEMPOTENCY_KEY, PRIORITY, WAIT
from framehouse.entrypoints.api.openai import openai_endpoints as endpoints
from framehouse.entrypoints.api.openai.openai_schemas import (
    EDIT_EXAMPLES,
    GENERATE_EXAMPLES,
    EditImagesRequest,
    GeneratedImagesOut,
    GenerateImagesRequest,
    ImageTaskOut,
    ModelListOut,
    ModelOut,
    OpenAIErrorOut,
)
from framehouse.entrypoints.api.router import Endpoint

_BASE, _TAG = "/openai/v1", "openai"
_ERRORS = {
    status: ResponseDoc(description, OpenAIErrorOut)
    for status, description in (
        (
            400,
            "`invalid_value`: a field is wrong; `moderation_blocked` or `image_generation_declined`: the request is "
            "refused",
        ),
        (401, "`invalid_api_key`"),
        (403, "`model_not_allowed`: the key may not use this model"),
        (404, "`model_not_found`, or the task does not exist"),
        (413, "`invalid_body`: the body is too large"),
        (415, "`invalid_body`: the content type is neither JSON nor a form"),
        (429, "`rate_limit_exceeded`, or `insufficient_quota`: the account's units are used up"),
        (500, "`image_generation_failed`: the message contains the reason"),
        (503, "The service is temporarily unavailable; try again"),
    )
}
_READ_ERRORS = {status: _ERRORS[status] for status in (400, 401, 404, 429, 500, 503)}
_RETRY_COUNT = Parameter(
    "header",
    "X-Stainless-Retry-Count",
    "The official clients send this header. If it is greater than 0, the response contains the images of the task that "
    "the same request created before, unless its response has already been sent",
)


def _create(path: str, name: str, summary: str, body: BodySchema) -> Endpoint:
    handler = endpoints.edit_images if body.file_field else endpoints.generate_images
    responses = {
        200: ResponseDoc(
            "The images, or a stream of events if `stream` is true",
            GeneratedImagesOut,
            {"text/event-stream": {"schema": {"type": "string"}}},
        ),
        202: ResponseDoc("The task, if `async` is true", ImageTaskOut),
        **_ERRORS,
    }
    operation = Operation(_TAG, summary, responses, parameters=(IDEMPOTENCY_KEY, PRIORITY, _RETRY_COUNT), body=body)
    return Endpoint("POST", _BASE + path, handler, name, operation, prefixed=False, needs_key=True)


def _get(path: str, name: str, summary: str, out: Model, *parameters: Parameter) -> Endpoint:
    operation = Operation(_TAG, summary, {200: ResponseDoc("Success", out), **_READ_ERRORS}, parameters=parameters)
    return Endpoint("GET", _BASE + path, getattr(endpoints, name), name, operation, prefixed=False, needs_key=True)


ENDPOINTS = (
    _create(
        "/images/generations",
        "generate_images",
        "Generate images, and wait for them",
        BodySchema(GenerateImagesRequest, GENERATE_EXAMPLES),
    ),
    _create(
        "/images/edits",
        "edit_images",
        "Edit images, and wait for the result",
        BodySchema(EditImagesRequest, EDIT_EXAMPLES, file_field="image"),
    ),
    _get("/images/tasks/{id}", "get_image_task", "Get a task by its task id or external id", ImageTaskOut, WAIT),
    Endpoint(
        "POST",
        _BASE + "/images/tasks/{id}/cancel",
        endpoints.cancel_image_task,
        "cancel_image_task",
        Operation(
            _TAG, "Cancel a task that has not ended", {200: ResponseDoc("Success", ImageTaskOut), **_READ_ERRORS}
        ),
        prefixed=False,
        needs_key=True,
    ),
    _get("/models", "list_models", "List the models that the key may use", ModelListOut),
    _get("/models/{id:path}", "get_model", "Get a model by its name or alias", ModelOut),
)
