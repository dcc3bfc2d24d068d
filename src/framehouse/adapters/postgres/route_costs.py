"""Read what the images of routes have cost the operator."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from framehouse.adapters.postgres.pool import Database, sql
from framehouse.domain.cost import Cost


@dataclass(frozen=True, slots=True)
class RouteCost:
    """The costs of the images of one route, in one currency."""

    model: str
    route: str
    currency: str
    images: int
    amount: Decimal


async def list_costs(
    db: Database, account_id: int | None = None, *, since: date | None = None, until: date | None = None
) -> Sequence[RouteCost]:
    """Return the costs by model, route and currency.

    `since` and `until` limit the days (UTC), and both are included. If `account_id` is None, the result contains the
    costs of all accounts, including deleted accounts.
    """
    rows = await db.rows(
        sql("list_costs"), account_id=account_id, since=since or date.min, until=until or date(9999, 12, 31)
    )
    return [RouteCost(**{name: row[name] for name in RouteCost.__dataclass_fields__}) for row in rows]


async def spent_today(db: Database, model: str, route: str, currency: str) -> Cost:
    """Return what the images of a route have cost since midnight (UTC)."""
    amount = await db.value(
        "select coalesce(sum(amount), 0) from route_costs where day = (now() at time zone 'utc')::date "
        "and model = :model and route = :route and currency = :currency",
        model=model,
        route=route,
        currency=currency,
    )
    return Cost(amount, currency)
