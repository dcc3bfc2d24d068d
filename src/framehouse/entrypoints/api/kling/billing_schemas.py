"""The schemas of the account endpoints in the OpenAPI document. domain/billing.py validates the requests."""

from typing import Literal

from pydantic import BaseModel, Field

from framehouse.domain.billing import DEFAULT_CHARGES, MAX_CHARGES, MAX_MS

_MS = "Unix time in milliseconds"


class ResourcePack(BaseModel):
    """The units of an account."""

    resource_pack_name: str = Field(description="The name of the account")
    resource_pack_id: str = Field(description="The id of the pack")
    resource_pack_type: Literal["decreasing_total", "constant_period"] = Field(
        description="`decreasing_total` if the account has a limit on its units, otherwise `constant_period`"
    )
    total_quantity: int = Field(description="The limit in units, or 2^53 - 1 if the account has no limit")
    remaining_quantity: int = Field(description="The unused units")
    purchase_time: int = Field(description=f"The time when the account was created. {_MS}")
    effective_time: int = Field(description=f"The same time as `purchase_time`. {_MS}")
    invalid_time: int = Field(description=f"The start of the year 2100, because units do not expire. {_MS}")
    status: Literal["online", "runOut"] = Field(description="`runOut` if no units are left")


class CostsOut(BaseModel):
    """The resource packs of an account."""

    code: int = Field(description="Always 0")
    msg: str = Field(description="Always SUCCEED")
    resource_pack_subscribe_infos: list[ResourcePack] = Field(
        description="The resource pack of the account; empty if the request selects another name or time"
    )


class ChargeFilter(BaseModel):
    """A condition for charges."""

    key: Literal["api_key_name", "product_type", "package_name", "package_id"] = Field(
        description="The field of the charge"
    )
    values: list[str] = Field(max_length=100, description="A charge must match one of the values")


class ChargeRequest(BaseModel):
    """The charges to list. A charge must match all filters."""

    start_time: int | None = Field(None, ge=0, le=MAX_MS, description=f"The earliest time. {_MS}")
    end_time: int | None = Field(None, ge=0, le=MAX_MS, description=f"The latest time. {_MS}")
    limit: int | None = Field(
        DEFAULT_CHARGES, ge=1, le=MAX_CHARGES, description=f"The number of charges, from 1 to {MAX_CHARGES}"
    )
    cursor: str | None = Field(None, pattern=r"^[0-9]{0,18}$", description="The `next_cursor` of an earlier response")
    filters: list[ChargeFilter] | None = Field(None, max_length=100, description="At most 100 conditions")


class ChargeOut(BaseModel):
    """A charge for the images of a task."""

    package_id: str = Field(description="The id of the pack")
    package_name: str = Field(description="The name of the account")
    product_type: Literal["image"] = Field(description="Always `image`")
    task_id: str = Field(description="The id of the task; empty for units used before charges were recorded")
    api_key_name: str = Field(description="The prefix of the API key; empty if a command created the task")
    product_function: str = Field(description="The kind of the task")
    model_name: str = Field(description="The name of the model")
    resolution: str = Field(description="The resolution of the images")
    deduction_time: int = Field(description=f"The time of the charge. {_MS}")
    unit_before_deduction: int = Field(
        description="The number of units of the account's current limit that were unused before the charge"
    )
    deduction_amount: int = Field(description="The number of charged units")
    unit_after_deduction: int = Field(description="The number of unused units after the charge")


class ChargeDetail(BaseModel):
    """A page of charges."""

    detail: list[ChargeOut] = Field(description="The charges, newest first")
    count: int = Field(description="The number of charges in this response")


class ChargesOut(BaseModel):
    """A page of charges, and the position of the next page."""

    result: ChargeDetail = Field(description="The charges of this page")
    next_cursor: str = Field(description="The `cursor` of the request for the next page; empty on the last page")
    has_more: bool = Field(description="Whether there are more charges")
