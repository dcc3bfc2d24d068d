"""The clock: work of dead workers, expired pictures, references that nobody needs, old keys. Any number may run."""

import asyncio
import logging
import random
from datetime import timedelta

from framehouse.adapters.postgres.callbacks import forget_callbacks
from framehouse.adapters.postgres.claims import release_dead_workers
from framehouse.adapters.postgres.pool import TROUBLE, Database
from framehouse.adapters.postgres.tasks import forget_idempotency_keys
from framehouse.adapters.storage import Storage, StorageAway
from framehouse.pipeline.expire import expire_pictures, remove_references

log = logging.getLogger(__name__)
_TURN_S = 1.0
_CALLBACKS_KEPT = timedelta(days=30)
_HOUSEKEEPING_TURNS = 60
_TIDYING_TURNS = 24 * 3600
_UNFINISHED_S = 3600.0
"""No file takes so long to write."""
DEAD_AFTER_S = 4.0
"""How long a worker whose connection is gone may be silent before its work is given to others."""


async def run_sweeper(db: Database, storage: Storage, *, lease_s: float) -> None:
    """Sweep until cancelled."""
    turns = 0
    while True:
        try:
            if turns % _TIDYING_TURNS == 0:
                await storage.remove_unfinished(older_s=_UNFINISHED_S)
            await sweep(db, storage, lease_s=lease_s, housekeeping=turns % _HOUSEKEEPING_TURNS == 0)
        except (*TROUBLE, StorageAway) as error:
            log.warning("sweeping again later: %s", error)
        turns += 1
        await asyncio.sleep(_TURN_S * random.uniform(0.8, 1.2))


async def sweep(db: Database, storage: Storage, *, lease_s: float, housekeeping: bool) -> None:
    """One turn."""
    freed = await release_dead_workers(db, timedelta(seconds=min(DEAD_AFTER_S, lease_s)), timedelta(seconds=lease_s))
    if freed:
        log.warning("%d batches of dead workers are free again", freed)
    if housekeeping:
        await forget_idempotency_keys(db)
        await forget_callbacks(db, _CALLBACKS_KEPT)
        while await expire_pictures(db, storage):
            pass
        while await remove_references(db, storage):
            pass
