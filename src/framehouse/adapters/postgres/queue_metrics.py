"""Numbers about the queue, for metrics, `doctor` and the search for unserved routes."""

from datetime import timedelta
from typing import NamedTuple
from uuid import UUID

from framehouse.adapters.postgres.advisory_locks import WORKER_LOCKS
from framehouse.adapters.postgres.pool import Database, sql
from framehouse.domain.callback import GIVE_UP_AFTER_S

_CALLBACKS_AGE = timedelta(seconds=GIVE_UP_AFTER_S, hours=1)
"""A message that was given up stays in the figures for an hour."""


class RouteQueue(NamedTuple):
    """Batches that wait for a route (empty: the first of the model) and that run; age of the oldest that is due."""

    model: str
    route: str
    waiting: int
    running: int
    oldest_s: float


class CallbackCount(NamedTuple):
    """Messages in one state with one class of answers (`2xx`; `none`), their attempts, and the age of the oldest."""

    state: str
    answer: str
    messages: int
    tries: int
    oldest_s: float


async def measure_queue(db: Database, task_id: UUID | None = None) -> list[RouteQueue]:
    """By model and route; of one task, if given."""
    return [RouteQueue(*row) for row in await db.rows(sql("measure_queue"), task_id=task_id)]


async def count_tasks_in_flight(db: Database) -> dict[str, int]:
    """Tasks that have not ended, by model."""
    rows = await db.rows("select model, count(distinct task_id) as tasks from batches group by model")
    return {row["model"]: row["tasks"] for row in rows}


async def count_open_orders(db: Database) -> dict[tuple[str, str], int]:
    """Batches that have an open order, by model and route."""
    return {(row["model"], row["route"]): row["batches"] for row in await db.rows(sql("count_open_orders"))}


async def count_workers(db: Database) -> int:
    """Live workers."""
    return int(await db.value(sql("count_workers"), lock_class=WORKER_LOCKS))


async def count_callbacks(db: Database) -> list[CallbackCount]:
    """Messages of the last day by state and last answer."""
    return [CallbackCount(*row) for row in await db.rows(sql("count_callbacks"), age=_CALLBACKS_AGE)]
