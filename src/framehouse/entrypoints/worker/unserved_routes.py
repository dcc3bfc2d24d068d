"""Finds batches that wait for a route which no living worker serves: says so, and in the end fails their tasks.

Nobody claims such batches, so nobody else would. How long a route has had nobody is counted by our own clock and our
own looks: a worker that is started anew fails nothing, and a queue that is merely long is not touched.
"""

import asyncio
import logging
import time
from datetime import timedelta
from uuid import UUID

from framehouse.adapters.postgres.batch_queue import fail_batch
from framehouse.adapters.postgres.channels import ENDED_CHANNEL, notify
from framehouse.adapters.postgres.pool import TROUBLE, Database
from framehouse.adapters.postgres.queue_metrics import measure_queue
from framehouse.adapters.postgres.route_health import list_route_health
from framehouse.adapters.postgres.waiting_routes import (
    claim_unserved_batches,
    restart_at_first_route,
    route_to_open_orders,
)
from framehouse.engines.registry import Registry

log = logging.getLogger(__name__)
_LOOK_S = 30.0


class UnservedRoutes:
    """`run` looks every half minute; `turn` is one look. `only_task` keeps it to the batches of one."""

    def __init__(
        self,
        db: Database,
        registry: Registry,
        *,
        retention: timedelta,
        lease: timedelta,
        give_up_after_s: float,
        owed_give_up_after_s: float,
        only_task: UUID | None = None,
    ) -> None:
        self._db = db
        self._registry = registry
        self._retention = retention
        self._lease = lease
        self._give_up_after_s = give_up_after_s
        self._owed_give_up_after_s = owed_give_up_after_s
        self._only_task = only_task
        self._since: dict[tuple[str, str], float] = {}

    async def run(self) -> None:
        while True:
            await asyncio.sleep(min(_LOOK_S, self._give_up_after_s))
            try:
                await self.turn()
            except TROUBLE as error:
                log.warning("cannot look for work that nobody serves: %s", error)

    async def turn(self) -> None:
        """Warn of what has begun to have nobody; fail what has had nobody for too long."""
        await route_to_open_orders(self._db)
        served = {(found.model, found.route) for found in await list_route_health(self._db)}
        served |= set(self._registry.waited_for)
        now, alone = time.monotonic(), set[tuple[str, str]]()
        for row in await measure_queue(self._db, self._only_task):
            model, waited_for = row.model, row.route
            route = self._registry.route(model, waited_for)
            name = self._registry.route_name(model, waited_for)
            if not row.waiting or (model, name) in served:
                continue
            alone.add((model, name))
            if (model, name) not in self._since:
                self._since[model, name] = now
                what = (f"needs {route.needed}" if route.needs else "has no worker") if route else "is not configured"
                log.warning("batches of %s wait for route %s, which no living worker serves: it %s",
                            model, name or "(the first)", what)  # fmt: skip
            if self._registry.model(model) and not route:
                await restart_at_first_route(self._db, model, name)
        for key in self._since.keys() - alone:
            del self._since[key]
        for (model, name), since in self._since.items():
            if now - since >= self._give_up_after_s:
                await self._fail(model, name, now - since)

    async def _fail(self, model: str, name: str, alone_s: float) -> None:
        first = self._registry.route(model, "")
        names = ["", name] if first and first.name == name else [name]
        waited, owed = timedelta(seconds=self._give_up_after_s), alone_s >= self._owed_give_up_after_s
        why = f"given up after {alone_s / 60:.0f} minutes: no worker serves the route that it waits for"
        while found := await claim_unserved_batches(
            self._db, model, names, lease=self._lease, waited=waited, open_orders=owed, task_id=self._only_task
        ):
            for batch_id, claim, task_id in found:
                if await fail_batch(self._db, batch_id, claim, why, self._retention):
                    log.info("task %s failed: %s", task_id, why)
                    await notify(self._db, ENDED_CHANNEL, str(task_id))
