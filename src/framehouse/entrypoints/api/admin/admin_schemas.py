"""The schemas of the admin API in the OpenAPI document.

The schemas are only documentation; admin_requests.py validates the requests. Times are in ISO 8601 format.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from framehouse.domain.account import DEFAULT_CONCURRENCY
from framehouse.entrypoints.api.admin.admin_limits import (
    MAX_CONCURRENCY,
    MAX_HOURS,
    MAX_MODELS,
    MAX_OVERLAP_HOURS,
    MAX_TASKS,
    MAX_UNITS,
    MAX_WEIGHT,
    MIN_WEIGHT,
)

_ACCOUNT = "The name of an account"
_CONCURRENCY = f"The highest allowed number of images in flight, from 0 to {MAX_CONCURRENCY:,}"
_UNITS_LIMIT = f"The limit of the units, from 0 to {MAX_UNITS:,}; null means no limit"
_WEIGHT = f"The share of the workers compared to other accounts, from {MIN_WEIGHT} to {MAX_WEIGHT}"
_CREATED_AT = "The time of creation in ISO 8601 format"
_TIME = "2026-11-30T12:00:00+00:00"


class _Strict(BaseModel):
    """A request body. Unknown fields are refused."""

    model_config = ConfigDict(extra="forbid")


class CreateAccountRequest(_Strict):
    """The account to create. Unknown fields are refused."""

    name: str = Field(min_length=1, max_length=100, description="The name, with 1 to 100 printable characters")
    concurrency: int | None = Field(DEFAULT_CONCURRENCY, ge=0, le=MAX_CONCURRENCY, description=_CONCURRENCY)
    units_limit: int | None = Field(None, ge=0, le=MAX_UNITS, description=_UNITS_LIMIT)
    weight: float | None = Field(1, ge=MIN_WEIGHT, le=MAX_WEIGHT, description=_WEIGHT)


class ChangeAccountRequest(_Strict):
    """The fields to change. Unknown fields are refused. Absent fields stay unchanged."""

    concurrency: int | None = Field(None, ge=0, le=MAX_CONCURRENCY, description=_CONCURRENCY)
    units_limit: int | None = Field(None, ge=0, le=MAX_UNITS, description=f"{_UNITS_LIMIT}. null removes the limit")
    weight: float | None = Field(None, ge=MIN_WEIGHT, le=MAX_WEIGHT, description=_WEIGHT)
    disabled: bool | None = Field(None, description="True refuses all requests of the account with the code 1100")


class RotateSecretRequest(_Strict):
    """The account whose callback secret is replaced."""

    account: str = Field(min_length=1, max_length=100, description=_ACCOUNT)
    overlap_hours: float | None = Field(
        24,
        ge=0,
        le=MAX_OVERLAP_HOURS,
        description=f"How long the old secret stays valid: 0 to {MAX_OVERLAP_HOURS} hours",
    )


class CreateKeyRequest(_Strict):
    """The key to create."""

    account: str = Field(min_length=1, max_length=100, description=_ACCOUNT)
    models: list[str] | None = Field(
        None,
        max_length=MAX_MODELS,
        description=f"The models that the key may use, at most {MAX_MODELS}; without this field: all models",
    )
    jwt: bool | None = Field(False, description="True creates an access key and a secret key for signing JWTs")


class ControlRoutesRequest(_Strict):
    """The routes to pause, drain or resume."""

    model: str = Field(min_length=1, max_length=200, description="The name of a model")
    route: str | None = Field(
        None, max_length=100, description="The name of a route; absent for all routes of the model"
    )
    action: Literal["pause", "drain", "resume"] = Field(
        description="`pause` stops the route, `drain` only completes the batches with open orders, `resume` undoes both"
    )


class RetryTasksRequest(_Strict):
    """The failed tasks to retry: either `task_ids`, or conditions for the tasks."""

    task_ids: list[str] | None = Field(
        None, max_length=MAX_TASKS, description=f"The ids of at most {MAX_TASKS:,} tasks; only allowed with `dry_run`"
    )
    account: str | None = Field(None, max_length=1000, description=_ACCOUNT)
    model: str | None = Field(None, max_length=200, description="The name of a model")
    reason: str | None = Field(None, max_length=1000, description="A part of the reason for the failure")
    hours: float | None = Field(
        24, ge=0, le=MAX_HOURS, description="Only tasks that failed in this number of hours before the request"
    )
    limit: int | None = Field(
        MAX_TASKS, ge=1, le=MAX_TASKS, description=f"The highest number of tasks: 1 to {MAX_TASKS:,}"
    )
    dry_run: bool | None = Field(False, description="True only reports the tasks that would be retried")


class AdminAccountOut(BaseModel):
    """An account, without its secrets."""

    name: str = Field(description="The name of the account")
    disabled: bool = Field(description="Whether all requests of the account are refused")
    concurrency: int = Field(description="The highest allowed number of images in flight")
    images_in_flight: int = Field(description="The number of images in flight")
    units_limit: int | None = Field(description="The limit of the units; null means no limit")
    units_reserved: int = Field(description="The units that are reserved for tasks that have not ended")
    units_used: int = Field(description="The number of charged units")
    weight: float = Field(description="The share of the workers compared to other accounts")
    created_at: str = Field(description=_CREATED_AT, examples=[_TIME])


class ListedAccountOut(AdminAccountOut):
    """An account in the list of all accounts."""

    keys: int = Field(description="The number of active keys")


class DeletedAccountOut(BaseModel):
    """The deletion of an account."""

    name: str = Field(description="The name of the deleted account")
    deleted: Literal[True] = Field(description="Always true")


class CallbackSecretOut(BaseModel):
    """The new secret for the signatures of callbacks."""

    callback_secret: str = Field(description="The secret, in the form of Standard Webhooks", examples=["whsec_…"])


class AdminKeyOut(BaseModel):
    """A key of an account, without its secret."""

    id: int = Field(description="The number of the key, which revokes the key")
    prefix: str = Field(description="The first characters of the key", examples=["fh_Ab12Cd34"])
    jwt: bool = Field(description="Whether clients sign JWTs with the key")
    models: list[str] | None = Field(description="The models that the key may use; null means all models")
    created_at: str = Field(description=_CREATED_AT, examples=[_TIME])
    revoked_at: str | None = Field(description="The time of the revocation; null for an active key")


class CreatedKeyOut(BaseModel):
    """The new key. The response is the only place that contains the secret."""

    key: str | None = Field(None, description="The API key; absent if `jwt` is true")
    access_key: str | None = Field(None, description="The access key, the `iss` of the JWTs; only if `jwt` is true")
    secret_key: str | None = Field(None, description="The secret key that signs the JWTs; only if `jwt` is true")


class RevokedKeyOut(BaseModel):
    """The revoked key."""

    revoked: str = Field(description="The first characters of the revoked key", examples=["fh_Ab12Cd34"])


class RouteOut(BaseModel):
    """A configured route and its state."""

    model: str = Field(description="The name of the model")
    route: str = Field(description="The name of the route")
    state: Literal["active", "paused", "draining"] = Field(description="Whether workers use the route")
    requests_per_minute: int | None = Field(description="The limit on the requests; null means no limit")
    waiting: int = Field(description="The number of batches that wait for the route")
    running: int = Field(description="The number of batches that workers have claimed for the route")
    open_orders: int = Field(description="The number of batches with an open order at the route")
    workers: int = Field(description="The number of live workers that serve the route")
    healthy: bool = Field(description="False if at least one of these workers reports a problem")


class FailedTaskOut(BaseModel):
    """A failed task."""

    task_id: str = Field(description="The id of the task")
    account: str = Field(description="The name of the account")
    model: str = Field(description="The name of the model")
    status_message: str = Field(description="The reason for the failure")
    failed_at: str = Field(description="The time of the failure in ISO 8601 format", examples=[_TIME])
    unfinished_images: int = Field(description="The number of images that were not generated")


class RetryOut(BaseModel):
    """The tasks that were retried, and the tasks that were not."""

    dry_run: bool = Field(description="True if nothing was changed")
    retried: list[str] = Field(description="The ids of the retried tasks")
    not_retried: dict[str, str] = Field(description="The reasons by task id")


class ChangeOut(BaseModel):
    """An entry of the audit log: a change that an operator made."""

    id: int = Field(description="The number of the entry")
    changed_at: str = Field(description="The time of the change in ISO 8601 format", examples=[_TIME])
    actor: str = Field(description="The user and host that ran a command, or the name and prefix of an admin key")
    action: str = Field(description="The kind of the change", examples=["account.set"])
    subject: str = Field(description="The name of an account, the prefix of a key, a route, or an id")
    details: dict[str, Any] = Field(description="The content depends on the action")
