"""The documentation of an endpoint in the OpenAPI document, except for the endpoint's method and path."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel

Json = dict[str, Any]
Model = type[BaseModel]


@dataclass(frozen=True, slots=True)
class Parameter:
    """An optional query parameter or header. `default` is None if the parameter has no default value."""

    place: Literal["query", "header"]
    name: str
    description: str = ""
    default: str | None = None


@dataclass(frozen=True, slots=True)
class BodySchema:
    """The schema of a request body, and examples by name.

    If `file_field` is not empty, the endpoint also accepts a form with a file of this name.
    """

    model: Model
    examples: Mapping[str, Json]
    file_field: str = ""


@dataclass(frozen=True, slots=True)
class ResponseDoc:
    """One response of an endpoint. `model` is the schema of a JSON body. `content` describes the bodies of other
    types."""

    description: str
    model: Model | None = None
    content: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Operation:
    """The documentation of one endpoint.

    `links` contains the OpenAPI links of the successful response, keyed by the target operation. If
    `operation_id` is not empty, it replaces the operation name of the endpoint in the OpenAPI document.
    """

    tag: str
    summary: str
    responses: Mapping[int, ResponseDoc]
    parameters: tuple[Parameter, ...] = ()
    body: BodySchema | None = None
    links: Mapping[str, Json] = field(default_factory=dict)
    operation_id: str = ""
