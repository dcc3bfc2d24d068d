"""The documentation of a route: what the OpenAPI document contains besides its method and path."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel

Json = dict[str, Any]
Model = type[BaseModel]


@dataclass(frozen=True, slots=True)
class Parameter:
    """A query parameter or a header. Without a `default` it may be left out."""

    place: Literal["query", "header"]
    name: str
    description: str = ""
    default: str | None = None


@dataclass(frozen=True, slots=True)
class BodySchema:
    """A request body, with examples by their names."""

    model: Model
    examples: Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class Answer:
    """One response. `model` is the schema of a JSON body; `content` describes any other body by its media type."""

    description: str
    model: Model | None = None
    content: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Operation:
    """The documentation of one route. `links` are the operations that accept values of the successful response."""

    tag: str
    summary: str
    answers: Mapping[int, Answer]
    parameters: tuple[Parameter, ...] = ()
    body: BodySchema | None = None
    links: Mapping[str, Json] = field(default_factory=dict)
    operation_id: str = ""
