"""Builds the OpenAPI document from the table of endpoints and the schemas of requests and responses."""

from collections.abc import Iterable

from pydantic.json_schema import models_json_schema

from framehouse import __version__
from framehouse.entrypoints.api.documentation import Json, Model, Operation, Parameter, ResponseDoc
from framehouse.entrypoints.api.router import Endpoint

_REF = "#/components/schemas/{model}"


def make_document(endpoints: Iterable[Endpoint], prefix: str) -> Json:
    """Return the OpenAPI document. `prefix` is the path prefix of the prefixed endpoints."""
    documented = [(endpoint, endpoint.documentation) for endpoint in endpoints if endpoint.documentation]
    paths: Json = {}
    for endpoint, operation in documented:
        path = (prefix if endpoint.prefixed else "") + endpoint.path.replace(":path}", "}")
        paths.setdefault(path, {})[endpoint.method.lower()] = _operation(endpoint, operation)
    security = {"bearer": {"type": "http", "scheme": "bearer", "description": "API key or JWT"}}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Framehouse",
            "description": "The API for image tasks. Send `Authorization: Bearer <key>` with every request. "
            "When a task has succeeded, its result contains image URLs. To find out when a task has ended, poll the "
            "task, use a long poll, or receive callbacks.",
            "version": __version__,
        },
        "paths": paths,
        "components": {
            "schemas": _schemas([operation for _, operation in documented]),
            "securitySchemes": security,
        },
    }


def _operation(endpoint: Endpoint, operation: Operation) -> Json:
    document: Json = {
        "tags": [operation.tag],
        "summary": operation.summary,
        "operationId": operation.operation_id or endpoint.operation,
    }
    parameters = [_path_parameter(name) for name in _names_in(endpoint.path)]
    if parameters := parameters + [_parameter(parameter) for parameter in operation.parameters]:
        document["parameters"] = parameters
    if operation.body:
        content = {"schema": _reference(operation.body.model), "examples": dict(operation.body.examples)}
        document["requestBody"] = {"required": True, "content": {"application/json": content}}
        if name := operation.body.file_field:
            form = {"type": "object", "required": [name], "properties": {name: {"type": "string", "format": "binary"}}}
            document["requestBody"]["content"]["multipart/form-data"] = {"schema": form}
    document["responses"] = {str(status): _response(response) for status, response in operation.responses.items()}
    if operation.links:
        links = {name: {"operationId": name} | link for name, link in operation.links.items()}
        document["responses"]["200"]["links"] = links
    if endpoint.prefixed or endpoint.needs_key:
        document["security"] = [{"bearer": []}]
    return document


def _names_in(path: str) -> list[str]:
    return [part.split("}")[0].removesuffix(":path") for part in path.split("{")[1:]]


def _path_parameter(name: str) -> Json:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string", "title": name.title()}}


def _parameter(parameter: Parameter) -> Json:
    schema: Json = {"title": parameter.name.title()}
    if parameter.default is None:
        schema["anyOf"] = [{"type": "string"}, {"type": "null"}]
    else:
        schema |= {"type": "string", "default": parameter.default}
    described = {"description": parameter.description} if parameter.description else {}
    head = {"name": parameter.name, "in": parameter.place, "required": False}
    return head | {"schema": schema | described} | described


def _response(response: ResponseDoc) -> Json:
    content = dict(response.content)
    if response.model:
        content = {"application/json": {"schema": _reference(response.model)}, **content}
    return {"description": response.description} | ({"content": content} if content else {})


def _reference(model: Model) -> Json:
    return {"$ref": _REF.format(model=_name(model))}


def _name(model: Model) -> str:
    """Return the name of a schema in pydantic's spelling: Envelope[list[TaskOut]] becomes Envelope_list_TaskOut__."""
    return "".join(letter if letter.isalnum() else "_" for letter in model.__name__)


def _schemas(operations: Iterable[Operation]) -> Json:
    responses = {doc.model for operation in operations for doc in operation.responses.values() if doc.model}
    bodies = {operation.body.model for operation in operations if operation.body}
    _, sent = models_json_schema([(model, "serialization") for model in responses], ref_template=_REF)
    _, received = models_json_schema([(model, "validation") for model in bodies], ref_template=_REF)
    for schema in sent["$defs"].values():
        for field in schema.get("properties", {}).values():
            if "default" in field and field["default"] is None:
                del field["default"]  # a response omits the field instead of sending null
    return dict(sorted((sent["$defs"] | received["$defs"]).items()))
