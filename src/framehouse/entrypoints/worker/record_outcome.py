"""Record the outcome of a held batch.

The write is retried until it succeeds, because the batch would be generated again if its outcome were not recorded.
"""

import logging
import random
from datetime import timedelta

from framehouse.adapters.postgres import batch_queue
from framehouse.adapters.postgres.channels import BATCHES_CHANNEL, ENDED_CHANNEL, notify
from framehouse.adapters.postgres.pool import Database
from framehouse.adapters.telemetry import metrics
from framehouse.domain.batch_retry import Release, RetryLimits, next_step
from framehouse.domain.outcome import Done, Fail, Outcome
from framehouse.entrypoints.worker.held_batches import HeldBatch
from framehouse.pipeline.save_shot import retry_until_saved

log = logging.getLogger(__name__)
_NO_REASON = "no reason was given"


async def record_outcome(
    db: Database, held: HeldBatch, outcome: Outcome, *, limits: RetryLimits, retention: timedelta
) -> None:
    """Record the outcome: release the batch for a later attempt, fail its task, or do nothing if the batch is done."""
    step = next_step(
        outcome,
        attempt=held.batch.attempt,
        failing_s=held.failing_s,
        limits=limits,
        jitter=random.uniform(0.8, 1.2),
    )
    match step:
        case Done():
            pass
        case Release():
            await _release(db, held, step)
        case Fail():
            await _fail(db, held, step, retention)


async def _release(db: Database, held: HeldBatch, release: Release) -> None:
    batch = held.batch
    if not release.failed:
        log.debug("batch %s of task %s is postponed for %.1f s", batch.id, batch.task_id, release.after_s)
        operation, error = f"postponing batch {batch.id}", ""
    elif release.route:
        log.debug("batch %s of task %s waits for route %s: %s", batch.id, batch.task_id, release.route, release.reason)
        operation, error = f"handing over batch {batch.id}", release.reason
    else:
        metrics.FAILURES.labels(batch.model, "retry").inc()
        log.warning("batch %s of task %s will be retried in %.1f s", batch.id, batch.task_id, release.after_s)
        # The reason may quote the prompt, so it is logged only at level debug. The batch's row always contains the
        # reason.
        log.debug("batch %s: %s", batch.id, release.reason)
        operation, error = f"releasing batch {batch.id}", release.reason or _NO_REASON

    async def save() -> None:
        await batch_queue.release_batch(
            db, batch.id, batch.claim, after=timedelta(seconds=release.after_s), error=error,
            count_attempt=release.counts_attempt, route=release.route,
            progress=0.0 if release.failed else held.progress,
        )  # fmt: skip

    await retry_until_saved(save, operation)
    if release.route and not release.after_s:
        await notify(db, BATCHES_CHANNEL, "")


async def _fail(db: Database, held: HeldBatch, fail: Fail, retention: timedelta) -> None:
    batch, reason = held.batch, fail.reason

    async def save() -> bool:
        return await batch_queue.fail_batch(db, batch.id, batch.claim, reason, retention, declined=fail.declined)

    if await retry_until_saved(save, f"ending task {batch.task_id}"):
        metrics.FAILURES.labels(batch.model, "failed").inc()
        log.info("task %s failed", batch.task_id)
        log.debug("task %s failed: %s", batch.task_id, reason)
        await notify(db, ENDED_CHANNEL, str(batch.task_id))
