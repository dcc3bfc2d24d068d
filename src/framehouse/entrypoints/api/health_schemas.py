"""The schemas of the health endpoints in the OpenAPI document."""

from typing import Literal

from pydantic import BaseModel, Field


class LivenessOut(BaseModel):
    """The process is running."""

    status: Literal["ok"] = Field(description="Always ok")


class ChecksOut(BaseModel):
    """The states of the services that every request needs."""

    database: Literal["ok", "away"] = Field(description="Whether the database responds")
    storage: Literal["ok", "away"] = Field(description="Whether the storage responds")


class ReadinessOut(BaseModel):
    """The states of the database, the storage and the engines."""

    status: Literal["ok", "not ready"] = Field(description="`ok` if the server can accept tasks")
    checks: ChecksOut = Field(description="The states of the database and the storage")
    engines: dict[str, dict[str, str]] = Field(
        description="The state of each route, by model and route: `ok`, `partly away`, `away`, `no worker`, `paused` "
        "or `draining`. An operator's `paused` or `draining` precedes the other states"
    )
