"""Listen to the database: new work wakes the claim loop, ended tasks are stopped, upstream callbacks end a pause."""

from typing import NoReturn

from framehouse.adapters.postgres import batch_queue
from framehouse.adapters.postgres.pool import Database
from framehouse.entrypoints.worker.claim import ClaimSignal
from framehouse.entrypoints.worker.held import HeldBatches

WORKER_LOCKS = 1718774120
"""The class of the advisory locks that show that a worker is alive; sql/list_quiet_batches.sql has it too."""


async def listen(db: Database, held: HeldBatches, signal: ClaimSignal, *, worker: int) -> NoReturn:
    """Listen until cancelled. The connection also holds the lock that shows that this worker is alive."""
    channels = {
        batch_queue.BATCHES_CHANNEL: lambda _: signal.notify(),
        batch_queue.ENDED_CHANNEL: held.cancel_task,
        batch_queue.HASTEN_CHANNEL: held.wake,
    }
    await db.listen(channels, lock=(WORKER_LOCKS, worker))
