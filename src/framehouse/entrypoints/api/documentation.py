"""The documentation of an endpoint in the OpenAPI document, except for the endpoint's method and path."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel

Json = dict[str, Any]
Model = type[BaseModel]


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a query or a path, or a header.

    `default` is None if the parameter has no default value. `schema` is the JSON schema of the values; without it, the
    parameter is a string. A parameter of a path is always required.
    """

    place: Literal["query", "header", "path"]
    name: str
    description: str = ""
    default: str | None = None
    schema: Json = field(default_factory=dict)
    required: bool = False


@dataclass(frozen=True, slots=True)
class BodySchema:
    """The schema of a request body, and examples by name.

    If `file_field` is not empty, the endpoint also accepts a form with a file of this name. `model` is None if the body
    is not JSON; `content` then describes the body.
    """

    model: Model | None
    examples: Mapping[str, Json]
    file_field: str = ""
    content: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ResponseDoc:
    """One response of an endpoint.

    `model` is the schema of a JSON body. `content` describes the bodies of other types. `examples` contains JSON
    bodies by name. `headers` contains the descriptions of the response's headers. If `component` is not empty, it is
    the name of the response in the components of the OpenAPI document, and the operations refer to this name.
    """

    description: str
    model: Model | None = None
    content: Mapping[str, Json] = field(default_factory=dict)
    examples: Mapping[str, Json] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    component: str = ""


@dataclass(frozen=True, slots=True)
class Operation:
    """The documentation of one endpoint.

    `tag` is one of the tags in api_tags.py. `links` contains the OpenAPI links of the successful response, keyed by the
    target operation. If `operation_id` is not empty, it replaces the operation name of the endpoint in the OpenAPI
    document. `description` is Markdown. `security` contains the names of the security schemes, one of which a request
    must use; None means: the schemes for API keys if the endpoint has a path prefix, otherwise no scheme.
    """

    tag: str
    summary: str
    responses: Mapping[int, ResponseDoc]
    parameters: tuple[Parameter, ...] = ()
    body: BodySchema | None = None
    links: Mapping[str, Json] = field(default_factory=dict)
    operation_id: str = ""
    description: str = ""
    security: tuple[str, ...] | None = None
