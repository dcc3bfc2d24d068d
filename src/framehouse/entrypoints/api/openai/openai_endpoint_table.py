"""The endpoints of the OpenAI dialect. Their base URL is `/openai/v1`."""

from framehouse.domain.errors import Refused
from framehouse.entrypoints.api.documentation import BodySchema, Json, Model, Operation, Parameter, ResponseDoc
from framehouse.entrypoints.api.kling.parameters import IDEMPOTENCY_KEY, PRIORITY, WAIT
from framehouse.entrypoints.api.kling.responses import REQUEST_ID, example_of
from framehouse.entrypoints.api.openai import openai_endpoints as endpoints
from framehouse.entrypoints.api.openai.openai_schemas import (
    EDIT_EXAMPLES,
    GENERATE_EXAMPLES,
    IMAGES,
    MODEL,
    TASK,
    EditImagesRequest,
    GeneratedImagesOut,
    GenerateImagesRequest,
    ImageTaskOut,
    ModelListOut,
    ModelOut,
    OpenAIErrorOut,
)
from framehouse.entrypoints.api.openai_errors import OpenAIError, error_of
from framehouse.entrypoints.api.router import Endpoint

_BASE, _TAG = "/openai/v1", "openai"


def _error(component: str, description: str, error: OpenAIError) -> ResponseDoc:
    examples = {error.code: {"summary": f"Code {error.code}", "value": error.body()}}
    return ResponseDoc(description, OpenAIErrorOut, examples=examples, headers=REQUEST_ID, component=component)


_ERRORS = {
    400: _error(
        "OpenAIBadRequest",
        "`invalid_value`: a field is wrong; `moderation_blocked` or `image_generation_declined`: the request is "
        "refused",
        error_of(Refused(1201, "n must be from 1 to 9, not 12")),
    ),
    401: _error(
        "OpenAIUnauthorized",
        "`invalid_api_key`",
        error_of(Refused(1002, "the token is neither an API key nor a JWT")),
    ),
    403: _error(
        "OpenAIForbidden",
        "`model_not_allowed`: the key may not use this model",
        error_of(Refused(1103, "this key may not use kling-v3-omni")),
    ),
    404: _error(
        "OpenAINotFound",
        "`model_not_found`, or the task does not exist",
        error_of(Refused(1203, 'model_name "kling-v9" does not exist')),
    ),
    413: _error(
        "OpenAITooLarge",
        "`invalid_body`: the body is too large",
        error_of(Refused(1200, "the body is too large; at most 157,286,400 bytes are allowed", status=413)),
    ),
    415: _error(
        "OpenAIUnsupportedMediaType",
        "`invalid_body`: the content type is neither JSON nor a form",
        error_of(Refused(1200, "the Content-Type must be application/json or multipart/form-data", status=415)),
    ),
    429: _error(
        "OpenAITooManyRequests",
        "`rate_limit_exceeded`, or `insufficient_quota`: the account's units are used up",
        error_of(Refused(1303, "parallel task over resource pack limit")),
    ),
    500: _error(
        "OpenAIGenerationFailed",
        "`image_generation_failed`: the message contains the reason",
        OpenAIError(500, "server_error", "image_generation_failed", "The images could not be generated"),
    ),
    503: _error(
        "OpenAIUnavailable",
        "The service is temporarily unavailable; try again",
        error_of(Refused(5001, "the service is temporarily unavailable; try again")),
    ),
}
_EVENT: Json = {
    "type": "object",
    "description": "An event of the stream",
    "properties": {
        "event": {"type": "string", "description": "The type of the event, for example `image_generation.completed`"},
        "data": {"type": "string", "description": "A JSON object with the fields of the event"},
    },
    "required": ["event", "data"],
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
            content={"text/event-stream": {"schema": _EVENT}},
            examples=example_of(IMAGES),
            headers=REQUEST_ID,
        ),
        202: ResponseDoc("The task, if `async` is true", ImageTaskOut, examples=example_of(TASK), headers=REQUEST_ID),
        **_ERRORS,
    }
    operation = Operation(_TAG, summary, responses, parameters=(IDEMPOTENCY_KEY, PRIORITY, _RETRY_COUNT), body=body)
    return Endpoint("POST", _BASE + path, handler, name, operation, prefixed=False, needs_key=True)


def _success_of(out: Model, example: Json) -> dict[int, ResponseDoc]:
    return {200: ResponseDoc("The request succeeded", out, examples=example_of(example), headers=REQUEST_ID)}


def _get(path: str, name: str, summary: str, out: Model, example: Json, *parameters: Parameter) -> Endpoint:
    operation = Operation(_TAG, summary, _success_of(out, example) | _READ_ERRORS, parameters=parameters)
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
    _get("/images/tasks/{id}", "get_image_task", "Get a task by its task id or external id", ImageTaskOut, TASK, WAIT),
    Endpoint(
        "POST",
        _BASE + "/images/tasks/{id}/cancel",
        endpoints.cancel_image_task,
        "cancel_image_task",
        Operation(
            _TAG,
            "Cancel a task that has not ended",
            _success_of(ImageTaskOut, TASK | {"status": "failed"}) | _READ_ERRORS,
        ),
        prefixed=False,
        needs_key=True,
    ),
    _get(
        "/models",
        "list_models",
        "List the models that the key may use",
        ModelListOut,
        {"object": "list", "data": [MODEL]},
    ),
    _get(
        "/models/{id:path}",
        "get_model",
        "Get a model by its name or alias",
        ModelOut,
        MODEL,
        Parameter("path", "id", "The name or an alias of a model"),
    ),
)
