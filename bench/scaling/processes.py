"""The processes of a simulated deployment: the work of an API process and of a worker, and the cost of this work."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from framehouse.adapters.postgres.coalesce import MAX_GROUP, MIN_HALF
from framehouse.entrypoints.worker.claim import MISS_PAUSE_S, MISSES_BEFORE_PAUSE
from scaling.events import Action, Clock, Cores, Locks, Thread
from scaling.model import Costs, Deployment, Traffic


@dataclass(slots=True)
class Task:
    """A simulated task. `waits_by`: how its client waits for its end."""

    account: int
    images: int
    waits_by: str
    arrived_at: float
    images_left: int
    ended: bool = False
    waiter: Action | None = None


@dataclass(slots=True)
class Results:
    """The results of a run: times in seconds, and the `usage` of each resource per simulated second.

    `whole` are the times from a request to the moment when its client knows that the task has ended. `claim_wait` are
    the times from acceptance to a worker's claim.
    """

    accept: list[float] = field(default_factory=list)
    poll: list[float] = field(default_factory=list)
    whole: list[float] = field(default_factory=list)
    claim_wait: list[float] = field(default_factory=list)
    tasks: int = 0
    ended: int = 0
    images: int = 0
    usage: dict[str, float] = field(default_factory=dict)


class Simulation(Protocol):
    """The parts of a run that its processes use."""

    costs: Costs
    traffic: Traffic
    deployment: Deployment
    clock: Clock
    other_cores: Cores
    locks: Locks
    queue: deque[tuple[Task, float]]
    messages: int
    results: Results

    def statement(self, seconds: float, then: Action, *, writes: float = 0.0, purpose: str) -> None: ...
    def notify_new_batches(self) -> None: ...
    def notify_ended_tasks(self) -> None: ...
    def accepted(self, task: Task) -> None: ...
    def generation_s(self) -> float: ...


class Api:
    """An API process. Its concurrent accepts share statements, and so do its concurrent polls."""

    def __init__(self, peak: Simulation, thread: Thread) -> None:
        self._peak, self._thread = peak, thread
        self._waiting_tasks: list[Task] = []
        self._waiting_polls: list[Action] = []
        self._accepting = self._polling = self._notifying = self._notification_due = False

    def accept(self, task: Task) -> None:
        def read() -> None:
            self._waiting_tasks.append(task)
            if not self._accepting:
                self._accept_group()

        self._thread.use(self._peak.costs.api_accept.row_s, read)

    def _accept_group(self) -> None:
        self._accepting = bool(self._waiting_tasks)
        if not self._accepting:
            return
        peak, size = self._peak, min(MAX_GROUP, max(MIN_HALF, (len(self._waiting_tasks) + 1) // 2))
        group, self._waiting_tasks = self._waiting_tasks[:size], self._waiting_tasks[size:]
        rows = sorted({task.account for task in group})

        def committed() -> None:
            peak.locks.free(rows)
            for task in group:
                peak.queue.extend((task, peak.clock.now) for _ in range(task.images))
                peak.accepted(task)
            self._notification_due = True
            if not self._notifying:
                self._notify()
            self._accept_group()

        def locked() -> None:
            costs = peak.costs
            size = costs.accept_bytes + costs.shot_bytes * (peak.traffic.images - 1)
            peak.statement(costs.accept.total_s(len(group)), committed, writes=size * len(group), purpose="accept")

        self._thread.use(peak.costs.api_accept.statement_s, lambda: peak.locks.take_all(rows, locked))

    def _notify(self) -> None:
        self._notifying = self._notification_due
        if self._notifying:
            self._notification_due = False
            self._peak.notify_new_batches()
            self._peak.clock.after(0.005, self._notify)

    def poll(self, then: Action) -> None:
        def read() -> None:
            self._waiting_polls.append(then)
            if not self._polling:
                self._poll_group()

        self._thread.use(self._peak.costs.api_poll.row_s, read)

    def _poll_group(self) -> None:
        self._polling = bool(self._waiting_polls)
        if not self._polling:
            return
        group, self._waiting_polls = self._waiting_polls[:MAX_GROUP], self._waiting_polls[MAX_GROUP:]

        def answered() -> None:
            for then in group:
                then()
            self._poll_group()

        costs = self._peak.costs
        query: Action = lambda: self._peak.statement(  # noqa: E731
            costs.poll.total_s(len(group)), answered, purpose="polls"
        )
        self._thread.use(costs.api_poll.statement_s, query)

    def wait(self, task: Task) -> None:
        """A long poll: it queries the task twice before it waits, and once when the task ends."""

        def ended() -> None:
            self.poll(lambda: self._peak.results.whole.append(self._peak.clock.now - task.arrived_at))

        def queried() -> None:
            if task.ended:
                ended()
            else:
                task.waiter = ended

        self.poll(lambda: self.poll(queried))


class Worker:
    """A worker process: it claims batches for its free slots, renews leases, finishes and settles images.

    The end of every task in the deployment wakes its callback loop.
    """

    def __init__(self, peak: Simulation, thread: Thread, slots: int) -> None:
        self._peak, self._thread = peak, thread
        self._free_slots = self._slots = slots
        self._claiming = self._claim_again = False
        self._claiming_callbacks = self._claim_callbacks_again = False
        self._misses = 0
        self.generation_time_s = 0.0

    def loop(self) -> None:
        """Run once per second: renew leases, find orphaned batches, claim due batches, and claim callbacks twice."""
        costs, peak = self._peak.costs, self._peak
        if batches := self._slots - self._free_slots:
            peak.statement(costs.renew.total_s(batches), _nothing, writes=costs.renew_bytes * batches, purpose="leases")
        peak.statement(costs.find_orphaned_s, _nothing, purpose="worker loops")
        self.wake_claim_loop()
        for delay_s in (0.0, 0.5):
            peak.clock.after(delay_s, self._claim_callbacks)
        peak.clock.after(1.0, self.loop)

    def wake_claim_loop(self) -> None:
        if self._claiming:
            self._claim_again = True
        elif self._free_slots > 0:
            self._claim()

    def wake_callback_loop(self) -> None:
        """Claim callbacks after a notification: a task has ended somewhere in the deployment."""
        self._thread.use(self._peak.costs.wakeup_s, self._claim_callbacks)

    def _claim_callbacks(self) -> None:
        if self._claiming_callbacks:
            self._claim_callbacks_again = True
            return
        self._claiming_callbacks = True
        peak = self._peak
        claimed, peak.messages = peak.messages, 0

        def ready() -> None:
            self._claiming_callbacks = False
            if self._claim_callbacks_again:
                self._claim_callbacks_again = False
                self._claim_callbacks()

        def executed() -> None:
            for _ in range(claimed):
                peak.statement(peak.costs.callback_s, _nothing, writes=peak.costs.settle_bytes, purpose="callbacks")
            if claimed:
                ready()
            else:
                peak.clock.after(MISS_PAUSE_S, ready)

        peak.statement(peak.costs.no_callbacks_s, executed, purpose="wake-ups")

    def _claim(self) -> None:
        peak, costs = self._peak, self._peak.costs
        self._claiming, self._claim_again = True, False
        # removed from the queue before the statement ends, so that no other worker claims these batches
        batches = [peak.queue.popleft() for _ in range(min(self._free_slots, len(peak.queue)))]
        self._free_slots -= len(batches)

        self._misses = 0 if batches else self._misses + 1

        def ready() -> None:
            self._claiming = False
            if self._free_slots > 0 and (batches or self._claim_again):
                self._claim()

        def claimed() -> None:
            for task, due_at in batches:
                peak.results.claim_wait.append(peak.clock.now - due_at)
                self._thread.use(costs.worker_task_s / peak.traffic.images, lambda t=task: self._generate(t))  # type: ignore[misc]
            if self._misses > MISSES_BEFORE_PAUSE:
                peak.clock.after(MISS_PAUSE_S, ready)
            else:
                ready()

        if batches:
            writes = costs.claim_bytes * len(batches)
            peak.statement(costs.claim.total_s(len(batches)), claimed, writes=writes, purpose="claim")
        else:
            peak.statement(costs.nothing_due_s, claimed, purpose="wake-ups")

    def _generate(self, task: Task) -> None:
        seconds = self._peak.generation_s()
        self.generation_time_s += seconds
        finish: Callable[[], None] = lambda: self._peak.other_cores.use(  # noqa: E731 - in a separate thread
            self._peak.costs.worker_image_s,
            "worker",
            lambda: self._peak.clock.after(self._peak.deployment.store_s, lambda: self._settle(task)),
        )
        self._peak.clock.after(seconds, finish)

    def _settle(self, task: Task) -> None:
        peak, costs = self._peak, self._peak.costs
        task.images_left -= 1
        rows = [] if task.images_left else [task.account]

        def settled() -> None:
            peak.locks.free(rows)
            peak.results.images += 1
            self._free_slots += 1
            if rows:
                self._end(task)
            self.wake_claim_loop()

        peak.locks.take_all(
            rows, lambda: peak.statement(costs.settle_s, settled, writes=costs.settle_bytes, purpose="settle")
        )

    def _end(self, task: Task) -> None:
        peak, costs = self._peak, self._peak.costs
        task.ended = True
        peak.results.ended += 1
        if task.waits_by == "callback":
            peak.messages += 2
            peak.results.whole.append(peak.clock.now - task.arrived_at)
        if task.waiter:
            peak.clock.after(0.001, task.waiter)
        peak.notify_ended_tasks()
        # For each task that ends, an old task expires and an old task is deleted.
        peak.statement(costs.expire_s, _nothing, writes=costs.expire_bytes, purpose="deletes")
        peak.statement(costs.delete_s, _nothing, purpose="deletes")


def _nothing() -> None:
    """The action after a statement that nothing follows."""
