"""Change the routes of waiting batches, and claim batches that wait for unserved routes."""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID, uuid4

from framehouse.adapters.postgres.pool import Database, sql


async def claim_unserved_batches(
    db: Database,
    model: str,
    routes: Sequence[str],
    *,
    lease: timedelta,
    waited: timedelta,
    open_orders: bool,
    task_id: UUID | None = None,
) -> list[tuple[int, UUID, UUID]]:
    """Claim up to 100 batches of `model` that have waited for one of the `routes` for longer than `waited`.

    The calling code must then fail these batches. If `open_orders` is true, batches that have an open order are
    included. `task_id` restricts the claim to one task. Returns the id, the claim and the task id of each batch.
    """
    claim = uuid4()
    rows = await db.rows(
        sql("claim_unserved_batches"),
        claim=claim,
        lease=lease,
        model=model,
        routes=list(routes),
        waited=waited,
        open_orders=open_orders,
        task_id=task_id,
    )
    return [(row["id"], claim, row["task_id"]) for row in rows]


async def route_to_open_orders(db: Database) -> None:
    """Assign every waiting batch that has an open order to the route of that order."""
    await db.row(sql("route_to_open_orders"))


async def restart_at_first_route(db: Database, model: str, route: str) -> None:
    """Assign all batches that wait for `route` to the model's first route.

    Batches with an open order are not changed.
    """
    await db.row(sql("restart_at_first_route"), model=model, route=route)
