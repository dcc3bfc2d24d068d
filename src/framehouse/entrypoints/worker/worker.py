"""The worker: starts the loops of this folder, runs a task per held batch, and stops them in order."""

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
from framehouse.adapters.postgres import batch_queue
from framehouse.adapters.postgres.pool import TROUBLE, Database
from framehouse.adapters.storage import Storage
from framehouse.adapters.telemetry import logs, metrics, spans
from framehouse.domain.batch_retry import RetryLimits
from framehouse.engines.registry import Registry
from framehouse.entrypoints.worker.check_routes import keep_checking
from framehouse.entrypoints.worker.claim import ClaimSignal, claim_batches, run_claim_loop
from framehouse.entrypoints.worker.held_batches import HeldBatch, HeldBatches
from framehouse.entrypoints.worker.leases import renew_leases_until_stopped
from framehouse.entrypoints.worker.listen import listen
from framehouse.entrypoints.worker.process_batch import process_batch
from framehouse.entrypoints.worker.record_outcome import record_outcome
from framehouse.entrypoints.worker.unserved_routes import UnservedRoutes
from framehouse.pipeline.generate import Rules

log = logging.getLogger(__name__)
_CHECKER_LIMIT = 4
_HAND_BACK_S = 5.0
_ISOLATION_S = 60.0
"""How long an isolated batch waits for the others to end. Only batches made by an upstream take longer."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a worker takes, and how long it tries."""

    concurrency: int = 2
    lease_s: float = 30.0
    stop_s: float = 30.0
    attempts: int = 5
    give_up_after_s: float = 3600.0

    @property
    def retry(self) -> RetryLimits:
        return RetryLimits(self.attempts, self.give_up_after_s)


class Worker:
    """One worker process's share of the work. Call `run`; `stop` ends it. `held` are the batches that it has now.
    `only_task` limits it to the batches of one task."""

    def __init__(
        self,
        db: Database,
        storage: Storage,
        registry: Registry,
        rules: Rules,
        limits: Limits,
        *,
        only_task: UUID | None = None,
    ) -> None:
        self.held = HeldBatches(limits.concurrency)
        self.checker = ImageChecker(at_once=min(_CHECKER_LIMIT, limits.concurrency))
        self._db = db
        self._storage = storage
        self._registry = registry
        self._rules = rules
        self._limits = limits
        self._only_task = only_task
        self._number = secrets.randbelow(2**31 - 1) + 1
        self._slots = asyncio.Semaphore(limits.concurrency)
        self._signal = ClaimSignal()
        metrics.begin_worker((m.name, [route.name for route in registry.routes(m.name)]) for m in registry.models)

    def stop(self) -> None:
        """Claim no more; `run` ends when the held batches are finished or handed back."""
        self._signal.stop()

    async def run(self) -> None:
        """Work until stopped, through lost connections and restarts of Postgres. Raises the error of a loop that
        broke, because leases may not be renewed then."""
        loops = [asyncio.create_task(loop) for loop in self._loops()]
        for loop in loops:
            loop.add_done_callback(lambda _: self.stop())
        try:
            await run_claim_loop(self._claim, lambda: self.held.free_slots, self._signal)
            for loop in loops:
                if loop.done():
                    loop.result()
        finally:
            await self._finish_or_hand_back()
            for loop in loops:
                loop.cancel()
            await asyncio.gather(*loops, return_exceptions=True)
            await self.checker.close()

    def _loops(self) -> list[Coroutine[Any, Any, NoReturn]]:
        loops = [
            renew_leases_until_stopped(self._db, self.held, lease_s=self._limits.lease_s),
            listen(self._db, self.held, self._signal, worker=self._number),
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
            loops.append(keep_checking(self._db, self._registry, worker=self._number))
        return loops

    async def _claim(self) -> int:
        claimed = await claim_batches(
            self._db,
            self.held,
            self._signal,
            worker=self._number,
            routes=self._registry.waited_for,
            lease=timedelta(seconds=self._limits.lease_s),
            limits=self._limits.retry,
            only_task=self._only_task,
        )
        for held in claimed:
            held.task = asyncio.create_task(self._work(held))
        return len(claimed)

    async def _work(self, held: HeldBatch) -> None:
        """Process a held batch and record its outcome; when cancelled, hand it back."""
        batch = held.batch
        logs.about.set({"task_id": batch.task_id, "batch_id": batch.id})
        try:
            with spans.span("batch", task=batch.task_id, batch_id=batch.id, model=batch.model, attempt=batch.attempt):
                if held.isolated and (others := self.held.tasks_besides(held)):
                    await asyncio.wait(others, timeout=_ISOLATION_S)
                outcome = await process_batch(
                    held,
                    self._registry.routes(batch.model),
                    db=self._db,
                    storage=self._storage,
                    checker=self.checker,
                    rules=self._rules,
                    limits=self._limits.retry,
                    slots=self._slots,
                )
                await record_outcome(
                    self._db, held, outcome, limits=self._limits.retry, retention=self._rules.retention
                )
        except asyncio.CancelledError:
            await self._hand_back(held)
        except TROUBLE as error:
            log.warning("batch %s of task %s is given up, its lease will run out: %s", batch.id, batch.task_id, error)
        finally:
            self.held.remove(held)
            self._signal.slot_freed()

    async def _hand_back(self, held: HeldBatch) -> None:
        """Release a batch, due immediately. Does nothing if it was cancelled or lost."""
        with suppress(TimeoutError, *TROUBLE):
            async with asyncio.timeout(_HAND_BACK_S):
                await batch_queue.release_batch(
                    self._db, held.batch.id, held.batch.claim, after=timedelta(0), count_attempt=False
                )

    async def _finish_or_hand_back(self) -> None:
        """Wait for the held batches up to the limit, then cancel the rest."""
        if tasks := self.held.tasks_besides():
            _, late = await asyncio.wait(tasks, timeout=self._limits.stop_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
