"""Load the references of a held batch and generate the batch.

Each error except a database error becomes the outcome of the batch. No error affects other batches.
"""

import asyncio
import logging
from collections.abc import Sequence
from functools import partial

from framehouse.adapters.images.checker import ImageChecker
from framehouse.adapters.images.image_upscaler import ImageUpscaler
from framehouse.adapters.postgres.batch_queue import Claimed
from framehouse.adapters.postgres.pool import DATABASE_ERRORS, Database
from framehouse.adapters.storage import Storage, StorageUnavailable
from framehouse.adapters.telemetry import metrics, spans
from framehouse.adapters.telemetry.safe_traceback import safe_traceback
from framehouse.domain.batch_retry import RetryLimits, attempts_used_up
from framehouse.domain.outcome import Fail, Outcome, Retry
from framehouse.engines.interface import Batch
from framehouse.engines.registry import Route
from framehouse.entrypoints.worker.held_batches import HeldBatch
from framehouse.entrypoints.worker.route_gate import RouteGate
from framehouse.pipeline.generate import FinishFailed, Rules, generate_batch
from framehouse.pipeline.load import load_batch
from framehouse.pipeline.open_order import route_with_open_order

log = logging.getLogger(__name__)


async def process_batch(
    held: HeldBatch,
    routes: Sequence[Route],
    gate: RouteGate,
    *,
    db: Database,
    storage: Storage,
    checker: ImageChecker,
    rules: Rules,
    upscaler: ImageUpscaler | None,
    limits: RetryLimits,
    slots: asyncio.Semaphore,
) -> Outcome:
    """Load the references of a held batch, then wait for one of the `slots` and generate the batch.

    Raises only `DATABASE_ERRORS`. After a database error, there is no outcome to record.
    """
    batch = held.batch
    if attempts_used_up(batch.attempt, limits, open_order=route_with_open_order(batch) is not None):
        return Fail(f"given up after {batch.attempt - 1} attempts: {batch.last_error or 'no reason known'}")
    try:
        with spans.span("load", images=len(batch.references) + len(batch.elements)):
            loaded = await load_batch(
                batch, db=db, storage=storage, checker=checker, allow_private=rules.allow_private_addresses
            )
        if not isinstance(loaded, Batch):
            return loaded
        held.loaded = True
        async with slots:
            return await generate_batch(
                batch,
                loaded,
                routes,
                db=db,
                storage=storage,
                rules=rules,
                upscaler=upscaler,
                controls=gate.controls(batch.model),
                take_request=partial(gate.take_request, batch.model),
                on_progress=held.report_progress,
                wake=held.wake,
            )
    except StorageUnavailable as error:
        log.warning("batch %s of task %s: %s", batch.id, batch.task_id, error)
        return Retry("the storage is not available")
    except FinishFailed as error:
        _log_internal_error(batch, error)
        return Fail(str(error))
    except DATABASE_ERRORS:
        raise
    except Exception as error:  # noqa: BLE001 - no error in a batch may stop the worker
        _log_internal_error(batch, error)
        return Retry(f"internal error ({type(error).__name__})", counts_attempt=True)


def _log_internal_error(batch: Claimed, error: Exception) -> None:
    metrics.INTERNAL_ERRORS.inc()
    log.error("internal error in batch %s of task %s: %s", batch.id, batch.task_id, safe_traceback(error))
