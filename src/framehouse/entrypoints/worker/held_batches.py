"""The table of held batches: the batches that a worker has claimed, and whose leases it renews."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field
from uuid import UUID

from framehouse.adapters.postgres.batch_queue import Claimed

_SLOW_LOADING_S = 0.5


@dataclass(slots=True, eq=False)
class HeldBatch:
    """A claimed batch and the asyncio task that processes the batch.

    `isolated` is true if the batch may be poison. The worker then claims no further batch while it holds this batch.
    `progress` is between 0 and 1. `loaded` is true after the references have been loaded. If the engine is waiting
    before it polls its upstream again, setting `wake` ends this wait early.
    """

    batch: Claimed
    isolated: bool = False
    progress: float = 0.0
    held_since: float = field(default_factory=time.monotonic)
    loaded: bool = False
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None

    def report_progress(self, share: float) -> None:
        self.progress = max(self.progress, share)

    @property
    def failing_s(self) -> float:
        """The time in seconds since the first failure of the batch, or 0 if the batch has not failed."""
        return self.batch.failing_s and self.batch.failing_s + time.monotonic() - self.held_since


class HeldBatches:
    """All held batches of one worker. The worker generates up to `limit` batches at the same time."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._by_id: dict[int, HeldBatch] = {}

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[HeldBatch]:
        return iter(list(self._by_id.values()))

    def add(self, held: HeldBatch) -> None:
        self._by_id[held.batch.id] = held

    def remove(self, held: HeldBatch) -> None:
        """Remove the entry `held`, but not a newer entry for the same batch.

        If the response to a release is lost, the worker repeats the release, even if the database has already released
        the batch. Before it repeats the release, this worker may claim the batch again and add a newer entry.
        """
        if self._by_id.get(held.batch.id) is held:
            del self._by_id[held.batch.id]

    @property
    def loading_by_account(self) -> Counter[int]:
        """The number of held batches whose references are not loaded yet, by account."""
        return Counter(held.batch.account_id for held in self if not held.loaded)

    @property
    def free_slots(self) -> int:
        """The number of further batches that the worker may claim, or 0 while the worker holds an isolated batch.

        A batch whose references load slowly occupies no slot, so that a slow reference server does not stop other
        batches.
        """
        if any(held.isolated for held in self):
            return 0
        now = time.monotonic()
        return self._limit - sum(held.loaded or now - held.held_since < _SLOW_LOADING_S for held in self)

    def other_tasks(self, held: HeldBatch | None = None) -> list[asyncio.Task[None]]:
        """Return the asyncio tasks of all held batches except `held`."""
        return [other.task for other in self if other is not held and other.task]

    def leases(self) -> dict[int, HeldBatch]:
        """Return a copy of the mapping from batch ids to held batches."""
        return dict(self._by_id)

    def wake(self, batch_id: str) -> None:
        """End the engine's pause for a batch early. Do nothing if this worker does not hold the batch."""
        if batch_id.isdecimal() and (held := self._by_id.get(int(batch_id))):
            held.wake.set()

    def cancel_task(self, task_id: str) -> None:
        """Stop the work on the batches of a task that has ended."""
        cancel(held for held in self if str(held.batch.task_id) == task_id)


def claims_of(leases: Mapping[int, HeldBatch]) -> dict[int, tuple[UUID, float]]:
    """Return the claim and the progress of each batch in `leases`, keyed by batch id."""
    return {number: (held.batch.claim, held.progress) for number, held in leases.items()}


def cancel_lost(leases: Mapping[int, HeldBatch], renewed: Set[int]) -> None:
    """Stop the work on the batches in `leases` that are not in `renewed`."""
    cancel(held for number, held in leases.items() if number not in renewed)


def cancel(batches: Iterator[HeldBatch]) -> None:
    for held in batches:
        if held.task:
            held.task.cancel()
