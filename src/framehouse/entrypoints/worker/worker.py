"""The worker runs the loops of this package and one asyncio task per held batch, and stops them in a safe order."""

import asyncio
import logging
import secrets
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NoReturn
from uuid import UUID

from framehouse.adapters.images.checker import ImageChecker
from framehouse.adapters.images.image_upscaler import ImageUpscaler
from framehouse.adapters.postgres import batch_queue
from framehouse.adapters.postgres.pool import DATABASE_ERRORS, Database
from framehouse.adapters.storage import Storage
from framehouse.adapters.telemetry import logs, metrics, spans
from framehouse.domain.batch_retry import RetryLimits
from framehouse.engines.registry import Registry
from framehouse.entrypoints.worker.check_routes import check_routes_until_cancelled
from framehouse.entrypoints.worker.claim import ClaimSignal, claim_batches, run_claim_loop
from framehouse.entrypoints.worker.held_batches import HeldBatch, HeldBatches
from framehouse.entrypoints.worker.leases import renew_leases_until_stopped
from framehouse.entrypoints.worker.listen import listen
from framehouse.entrypoints.worker.process_batch import process_batch
from framehouse.entrypoints.worker.record_outcome import record_outcome
from framehouse.entrypoints.worker.route_gate import RouteGate
from framehouse.entrypoints.worker.unserved_routes import UnservedRoutes
from framehouse.pipeline.generate import Rules

log = logging.getLogger(__name__)
_CHECKER_LIMIT = 4
_RELEASE_S = 5.0
_ISOLATION_S = 60.0
"""The maximum time, in seconds, that an isolated batch waits for the worker's other batches to end. Other batches
normally end within this time, unless an upstream generates them."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of a worker.

    `concurrency` is the number of batches that the worker processes at the same time. The other limits are the settings
    with the same names.
    """

    concurrency: int = 2
    lease_s: float = 30.0
    stop_s: float = 30.0
    attempts: int = 5
    give_up_after_s: float = 3600.0

    @property
    def retry(self) -> RetryLimits:
        return RetryLimits(self.attempts, self.give_up_after_s)


class Worker:
    """A worker that claims batches and generates their images.

    `held` contains the batches that the worker currently holds. If `only_task` is set, the worker claims only the
    batches of this task. The worker closes its `upscaler`, which enlarges images that are smaller than requested.
    """

    def __init__(
        self,
        db: Database,
        storage: Storage,
        registry: Registry,
        rules: Rules,
        limits: Limits,
        *,
        upscaler: ImageUpscaler | None = None,
        only_task: UUID | None = None,
    ) -> None:
        self.held = HeldBatches(limits.concurrency)
        self.checker = ImageChecker(processes=min(_CHECKER_LIMIT, limits.concurrency))
        self._db = db
        self._storage = storage
        self._registry = registry
        self._rules = rules
        self._limits = limits
        self._upscaler = upscaler
        self._only_task = only_task
        self._number = secrets.randbelow(2**31 - 1) + 1
        self._slots = asyncio.Semaphore(limits.concurrency)
        self._signal = ClaimSignal()
        self._gate = RouteGate(db, registry)
        metrics.create_worker_series(
            (m.name, [route.name for route in registry.routes(m.name)]) for m in registry.models
        )

    def stop(self) -> None:
        """Stop claiming batches. `run` returns after the held batches are finished or released."""
        self._signal.stop()

    async def run(self) -> None:
        """Claim and generate batches until `stop` is called.

        Lost connections and restarts of PostgreSQL do not stop the worker. If one of the loops raises an error, the
        worker stops and raises the error. It must stop, because the failed loop may be the loop that renews the leases.
        """
        loops = [asyncio.create_task(loop) for loop in self._loops()]
        for loop in loops:
            loop.add_done_callback(lambda _: self.stop())
        try:
            await run_claim_loop(self._claim, lambda: self.held.free_slots, self._signal)
            for loop in loops:
                if loop.done():
                    loop.result()
        finally:
            await self._finish_or_release()
            for loop in loops:
                loop.cancel()
            await asyncio.gather(*loops, return_exceptions=True)
            await self.checker.close()
            if self._upscaler:
                await self._upscaler.close()

    def _loops(self) -> list[Coroutine[Any, Any, NoReturn]]:
        loops = [
            renew_leases_until_stopped(self._db, self.held, lease_s=self._limits.lease_s),
            listen(self._db, self.held, self._signal, self._gate, worker=self._number),
            UnservedRoutes(
                self._db,
                self._registry,
                retention=self._rules.retention,
                lease_s=self._limits.lease_s,
                limits=self._limits.retry,
                only_task=self._only_task,
            ).run(),
        ]
        if not self._only_task:
            loops.append(check_routes_until_cancelled(self._db, self._registry, worker=self._number))
        return loops

    async def _claim(self) -> int:
        claimed = await claim_batches(
            self._db,
            self.held,
            self._signal,
            worker=self._number,
            routes=await self._gate.claims(),
            lease=timedelta(seconds=self._limits.lease_s),
            limits=self._limits.retry,
            only_task=self._only_task,
        )
        for held in claimed:
            held.task = asyncio.create_task(self._work(held))
        return len(claimed)

    async def _work(self, held: HeldBatch) -> None:
        """Process a held batch and record its outcome. A cancellation releases the batch."""
        batch = held.batch
        logs.log_context.set({"task_id": batch.task_id, "batch_id": batch.id})
        try:
            with spans.span("batch", task=batch.task_id, batch_id=batch.id, model=batch.model, attempt=batch.attempt):
                if held.isolated and (others := self.held.other_tasks(held)):
                    await asyncio.wait(others, timeout=_ISOLATION_S)
                outcome = await process_batch(
                    held,
                    self._registry.routes(batch.model),
                    self._gate,
                    db=self._db,
                    storage=self._storage,
                    checker=self.checker,
                    rules=self._rules,
                    upscaler=self._upscaler,
                    limits=self._limits.retry,
                    slots=self._slots,
                )
                await record_outcome(
                    self._db, held, outcome, limits=self._limits.retry, retention=self._rules.retention
                )
        except asyncio.CancelledError:
            await self._release(held)
        except DATABASE_ERRORS as error:
            log.warning(
                "batch %s of task %s remains claimed until its lease expires: %s", batch.id, batch.task_id, error
            )
        finally:
            self.held.remove(held)
            self._signal.slot_freed()

    async def _release(self, held: HeldBatch) -> None:
        """Return a batch to the queue, and make the batch due immediately.

        Does nothing if the task has ended or another worker has claimed the batch.
        """
        with suppress(TimeoutError, *DATABASE_ERRORS):
            async with asyncio.timeout(_RELEASE_S):
                await batch_queue.release_batch(
                    self._db, held.batch.id, held.batch.claim, after=timedelta(0), count_attempt=False
                )

    async def _finish_or_release(self) -> None:
        """Wait up to `stop_s` seconds for the held batches to end. Then cancel the work on the unfinished batches.

        The cancellation releases these batches. After half of the time, the upscaler is closed: the generated images
        that still wait for it are finished without it. Otherwise, they would be lost.
        """
        half_s = self._limits.stop_s / 2
        if tasks := self.held.other_tasks():
            _, unfinished = await asyncio.wait(tasks, timeout=half_s)
            if self._upscaler:
                await self._upscaler.close()
            if unfinished:
                _, unfinished = await asyncio.wait(unfinished, timeout=half_s)
            for task in unfinished:
                task.cancel()
            await asyncio.gather(*unfinished, return_exceptions=True)
