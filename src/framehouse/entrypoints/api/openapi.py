"""Builds the OpenAPI document from the table of endpoints and the schemas of requests and responses."""

from collections.abc import Iterable

from pydantic.json_schema import models_json_schema

from framehouse import __version__
from framehouse.entrypoints.api.api_tags import TAGS
from framehouse.entrypoints.api.documentation import BodySchema, Json, Model, Operation, Parameter, ResponseDoc
from framehouse.entrypoints.api.router import Endpoint

_REF = "#/components/schemas/{model}"
_SECURITY_SCHEMES: Json = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key (`fh_…`), or a JWT that is signed with a secret key and the algorithm HS256",
    },
    "api_key": {
        "type": "apiKey",
        "in": "header",
        "name": "X-API-KEY",
        "description": "An API key or a JWT. This header has the same meaning as `Authorization: Bearer`",
    },
    "admin_key": {"type": "http", "scheme": "bearer", "description": "A key of the admin API (`fha_…`)"},
}
_API_KEY_SCHEMES = ("bearer", "api_key")
_DEFAULT_DESCRIPTIONS = {"id": "The `task_id` or the `external_task_id` of a task"}
"""The descriptions of path parameters whose operations do not describe them."""


def make_document(endpoints: Iterable[Endpoint], prefix: str) -> Json:
    """Return the OpenAPI document. `prefix` is the path prefix of the prefixed endpoints."""
    documented = [(endpoint, endpoint.documentation) for endpoint in endpoints if endpoint.documentation]
    paths: Json = {}
    for endpoint, operation in documented:
        path = (prefix if endpoint.prefixed else "") + endpoint.path.replace(":path}", "}")
        paths.setdefault(path, {})[endpoint.method.lower()] = _operation(endpoint, operation)
    operations = [operation for _, operation in documented]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Framehouse",
            "summary": "Kling's image API on your own server",
            "description": "The API for image tasks. Send `Authorization: Bearer <key>` with every request. "
            "When a task has succeeded, its result contains image URLs. To find out when a task has ended, poll the "
            "task, use a long poll, or receive callbacks. The paths with the prefix "
            f"`{prefix or '/'}` are also available under the other prefixes of the setting `path_prefixes`.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            "version": __version__,
        },
        "servers": [{"url": "/", "description": "The server that returned this document"}],
        "tags": [{"name": name, "description": description} for name, description in TAGS.items()],
        "paths": paths,
        "components": {
            "schemas": _schemas(operations),
            "responses": _component_responses(operations),
            "securitySchemes": _SECURITY_SCHEMES,
        },
    }


def _operation(endpoint: Endpoint, operation: Operation) -> Json:
    document: Json = {"tags": [operation.tag], "summary": operation.summary}
    if operation.description:
        document["description"] = operation.description
    document["operationId"] = operation.operation_id or endpoint.operation
    described = {parameter.name: parameter for parameter in operation.parameters if parameter.place == "path"}
    parameters = [_path_parameter(name, described.get(name)) for name in _names_in(endpoint.path)]
    others = [parameter for parameter in operation.parameters if parameter.place != "path"]
    if parameters := parameters + [_parameter(parameter) for parameter in others]:
        document["parameters"] = parameters
    if operation.body:
        document["requestBody"] = _body(operation.body)
    responses = sorted(operation.responses.items())
    document["responses"] = {str(status): _response_or_reference(response) for status, response in responses}
    if operation.links:
        links = {name: {"operationId": name} | link for name, link in operation.links.items()}
        document["responses"]["200"]["links"] = links
    schemes = operation.security
    if schemes is None and (endpoint.prefixed or endpoint.needs_key):
        schemes = _API_KEY_SCHEMES
    document["security"] = [{scheme: []} for scheme in schemes or ()]
    return document


def _names_in(path: str) -> list[str]:
    return [part.split("}")[0].removesuffix(":path") for part in path.split("{")[1:]]


def _path_parameter(name: str, parameter: Parameter | None) -> Json:
    description = parameter.description if parameter else _DEFAULT_DESCRIPTIONS.get(name, "")
    schema = {"type": "string"} | (parameter.schema if parameter else {})
    described = {"description": description} if description else {}
    return {"name": name, "in": "path", "required": True, "schema": schema} | described


def _parameter(parameter: Parameter) -> Json:
    schema: Json = {"type": "string"} | parameter.schema
    if parameter.default is not None:
        schema["default"] = int(parameter.default) if schema["type"] == "integer" else parameter.default
    described = {"description": parameter.description} if parameter.description else {}
    head = {"name": parameter.name, "in": parameter.place, "required": parameter.required}
    return head | {"schema": schema} | described


def _body(body: BodySchema) -> Json:
    content: Json = dict(body.content)
    if body.model:
        content["application/json"] = {"schema": _reference(body.model), "examples": dict(body.examples)}
    if name := body.file_field:
        form = {"type": "object", "required": [name], "properties": {name: {"type": "string", "format": "binary"}}}
        content["multipart/form-data"] = {"schema": form}
    return {"required": True, "content": content}


def _response_or_reference(response: ResponseDoc) -> Json:
    return {"$ref": f"#/components/responses/{response.component}"} if response.component else _response(response)


def _response(response: ResponseDoc) -> Json:
    document: Json = {"description": response.description}
    if response.headers:
        document["headers"] = {
            name: {"description": description, "schema": {"type": "string"}}
            for name, description in response.headers.items()
        }
    content: Json = {}
    if response.model:  # JSON is first, because some code generators use only the first media type
        content["application/json"] = {"schema": _reference(response.model)}
        if response.examples:
            content["application/json"]["examples"] = dict(response.examples)
    content |= response.content
    return document | ({"content": content} if content else {})


def _component_responses(operations: Iterable[Operation]) -> Json:
    """Return the responses that operations refer to by name. Raises ValueError if two responses have the same name."""
    found: dict[str, ResponseDoc] = {}
    for operation in operations:
        for response in operation.responses.values():
            if response.component and found.setdefault(response.component, response) != response:
                raise ValueError(f"two responses have the name {response.component}")
    return {name: _response(response) for name, response in sorted(found.items())}


def _reference(model: Model) -> Json:
    return {"$ref": _REF.format(model=model.__name__)}


def _schemas(operations: Iterable[Operation]) -> Json:
    responses = {doc.model for operation in operations for doc in operation.responses.values() if doc.model}
    bodies = {operation.body.model for operation in operations if operation.body and operation.body.model}
    references, sent = models_json_schema([(model, "serialization") for model in responses], ref_template=_REF)
    for (model, _), reference in references.items():
        # pydantic ignores the name that a model with a parameter, such as Envelope[TaskOut], has
        sent["$defs"][model.__name__] = sent["$defs"].pop(reference["$ref"].rpartition("/")[2])
    _, received = models_json_schema([(model, "validation") for model in bodies], ref_template=_REF)
    for schema in sent.get("$defs", {}).values():
        for field in schema.get("properties", {}).values():
            if "default" in field and field["default"] is None:
                _remove_null(field)
    return dict(sorted((sent.get("$defs", {}) | received.get("$defs", {})).items()))


def _remove_null(field: Json) -> None:
    """Remove null from the schema of a field, because a response omits the field instead of sending null."""
    del field["default"]
    allowed = [schema for schema in field.pop("anyOf", ()) if schema != {"type": "null"}]
    field |= allowed[0] if len(allowed) == 1 else {"anyOf": allowed} if allowed else {}
