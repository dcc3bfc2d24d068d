"""The schemas of the account endpoints in the OpenAPI document. domain/billing.py validates the requests."""

from typing import Literal

from pydantic import BaseModel, Field

from framehouse.domain.billing import DEFAULT_CHARGES, MAX_CHARGES


class ResourcePack(BaseModel):
    resource_pack_name: str = Field(description="The name of the account")
    resource_pack_id: str
    resource_pack_type: Literal["decreasing_total", "constant_period"] = Field(
        description="`decreasing_total` if the account has a limit on its units, otherwise `constant_period`"
    )
    total_quantity: int = Field(description="The limit in units, or 2^53 - 1 if the account has no limit")
    remaining_quantity: int
    purchase_time: int = Field(description="Unix time in milliseconds")
    effective_time: int
    invalid_time: int
    status: Literal["online", "runOut"]


class CostsOut(BaseModel):
    code: int
    msg: str
    resource_pack_subscribe_infos: list[ResourcePack]


class ChargeFilter(BaseModel):
    key: Literal["api_key_name", "product_type", "package_name", "package_id"]
    values: list[str] = Field(max_length=100, description="A charge must match one of the values")


class ChargeRequest(BaseModel):
    """The charges to list. A charge must match all filters."""

    start_time: int | None = Field(None, ge=0, le=253_402_300_799_000, description="Unix time in milliseconds")
    end_time: int | None = Field(None, ge=0, le=253_402_300_799_000, description="Unix time in milliseconds")
    limit: int | None = Field(DEFAULT_CHARGES, ge=1, le=MAX_CHARGES)
    cursor: str | None = Field(None, pattern=r"^[0-9]{0,18}$", description="The `next_cursor` of an earlier response")
    filters: list[ChargeFilter] | None = Field(None, max_length=100)


class ChargeOut(BaseModel):
    package_id: str
    package_name: str
    product_type: Literal["image"]
    task_id: str
    api_key_name: str = Field(description="The prefix of the API key; empty if a command created the task")
    product_function: str = Field(description="The kind of the task")
    model_name: str
    resolution: str
    deduction_time: int = Field(description="Unix time in milliseconds")
    unit_before_deduction: int = Field(
        description="The number of units of the account's current limit that were unused before the charge"
    )
    deduction_amount: int
    unit_after_deduction: int


class ChargeDetail(BaseModel):
    detail: list[ChargeOut]
    count: int = Field(description="The number of charges in this response")


class ChargesOut(BaseModel):
    result: ChargeDetail
    next_cursor: str
    has_more: bool
