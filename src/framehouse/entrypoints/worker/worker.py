"""Claims batches, keeps their leases, runs the step, writes down what became of it."""

import asyncio
import logging
import random
import secrets
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from uuid import UUID

from framehouse.adapters.images.checker import PictureChecker
from framehouse.adapters.postgres import batch_queue
from framehouse.adapters.postgres.batch_queue import Claimed
from framehouse.adapters.postgres.pool import TROUBLE, Database
from framehouse.adapters.postgres.route_health import RouteCheck, report_checks
from framehouse.adapters.storage import Storage, StorageAway
from framehouse.adapters.telemetry import logs, metrics, spans
from framehouse.adapters.telemetry.safe_traceback import trace
from framehouse.engines.interface import Batch, Check
from framehouse.engines.registry import Registry
from framehouse.entrypoints.worker.unserved_routes import UnservedRoutes
from framehouse.pipeline.generate import Done, Fail, Fate, HandOn, Retry, Rules, Unfinished, load_batch, paint_batch
from framehouse.pipeline.order_note import open_route
from framehouse.pipeline.save_shot import insist

log = logging.getLogger(__name__)
WORKER_LOCKS = 1718774120
"""The class of the advisory locks by which others see that a worker lives; sql/list_quiet_batches.sql has it too."""
_POLL_S = 1.0
MISSES_BEFORE_REST, REST_S = 4, 0.1
"""Who was called so many times in a row for nothing, because others were quicker, looks ten times a second at most:
every task calls all workers, and looking costs PostgreSQL more than all else, where there are many (docs/scale.md)."""
_LONGEST_PAUSE_S = 60.0
_MOST_CHECKERS = 4
_SLOW_S = 0.5
_REPORT_S = 30.0
_OWED_GIVE_UP_S = 86_400.0
_OWED_ATTEMPTS = 10
"""So many times as often as others a batch is taken up again that has something under way elsewhere."""
_LATER_S = 3.0
_HAND_BACK_S = 5.0
_NO_REASON = "no reason was given"
_MOST_ALONE_S = 60.0
"""How long a batch that its workers died of waits for others: longer takes only what is made elsewhere."""
_MOST_LOADING = 16
"""Whose pictures are on their way; with so many, only batches that have theirs are taken on."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a worker takes on and how long it insists. Of what is under way elsewhere, and may have been paid for,
    it does so for much longer."""

    concurrency: int = 2
    lease_s: float = 30.0
    stop_s: float = 30.0
    attempts: int = 5
    give_up_after_s: float = 3600.0


@dataclass(slots=True)
class _Held:
    batch: Claimed
    suspect: bool = False
    progress: float = 0.0
    since: float = field(default_factory=time.monotonic)
    loaded: bool = False
    hurry: asyncio.Event = field(default_factory=asyncio.Event)
    task: "asyncio.Task[None] | None" = field(default=None)


class Worker:
    """One worker process's share of the work. `run` until `stop`; `turn` is one look at the queue."""

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
        self._db = db
        self._storage = storage
        self._registry = registry
        self._rules = rules
        self._limits = limits
        self._only_task = only_task
        self._painting = asyncio.Semaphore(limits.concurrency)
        self._checker = PictureChecker(at_once=min(_MOST_CHECKERS, limits.concurrency))
        self._lease = timedelta(seconds=limits.lease_s)
        self._number = secrets.randbelow(2**31 - 1) + 1
        self._held: dict[int, _Held] = {}
        self._wake = asyncio.Event()
        self._called = False
        self._stopping = asyncio.Event()
        self._left_some = True
        self._fit: dict[tuple[str, str, str], bool] = {}
        metrics.begin_worker((m.name, [route.name for route in registry.routes(m.name)]) for m in registry.models)
        self._unserved = UnservedRoutes(
            db,
            registry,
            retention=rules.retention,
            lease=self._lease,
            give_up_after_s=limits.give_up_after_s,
            owed_give_up_after_s=max(limits.give_up_after_s, _OWED_GIVE_UP_S),
            only_task=only_task,
        )

    def stop(self) -> None:
        """Claim no more; `run` ends when what is held is finished or handed back."""
        self._stopping.set()
        self._wake.set()

    async def run(self) -> None:
        """Work until stopped, through lost connections and restarts of Postgres. Raises when leases cannot be kept."""
        keepers = [asyncio.create_task(self._keep_leases()), asyncio.create_task(self._listen())]
        keepers.append(asyncio.create_task(self._unserved.run()))
        if not self._only_task:
            keepers.append(asyncio.create_task(self._report()))
        for keeper in keepers:
            keeper.add_done_callback(lambda _: self.stop())
        misses = 0
        try:
            while not self._stopping.is_set():
                if misses > MISSES_BEFORE_REST:
                    await asyncio.sleep(REST_S * random.uniform(0.5, 1.5))
                self._wake.clear()
                called, self._called = self._called and self._room() > 0, False
                claimed = 0
                try:
                    claimed = await self.turn()
                except TROUBLE as error:
                    log.warning("cannot claim: %s", error)
                misses = 0 if claimed else misses + called
                if not (claimed and self._left_some) or self._room() <= 0:
                    try:
                        async with asyncio.timeout(_POLL_S * random.uniform(0.8, 1.2)):
                            await self._wake.wait()
                    except TimeoutError:
                        misses = 0
            for keeper in keepers:
                if keeper.done():
                    keeper.result()
        finally:
            await self._finish_or_hand_back()
            for keeper in keepers:
                keeper.cancel()
            await asyncio.gather(*keepers, return_exceptions=True)
            await self._checker.close()

    async def turn(self) -> int:
        """Claim as much as there is room for and start on it; how many batches that were."""
        room = self._room()
        self._left_some = True
        if room <= 0:
            return 0
        ready = sum(not held.loaded for held in self._held.values()) >= _MOST_LOADING
        batches = await batch_queue.claim_batches(
            self._db,
            worker=self._number,
            most=room,
            lease=self._lease,
            routes=self._registry.waited_for,
            task_id=self._only_task,
            ready=ready,
        )
        self._left_some = ready or len(batches) == room
        suspects = [batch for batch in batches if self._is_suspect(batch)]
        for batch in suspects[1:]:  # one at a time; before the first begins, which may be the end of us
            after = timedelta(seconds=_LATER_S)
            await batch_queue.release_batch(self._db, batch.id, batch.claim, after=after, count_attempt=False)
        for batch in batches:
            if batch not in suspects[1:]:
                metrics.CLAIMS.labels(batch.model).inc()
                held = self._held[batch.id] = _Held(batch, suspect=batch in suspects)
                held.task = asyncio.create_task(self._work(held))
        return len(batches)

    def _is_suspect(self, batch: Claimed) -> bool:
        """Whether it may be what its workers died of. What is under way elsewhere was painted by none of them."""
        return 1 < batch.attempt >= self._limits.attempts - 1 and not open_route(batch)

    def _room(self) -> int:
        """How many more to take on. Those whose pictures take long to come do not count, for they paint nothing yet:
        one slow server must not stop everybody's tasks."""
        if any(held.suspect for held in self._held.values()):
            return 0
        now = time.monotonic()
        busy = sum(held.loaded or now - held.since < _SLOW_S for held in self._held.values())
        return self._limits.concurrency - busy

    async def _work(self, held: _Held) -> None:
        batch = held.batch
        logs.about.set({"task_id": batch.task_id, "batch_id": batch.id})
        try:
            with spans.span("batch", task=batch.task_id, batch_id=batch.id, model=batch.model, attempt=batch.attempt):
                if held.suspect:
                    await self._be_alone(held)
                await self._write_down(held, await self._paint(held))
        except asyncio.CancelledError:
            # no harm where the batch is cancelled or lost: then it is not ours to release
            with suppress(TimeoutError, *TROUBLE):
                async with asyncio.timeout(_HAND_BACK_S):
                    await batch_queue.release_batch(
                        self._db, batch.id, batch.claim, after=timedelta(0), count_attempt=False
                    )
        except TROUBLE as error:
            log.warning("batch %s of task %s is given up, its lease will run out: %s", batch.id, batch.task_id, error)
        finally:
            if (
                self._held.get(batch.id) is held
            ):  # a release whose answer was lost is repeated, and we may have it again
                del self._held[batch.id]
            if self._left_some:  # else all that was due is taken, and what is new wakes us
                self._wake.set()

    async def _be_alone(self, held: _Held) -> None:
        """Wait until nothing else is in hand, so that a batch that kills its worker takes no other along."""
        if others := [other.task for other in self._held.values() if other is not held and other.task]:
            await asyncio.wait(others, timeout=_MOST_ALONE_S)

    async def _paint(self, held: _Held) -> Fate:
        batch = held.batch
        if batch.attempt > self._limits.attempts * (_OWED_ATTEMPTS if open_route(batch) else 1):
            return Fail(f"given up after {batch.attempt - 1} attempts: {batch.last_error or 'no reason known'}")

        def on_progress(share: float) -> None:
            held.progress = max(held.progress, share)

        try:
            with spans.span("load", pictures=len(batch.references) + len(batch.elements)):
                loaded = await load_batch(
                    batch, db=self._db, storage=self._storage, checker=self._checker, rules=self._rules
                )
            if not isinstance(loaded, Batch):
                return loaded
            held.loaded = True
            async with self._painting:
                return await paint_batch(
                    batch,
                    loaded,
                    self._registry.routes(batch.model),
                    db=self._db,
                    storage=self._storage,
                    rules=self._rules,
                    on_progress=on_progress,
                    hurry=held.hurry,
                )
        except StorageAway as error:
            log.warning("batch %s of task %s: %s", batch.id, batch.task_id, error)
            return Retry("the storage is not available")
        except Unfinished as error:
            metrics.INTERNAL_ERRORS.inc()
            log.error("batch %s of task %s broke: %s", batch.id, batch.task_id, trace(error))  # noqa: TRY400
            return Fail(str(error))
        except TROUBLE:
            raise
        except Exception as error:  # noqa: BLE001 - the worker's edge: one bad batch must not end the others
            metrics.INTERNAL_ERRORS.inc()
            log.error("batch %s of task %s broke: %s", batch.id, batch.task_id, trace(error))  # noqa: TRY400
            return Retry(f"internal error ({type(error).__name__})", blamed=True)

    async def _write_down(self, held: _Held, fate: Fate) -> None:
        """Insisted on: forgotten, it would be painted once more."""
        batch = held.batch
        release = partial(batch_queue.release_batch, self._db, batch.id, batch.claim)
        failing_s = batch.failing_s and batch.failing_s + time.monotonic() - held.since
        give_up_after_s = self._limits.give_up_after_s
        if isinstance(fate, Retry) and fate.owed:
            give_up_after_s = max(give_up_after_s, _OWED_GIVE_UP_S)
        if isinstance(fate, Retry | HandOn) and fate.why and failing_s > give_up_after_s:
            fate = Fail(f"given up after {failing_s / 60:.0f} minutes: {fate.why}")
        pause_s = min(_LONGEST_PAUSE_S, max(1.0, failing_s / 4)) * random.uniform(0.8, 1.2)
        match fate:
            case Done():
                pass
            case Retry(why, blamed):
                metrics.FAILURES.labels(batch.model, "retry").inc()
                if blamed:
                    pause_s = min(_LONGEST_PAUSE_S, 2.0**batch.attempt) * random.uniform(0.8, 1.2)
                log.warning("batch %s of task %s again in %.1f s", batch.id, batch.task_id, pause_s)
                log.debug("batch %s: %s", batch.id, why)  # engines quote prompts; the row keeps the reason
                after = timedelta(seconds=pause_s)
                step = partial(release, after=after, error=why or _NO_REASON, count_attempt=blamed, route="")
                await insist(step, f"giving back batch {batch.id}")
            case HandOn(route, why):
                log.debug("batch %s of task %s waits for route %s: %s", batch.id, batch.task_id, route, why)
                # not at once where it was round before: workers whose routes differ would hand it to each other
                after = timedelta(seconds=pause_s if why and batch.failing_s else 0)
                step = partial(release, after=after, error=why, count_attempt=False, route=route)
                await insist(step, f"handing on batch {batch.id}")
                await batch_queue.notify(self._db, batch_queue.BATCHES_CHANNEL, "")
            case Fail(why):
                await self._fail(batch, why)

    async def _fail(self, batch: Claimed, why: str) -> None:
        step = partial(batch_queue.fail_batch, self._db, batch.id, batch.claim, why, self._rules.retention)
        if await insist(step, f"ending task {batch.task_id}"):
            metrics.FAILURES.labels(batch.model, "failed").inc()
            log.info("task %s failed", batch.task_id)
            log.debug("task %s failed: %s", batch.task_id, why)
            await batch_queue.notify(self._db, batch_queue.ENDED_CHANNEL, str(batch.task_id))

    async def _keep_leases(self) -> None:
        """Renew, several times per lease; what is no longer ours was cancelled or lost, and is stopped."""
        renewed_at = time.monotonic()
        while True:
            await asyncio.sleep(min(1.0, self._limits.lease_s / 6))
            held = dict(self._held)
            if not held:
                renewed_at = time.monotonic()
                continue
            marks = {number: (h.batch.claim, h.progress) for number, h in held.items()}
            try:
                ours = await batch_queue.renew_leases(self._db, marks, self._lease)
            except TROUBLE as error:
                log.warning("cannot renew leases: %s", error)
                continue
            if (late_s := time.monotonic() - renewed_at) > self._limits.lease_s / 2:
                log.warning("leases were renewed after %.1f s; this machine or the database is slow", late_s)
            renewed_at = time.monotonic()
            self._drop([h for number, h in held.items() if number not in ours])

    def _drop(self, lost: Sequence[_Held]) -> None:
        for held in lost:
            if held.task:
                held.task.cancel()

    async def _listen(self) -> None:
        """Be woken by new work, hear of cancelled tasks at once, and show that we live."""
        channels = {
            batch_queue.BATCHES_CHANNEL: lambda _: self._call(),
            batch_queue.ENDED_CHANNEL: self._on_ended,
            batch_queue.HASTEN_CHANNEL: self._on_hasten,
        }
        await self._db.listen(channels, lock=(WORKER_LOCKS, self._number))

    def _call(self) -> None:
        self._called = True
        self._wake.set()

    def _on_ended(self, task_id: str) -> None:
        self._drop([h for h in self._held.values() if str(h.batch.task_id) == task_id])

    def _on_hasten(self, batch_id: str) -> None:
        if batch_id.isdecimal() and (held := self._held.get(int(batch_id))):
            held.hurry.set()

    async def _report(self) -> None:
        """Look at what the engines depend on and write it down, for `/readyz`, metrics and `doctor`."""
        while True:
            nothing = [Check("", fit=True, told="depends on nothing")]
            rows = [
                RouteCheck(model, route.name, check.what, check.fit, check.told)
                for model, route, checks in await self._registry.check()
                for check in checks or nothing
            ]
            self._tell(rows)
            try:
                await report_checks(self._db, self._number, rows)
            except TROUBLE as error:
                log.warning("cannot report how the routes are: %s", error)
            await asyncio.sleep(_REPORT_S)

    def _tell(self, checks: Sequence[RouteCheck]) -> None:
        """Log what has become unfit, or fit again."""
        for check in checks:
            before = self._fit.get(check[:3], True)
            self._fit[check[:3]] = check.fit
            if before and not check.fit:
                log.warning("%s by %s: %s: %s", check.model, check.route, check.what, check.told)
            elif check.fit and not before:
                log.info("%s by %s: %s: fit again: %s", check.model, check.route, check.what, check.told)

    async def _finish_or_hand_back(self) -> None:
        """What ends within the limit ends here; the rest is due again at once, for whoever is there."""
        tasks = [h.task for h in self._held.values() if h.task]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=self._limits.stop_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
