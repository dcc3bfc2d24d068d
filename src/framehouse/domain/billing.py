"""The rules of the account endpoints.

Each account has one resource pack (the Kling API's term for a quantity of purchased units). Each charge is one row of
the ledger.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from framehouse.domain.account import Account
from framehouse.domain.errors import Refused, refused_fields
from framehouse.domain.field_reader import FieldReader, quoted, read_int
from framehouse.domain.task_json import milliseconds

MAX_CHARGES, DEFAULT_CHARGES = 500, 50
FIRST_ID = 2**63 - 1
"""The cursor of a list that starts with the newest charge: a number that is greater than the id of every charge."""
PRODUCT_TYPE = "image"
NO_LIMIT = 2**53 - 1
"""The quantity of a resource pack without a limit: JavaScript's largest safe integer (`Number.MAX_SAFE_INTEGER`)."""
_FILTER_KEYS = ("api_key_name", "product_type", "package_name", "package_id")
_MAX_FILTER_VALUES = 100
_NEVER = datetime(2100, 1, 1, tzinfo=UTC)
MAX_MS = 253_402_300_799_000
"""The latest time of a query: the end of the year 9999, in milliseconds."""


@dataclass(frozen=True, slots=True)
class Charge:
    """One row of the ledger.

    `units_before` and `units_after` are the units that the account had used before and after the charge. `task_id` is
    None in a row for units that were used before the ledger existed. `key` is the prefix of the API key, or empty if a
    command created the task.
    """

    id: int
    account_id: int
    account: str
    task_id: UUID | None
    key: str
    kind: str
    model: str
    resolution: str
    units_before: int
    amount: int
    units_after: int
    charged_at: datetime


@dataclass(frozen=True, slots=True)
class ChargeQuery:
    """A query for the charges of one account. `keys` is None if charges of all API keys are requested.

    `matches` is false if a filter excludes all charges of the account.
    """

    since: datetime | None
    until: datetime | None
    limit: int
    before: int
    keys: tuple[str, ...] | None
    matches: bool


def pack_id(account_id: int) -> str:
    return f"account-{account_id}"


def read_times(reader: FieldReader) -> tuple[datetime | None, datetime | None]:
    """Return the start and the end of the period from `start_time` to `end_time`.

    The fields are Unix times in milliseconds. The period includes the entire millisecond that starts at `end_time`,
    because the times in responses are truncated to milliseconds. The returned end is therefore one millisecond later
    than `end_time`, and is not part of the period.
    """
    start, end = (_time(reader, name) for name in ("start_time", "end_time"))
    if start and end and start > end:
        reader.add_problem("start_time", "must not be later than end_time")
    return start, end + timedelta(milliseconds=1) if end else None


def _time(reader: FieldReader, name: str) -> datetime | None:
    value = reader.get(name)
    if value is None:
        return None
    moment = read_int(value)
    if moment is None or not 0 <= moment <= MAX_MS:
        reader.add_problem(name, f"must be a Unix time in milliseconds, not {quoted(value)}")
        return None
    return datetime.fromtimestamp(moment / 1000, UTC)


def read_charge_query(body: object, account: Account) -> ChargeQuery:
    """Read the query in a JSON body. Raises Refused (1201) if the query is invalid."""
    if not isinstance(body, dict):
        raise Refused(1201, "the body must be a JSON object")
    reader = FieldReader(body)
    since, until = read_times(reader)
    limit = reader.integer("limit", 1, MAX_CHARGES, DEFAULT_CHARGES)
    before = _cursor(reader)
    filters = _filters(reader)
    if reader.problems:
        raise refused_fields(reader.problems)
    own = {"product_type": PRODUCT_TYPE, "package_name": account.name, "package_id": pack_id(account.id)}
    matches = all(own[key] in values for key, values in filters if key in own)
    keys: tuple[str, ...] | None = None
    for key, values in filters:
        if key == "api_key_name":
            keys = values if keys is None else tuple(set(keys) & set(values))
    return ChargeQuery(since, until, limit, before, keys, matches)


def _cursor(reader: FieldReader) -> int:
    value = reader.get("cursor")
    if value is None:
        return FIRST_ID
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,18}", value):
        return int(value)
    reader.add_problem("cursor", "must be the next_cursor of an earlier response")
    return FIRST_ID


def _filters(reader: FieldReader) -> list[tuple[str, tuple[str, ...]]]:
    value = reader.get("filters")
    if value is None:
        return []
    if not isinstance(value, list) or len(value) > _MAX_FILTER_VALUES:
        reader.add_problem(
            "filters", f"must be a list of at most {_MAX_FILTER_VALUES} objects with the fields key and values"
        )
        return []
    filters = []
    for index, item in enumerate(value):
        key, values = (item.get("key"), item.get("values")) if isinstance(item, dict) else (None, None)
        if key not in _FILTER_KEYS:
            reader.add_problem(f"filters[{index}].key", f"must be one of {', '.join(_FILTER_KEYS)}, not {quoted(key)}")
        elif not isinstance(values, list) or len(values) > _MAX_FILTER_VALUES or not all(map(_is_text, values)):
            reader.add_problem(f"filters[{index}].values", f"must be a list of at most {_MAX_FILTER_VALUES} strings")
        else:
            filters.append((key, tuple(values)))
    return filters


def _is_text(value: object) -> bool:
    return isinstance(value, str) and "\0" not in value and len(value) <= 500


def resource_packs(
    account: Account, used: int, *, since: datetime | None, until: datetime | None, name: str
) -> list[dict[str, Any]]:
    """Return a list that contains the resource pack of an account, in the format of the Kling API.

    The period is from `since` to `until`. `used` is the number of units that the account had used by the end of the
    period. The list is empty if `name` is the name of another resource pack, or if the resource pack did not exist in
    the period.
    """
    if (name and name != account.name) or (until and until < account.created_at) or (since and since > _NEVER):
        return []
    total = total_units(account)
    remaining = max(0, total - used)
    created = milliseconds(account.created_at)
    return [
        {
            "resource_pack_name": account.name,
            "resource_pack_id": pack_id(account.id),
            "resource_pack_type": "constant_period" if account.units_limit is None else "decreasing_total",
            "total_quantity": total,
            "remaining_quantity": remaining,
            "purchase_time": created,
            "effective_time": created,
            "invalid_time": milliseconds(_NEVER),
            "status": "online" if remaining else "runOut",
        }
    ]


def total_units(account: Account) -> int:
    return NO_LIMIT if account.units_limit is None else account.units_limit


def charge_data(charge: Charge, total: int) -> Mapping[str, object]:
    """Return the JSON object for a charge.

    `total` is the current unit limit of the account. The object contains two remaining quantities: how many of these
    units were unused before the charge, and how many were unused after it. If `total` is less than `units_after` of the
    charge, `units_after` replaces `total`, so that no remaining quantity is negative.
    """
    total = max(total, charge.units_after)
    return {
        "package_id": pack_id(charge.account_id),
        "package_name": charge.account,
        "product_type": PRODUCT_TYPE,
        "task_id": str(charge.task_id) if charge.task_id else "",
        "api_key_name": charge.key,
        "product_function": charge.kind,
        "model_name": charge.model,
        "resolution": charge.resolution,
        "deduction_time": milliseconds(charge.charged_at),
        "unit_before_deduction": total - charge.units_before,
        "deduction_amount": charge.amount,
        "unit_after_deduction": total - charge.units_after,
    }
