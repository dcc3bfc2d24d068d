"""The `framehouse route …` commands."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from framehouse.cli.options import data_options, json_option
from framehouse.cli.output import Problem, echo, print_json

if TYPE_CHECKING:
    from framehouse.adapters.postgres.pool import Database
    from framehouse.adapters.postgres.route_controls import RouteAction
    from framehouse.engines.registry import Registry
    from framehouse.pipeline.operate_routes import RouteOverview

_PAST_TENSE = {"pause": "Paused", "drain": "Draining", "resume": "Resumed"}
_STATES = {"pause": "paused", "drain": "draining", "resume": "active"}
_MIN_WIDTH = 120
"""The minimum width of the table, so that the names of models and routes are not shortened."""
_model = click.argument("model")
_route = click.argument("route", required=False)


@click.group()
def route() -> None:
    """List, pause, drain and resume routes."""


@route.command("list")
@data_options
@json_option
def list_all(data_dir: Path | None, config: Path | None, as_json: bool) -> None:
    """List the configured routes with their states, batches and workers."""
    from rich.console import Console
    from rich.table import Table

    from framehouse.cli.local_database import with_registry
    from framehouse.pipeline.operate_routes import list_routes
    from framehouse.pipeline.operator_json import route_json

    async def work(db: Database, registry: Registry) -> list[RouteOverview]:
        return await list_routes(db, registry)

    routes = with_registry(data_dir, config, work)
    if as_json:
        print_json([route_json(overview) for overview in routes])
        return
    table = Table(box=None, pad_edge=False)
    names = ("model", "route", "state", "requests/min", "waiting", "running", "open orders", "workers", "health")
    for name in names:
        table.add_column(name, justify="left" if name in ("model", "route", "state", "health") else "right")
    for overview in routes:
        health = "" if not overview.workers else "healthy" if overview.healthy else "unhealthy"
        numbers = (overview.waiting, overview.running, overview.open_orders, overview.workers)
        limit = str(overview.requests_per_minute or "no limit")
        state = overview.control or "active"
        table.add_row(overview.model, overview.route, state, limit, *(f"{n:,}" for n in numbers), health)
    Console(width=max(Console().width, _MIN_WIDTH)).print(table)


@route.command("pause")
@_model
@_route
@data_options
@json_option
def pause(model: str, route: str | None, data_dir: Path | None, config: Path | None, as_json: bool) -> None:
    """Pause ROUTE of MODEL: its batches wait until the route is resumed.

    Without ROUTE, all routes of MODEL are paused. Batches that workers are already generating continue, and so do
    batches with an open order.
    """
    _control(model, route, "pause", data_dir, config, as_json)


@route.command("drain")
@_model
@_route
@data_options
@json_option
def drain(model: str, route: str | None, data_dir: Path | None, config: Path | None, as_json: bool) -> None:
    """Stop sending batches to ROUTE of MODEL. New batches and waiting batches use the next route.

    Use this command before you remove a route. If no other route can generate a batch, the batch waits until ROUTE is
    resumed. Without ROUTE, all routes of MODEL are drained.
    """
    _control(model, route, "drain", data_dir, config, as_json)


@route.command("resume")
@_model
@_route
@data_options
@json_option
def resume(model: str, route: str | None, data_dir: Path | None, config: Path | None, as_json: bool) -> None:
    """Resume ROUTE of MODEL after a pause or a drain. Without ROUTE, all routes of MODEL are resumed."""
    _control(model, route, "resume", data_dir, config, as_json)


def _control(
    model: str, route: str | None, action: RouteAction, data_dir: Path | None, config: Path | None, as_json: bool
) -> None:
    from framehouse.cli.local_database import operator, with_registry
    from framehouse.pipeline.operate_routes import UnknownRoute, control_routes

    async def work(db: Database, registry: Registry) -> dict[str, bool]:
        try:
            return await control_routes(db, registry, model, route, action, actor=operator())
        except UnknownRoute as error:
            message = str(error)
            raise Problem(f"{message[0].upper()}{message[1:]}. See: framehouse route list") from None

    changes = with_registry(data_dir, config, work)
    if as_json:
        state = _STATES[action]
        print_json([{"model": model, "route": name, "state": state, "changed": changes[name]} for name in changes])
        return
    for name, changed in changes.items():
        text = f"{_PAST_TENSE[action]}: " if changed else f"Already {_STATES[action]}: "
        echo(f"{text}route {name} of {model}.")
