"""Renew each lease at least six times per lease duration. Stop the work on batches whose lease was lost."""

import asyncio
import logging
import time
from datetime import timedelta
from typing import NoReturn

from framehouse.adapters.postgres import batch_queue
from framehouse.adapters.postgres.pool import DATABASE_ERRORS, Database
from framehouse.entrypoints.worker.held_batches import HeldBatches, cancel_lost, claims_of

log = logging.getLogger(__name__)
_RENEW_S = 1.0


async def renew_leases_until_stopped(db: Database, held: HeldBatches, *, lease_s: float) -> NoReturn:
    """Renew leases until cancelled.

    If the database does not renew the lease of a batch, then its task has ended or the batch was requeued. In both
    cases, the work on the batch is stopped.
    """
    renewed_at = time.monotonic()
    while True:
        await asyncio.sleep(min(_RENEW_S, lease_s / 6))
        if not len(held):
            renewed_at = time.monotonic()
            continue
        try:
            await renew_leases(db, held, lease_s=lease_s)
        except DATABASE_ERRORS as error:
            log.warning("cannot renew leases: %s", error)
            continue
        if (late_s := time.monotonic() - renewed_at) > lease_s / 2:
            log.warning("the leases were not renewed for %.1f s; this machine or the database is slow", late_s)
        renewed_at = time.monotonic()


async def renew_leases(db: Database, held: HeldBatches, *, lease_s: float) -> None:
    """Renew all leases once, and stop the work on batches whose lease was lost."""
    leases = held.leases()
    renewed = await batch_queue.renew_leases(db, claims_of(leases), timedelta(seconds=lease_s))
    cancel_lost(leases, renewed)
