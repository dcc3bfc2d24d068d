"""Pause, drain and resume routes, and count the requests to routes that have a request limit."""

from collections.abc import Mapping, Sequence
from typing import Literal

from framehouse.adapters.postgres.advisory_locks import REQUEST_LOCKS
from framehouse.adapters.postgres.batch_routes import restart_at_first_route
from framehouse.adapters.postgres.channels import ROUTES_CHANNEL, notify
from framehouse.adapters.postgres.pool import Database, sql
from framehouse.domain.routing import RouteControl

RouteAction = Literal["pause", "drain", "resume"]
_CONTROLS: Mapping[RouteAction, RouteControl | None] = {"pause": "paused", "drain": "draining", "resume": None}


async def list_route_controls(db: Database) -> dict[tuple[str, str], RouteControl]:
    """Return the state of each paused or draining route, by model and route name."""
    rows = await db.rows("select model, route, state from route_controls order by model, route")
    return {(row["model"], row["route"]): row["state"] for row in rows}


async def control_route(
    db: Database, model: str, route: str, action: RouteAction, *, waiting_as: Sequence[str], actor: str
) -> bool:
    """Pause, drain or resume a route, and notify the workers. Returns False if the state of the route does not change.

    If a route is paused or drained, and if it is not the first route of the model, its waiting batches restart at the
    first route. `waiting_as` contains the route names that are stored in the batches that wait for this route: the name
    of the route and, if the route is the first route of its model, also an empty string.
    """
    changed = await db.value(
        sql("set_route_control"),
        model=model,
        route=route,
        state=_CONTROLS[action],
        waiting_as=list(waiting_as),
        actor=actor,
        action=f"route.{action}",
    )
    if action != "resume" and "" not in waiting_as:
        await restart_at_first_route(db, model, route)
    await notify(db, ROUTES_CHANNEL, "")
    return bool(changed)


async def count_free_requests(db: Database, limits: Mapping[tuple[str, str], int]) -> dict[tuple[str, str], int]:
    """Return the number of requests that each route may still receive now.

    `limits` contains the maximum number of requests per minute, by model and route.
    """
    if not limits:
        return {}
    rows = await db.rows(
        sql("count_free_requests"),
        models=[model for model, _ in limits],
        routes=[route for _, route in limits],
        limits=list(limits.values()),
    )
    return {(row["model"], row["route"]): row["free"] for row in rows}


async def take_request(db: Database, model: str, route: str, limit: int) -> float:
    """Count a request to a route that may receive at most `limit` requests within any minute.

    Returns 0 if the request may be sent. Otherwise, the request is not counted, and the result is the number of seconds
    until the next request may be sent. The count includes the requests of all workers.
    """
    return float(
        await db.value(
            "select take_request(:model, :route, :limit, :lock_class)",
            model=model,
            route=route,
            limit=limit,
            lock_class=REQUEST_LOCKS,
        )
    )
