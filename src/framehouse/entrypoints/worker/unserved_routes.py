"""Find unserved routes that batches are waiting for. Log a warning, and later fail the tasks of these batches.

Each worker measures for itself how long a route has been unserved, so a worker that has just started does not fail any
tasks. This module never fails tasks of a served route, even if their batches wait for a long time.
"""

import asyncio
import logging
import time
from datetime import timedelta
from typing import NoReturn
from uuid import UUID

from framehouse.adapters.postgres.batch_queue import fail_batch
from framehouse.adapters.postgres.batch_routes import (
    claim_unserved_batches,
    restart_at_first_route,
    route_to_open_orders,
)
from framehouse.adapters.postgres.channels import ENDED_CHANNEL, notify
from framehouse.adapters.postgres.pool import DATABASE_ERRORS, Database
from framehouse.adapters.postgres.queue_metrics import measure_queue
from framehouse.adapters.postgres.route_controls import list_route_controls
from framehouse.adapters.postgres.route_health import list_route_health
from framehouse.domain.batch_retry import RetryLimits
from framehouse.engines.registry import Registry

log = logging.getLogger(__name__)
_CHECK_S = 30.0


class UnservedRoutes:
    """A periodic check for unserved routes. Tasks that wait for an unserved route fail after a time limit.

    If `only_task` is set, only this task is checked.
    """

    def __init__(
        self,
        db: Database,
        registry: Registry,
        *,
        retention: timedelta,
        lease_s: float,
        limits: RetryLimits,
        only_task: UUID | None = None,
    ) -> None:
        self._db = db
        self._registry = registry
        self._retention = retention
        self._lease = timedelta(seconds=lease_s)
        self._limits = limits
        self._only_task = only_task
        self._since: dict[tuple[str, str], float] = {}

    async def run(self) -> NoReturn:
        while True:
            await asyncio.sleep(min(_CHECK_S, self._limits.give_up_after_s))
            try:
                await self.check_once()
            except DATABASE_ERRORS as error:
                log.warning("cannot check for unserved routes: %s", error)

    async def check_once(self) -> None:
        """Log a warning for each newly unserved route. Fail the tasks of routes that have been unserved for too long.

        The time limit is `give_up_after_s`, or a longer time for batches with an open order. If a route is no longer
        configured, its batches restart at the model's first route.
        """
        await route_to_open_orders(self._db)
        served = {(health.model, health.route) for health in await list_route_health(self._db)}
        served |= set(self._registry.served_routes)
        # the batches of paused routes must wait, and the batches of draining routes use the next route or must wait
        served |= set(await list_route_controls(self._db))
        now, unserved = time.monotonic(), set[tuple[str, str]]()
        for row in await measure_queue(self._db, self._only_task):
            model, waited_for = row.model, row.route
            route = self._registry.route(model, waited_for)
            name = self._registry.route_name(model, waited_for)
            if not row.waiting or (model, name) in served:
                continue
            unserved.add((model, name))
            if (model, name) not in self._since:
                self._since[model, name] = now
                reason = "is not configured"
                if route:
                    reason = f"needs {route.needed_labels}" if route.needs else "has no worker"
                log.warning("batches of %s are waiting for %s, which no live worker serves: the route %s",
                            model, f"route {name}" if name else "the first route", reason)  # fmt: skip
            if self._registry.model(model) and not route:
                await restart_at_first_route(self._db, model, name)
        for key in self._since.keys() - unserved:
            del self._since[key]
        for (model, name), since in self._since.items():
            if now - since >= self._limits.give_up_after_s:
                await self._fail(model, name, now - since)

    async def _fail(self, model: str, name: str, unserved_s: float) -> None:
        names = self._registry.waiting_names(model, name)
        waited = timedelta(seconds=self._limits.give_up_after_s)
        open_orders = unserved_s >= self._limits.give_up_s(open_order=True)
        reason = f"given up after {unserved_s / 60:.0f} minutes: no worker serves the route that the batch waits for"
        while claimed := await claim_unserved_batches(
            self._db, model, names, lease=self._lease, waited=waited, open_orders=open_orders, task_id=self._only_task
        ):
            for batch_id, claim, task_id in claimed:
                if await fail_batch(self._db, batch_id, claim, reason, self._retention):
                    log.info("task %s failed: %s", task_id, reason)
                    await notify(self._db, ENDED_CHANNEL, str(task_id))
