"""Listen for notifications from the database.

A notification about new batches wakes the claim loop. A notification about the end of a task stops the work on its
batches. A notification about an upstream callback ends the pause of the engine that is waiting for the upstream. After
a notification about the routes, the worker reads their states before its next claim.
"""

from typing import NoReturn

from framehouse.adapters.postgres.advisory_locks import WORKER_LOCKS
from framehouse.adapters.postgres.channels import BATCHES_CHANNEL, ENDED_CHANNEL, ROUTES_CHANNEL, WAKE_CHANNEL
from framehouse.adapters.postgres.pool import Database
from framehouse.entrypoints.worker.claim import ClaimSignal
from framehouse.entrypoints.worker.held_batches import HeldBatches
from framehouse.entrypoints.worker.route_gate import RouteGate


async def listen(db: Database, held: HeldBatches, signal: ClaimSignal, gate: RouteGate, *, worker: int) -> NoReturn:
    """Listen until cancelled.

    The listening connection also holds an advisory lock. While the connection holds the lock, other processes consider
    this worker alive.
    """

    def routes_changed(_: str) -> None:
        gate.expire()
        signal.notify()

    channels = {
        BATCHES_CHANNEL: lambda _: signal.notify(),
        ENDED_CHANNEL: held.cancel_task,
        ROUTES_CHANNEL: routes_changed,
        WAKE_CHANNEL: held.wake,
    }
    await db.listen(channels, lock=(WORKER_LOCKS, worker))
