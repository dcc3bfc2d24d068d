"""Measure the queue, for the metrics, the `doctor` command and the search for unserved routes."""

from datetime import timedelta
from typing import NamedTuple
from uuid import UUID

from framehouse.adapters.postgres.advisory_locks import WORKER_LOCKS
from framehouse.adapters.postgres.pool import Database, sql
from framehouse.domain.callback import GIVE_UP_AFTER_S

_CALLBACKS_AGE = timedelta(seconds=GIVE_UP_AFTER_S, hours=1)
"""The maximum age of the callback messages that are counted. A message is retried for 24 hours. If a message has not
been delivered by then, it is not sent again, but is counted for one more hour."""


class RouteQueue(NamedTuple):
    """The numbers of waiting and running batches of a route.

    An empty `route` means the model's first route. `oldest_s` is the number of seconds since the oldest due batch
    became due, or 0 if no batch is due.
    """

    model: str
    route: str
    waiting: int
    running: int
    oldest_s: float


class CallbackCount(NamedTuple):
    """The number of callback messages with the same state and the same `answer`.

    `answer` is the class of the last response (`2xx`, `none`, `other`, …). `attempts` is the total number of attempts
    for these messages. `oldest_s` is the age of the oldest message in seconds.
    """

    state: str
    answer: str
    messages: int
    attempts: int
    oldest_s: float


async def measure_queue(db: Database, task_id: UUID | None = None) -> list[RouteQueue]:
    """Return the state of the queue for each route that has batches. `task_id` restricts the counts to one task."""
    return [RouteQueue(*row) for row in await db.rows(sql("measure_queue"), task_id=task_id)]


async def count_tasks_in_flight(db: Database) -> dict[str, int]:
    """Count the tasks that have not ended, by model."""
    rows = await db.rows("select model, count(distinct task_id) as tasks from batches group by model")
    return {row["model"]: row["tasks"] for row in rows}


async def count_open_orders(db: Database) -> dict[tuple[str, str], int]:
    """Count the batches that have an open order, by model and route of the order."""
    return {(row["model"], row["route"]): row["batches"] for row in await db.rows(sql("count_open_orders"))}


async def count_workers(db: Database) -> int:
    """Count the live workers."""
    return int(await db.value(sql("count_workers"), lock_class=WORKER_LOCKS))


async def count_callbacks(db: Database) -> list[CallbackCount]:
    """Count the callback messages from the last 25 hours, by state and class of the last response."""
    return [CallbackCount(*row) for row in await db.rows(sql("count_callbacks"), age=_CALLBACKS_AGE)]
