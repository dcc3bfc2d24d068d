"""Listen for notifications of the database.

New batches wake the claim loop. If a task ends, the work on its batches stops. An upstream callback ends the pause of
the engine that waits for the upstream.
"""

from typing import NoReturn

from framehouse.adapters.postgres.advisory_locks import WORKER_LOCKS
from framehouse.adapters.postgres.channels import BATCHES_CHANNEL, ENDED_CHANNEL, WAKE_CHANNEL
from framehouse.adapters.postgres.pool import Database
from framehouse.entrypoints.worker.claim import ClaimSignal
from framehouse.entrypoints.worker.held_batches import HeldBatches


async def listen(db: Database, held: HeldBatches, signal: ClaimSignal, *, worker: int) -> NoReturn:
    """Listen until cancelled. The connection also holds the lock that shows that this worker is alive."""
    channels = {
        BATCHES_CHANNEL: lambda _: signal.notify(),
        ENDED_CHANNEL: held.cancel_task,
        WAKE_CHANNEL: held.wake,
    }
    await db.listen(channels, lock=(WORKER_LOCKS, worker))
