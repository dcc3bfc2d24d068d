"""The route that a waiting batch waits for: changed if the route is gone, and claimed if no worker serves it."""

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
    """Take batches that have waited for these routes for longer than `waited`, in order to fail them: id, claim, task.
    With `open_orders` also those that have one."""
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
    """Let every waiting batch that has an open order wait for the route of that order."""
    await db.row(sql("route_to_open_orders"))


async def restart_at_first_route(db: Database, model: str, route: str) -> None:
    """Let batches that wait for a route that was removed from the configuration wait for the first route."""
    await db.row(sql("restart_at_first_route"), model=model, route=route)
