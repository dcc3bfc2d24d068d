"""The processes of a simulated site: what an API and a worker do, and what it costs whom."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from framehouse.adapters.postgres.coalesce import MAX_GROUP, MIN_HALF
from framehouse.entrypoints.worker.claim import MISS_PAUSE_S, MISSES_BEFORE_PAUSE
from scaling.events import Clock, Cores, Locks, Then, Thread
from scaling.model import Costs, Site, Traffic


@dataclass(slots=True)
class Task:
    account: int
    images: int
    habit: str
    came_at: float
    left: int
    ended: bool = False
    waiter: Then | None = None


@dataclass(slots=True)
class Seen:
    """What came out: seconds of each, and shares of what there is."""

    accept: list[float] = field(default_factory=list)
    poll: list[float] = field(default_factory=list)
    whole: list[float] = field(default_factory=list)
    waited: list[float] = field(default_factory=list)
    """From acceptance to a worker."""
    tasks: int = 0
    ended: int = 0
    images: int = 0
    used: dict[str, float] = field(default_factory=dict)


class Simulation(Protocol):
    """What processes use of the run that they are part of."""

    costs: Costs
    traffic: Traffic
    site: Site
    clock: Clock
    elsewhere: Cores
    locks: Locks
    queue: deque[tuple[Task, float]]
    messages: int
    seen: Seen

    def statement(self, seconds: float, then: Then, *, writes: float = 0.0, who: str) -> None: ...
    def wake(self) -> None: ...
    def tell_ended(self) -> None: ...
    def accepted(self, task: Task) -> None: ...
    def paint_s(self) -> float: ...


class Api:
    """One process: what it reads and writes costs its own CPU, and its accepts and polls share statements."""

    def __init__(self, peak: Simulation, thread: Thread) -> None:
        self._peak, self._thread = peak, thread
        self._offers: list[Task] = []
        self._asked: list[Then] = []
        self._offering = self._asking = self._telling = self._news = False

    def accept(self, task: Task) -> None:
        def read() -> None:
            self._offers.append(task)
            if not self._offering:
                self._offer()

        self._thread.use(self._peak.costs.api_accept.row_s, read)

    def _offer(self) -> None:
        self._offering = bool(self._offers)
        if not self._offering:
            return
        peak, size = self._peak, min(MAX_GROUP, max(MIN_HALF, (len(self._offers) + 1) // 2))
        group, self._offers = self._offers[:size], self._offers[size:]
        rows = sorted({task.account for task in group})

        def committed() -> None:
            peak.locks.free(rows)
            for task in group:
                peak.queue.extend((task, peak.clock.now) for _ in range(task.images))
                peak.accepted(task)
            self._news = True
            if not self._telling:
                self._tell()
            self._offer()

        def locked() -> None:
            costs = peak.costs
            size = costs.accept_bytes + costs.shot_bytes * (peak.traffic.images - 1)
            peak.statement(costs.accept.of(len(group)), committed, writes=size * len(group), who="accept")

        self._thread.use(peak.costs.api_accept.each_s, lambda: peak.locks.take_all(rows, locked))

    def _tell(self) -> None:
        self._telling = self._news
        if self._telling:
            self._news = False
            self._peak.wake()
            self._peak.clock.after(0.005, self._tell)

    def poll(self, then: Then) -> None:
        def read() -> None:
            self._asked.append(then)
            if not self._asking:
                self._ask()

        self._thread.use(self._peak.costs.api_poll.row_s, read)

    def _ask(self) -> None:
        self._asking = bool(self._asked)
        if not self._asking:
            return
        group, self._asked = self._asked[:MAX_GROUP], self._asked[MAX_GROUP:]

        def answered() -> None:
            for then in group:
                then()
            self._ask()

        costs = self._peak.costs
        ask: Then = lambda: self._peak.statement(costs.poll.of(len(group)), answered, who="polls")  # noqa: E731
        self._thread.use(costs.api_poll.each_s, ask)

    def wait(self, task: Task) -> None:
        """A long poll: two looks before it waits, one when it is told."""

        def over() -> None:
            self.poll(lambda: self._peak.seen.whole.append(self._peak.clock.now - task.came_at))

        def looked() -> None:
            if task.ended:
                over()
            else:
                task.waiter = over

        self.poll(lambda: self.poll(looked))


class Worker:
    """One process: claims what it has room for, keeps leases, finishes, settles; and hears of all others' tasks."""

    def __init__(self, peak: Simulation, thread: Thread, slots: int) -> None:
        self._peak, self._thread = peak, thread
        self._room = self._slots = slots
        self._claiming = self._again = self._looking = self._look_again = False
        self._misses = 0
        self.painted_s = 0.0

    def loop(self) -> None:
        """Each second: leases, lost work, due batches, callbacks twice."""
        costs, peak = self._peak.costs, self._peak
        if held := self._slots - self._room:
            peak.statement(costs.renew.of(held), _nothing, writes=costs.renew_bytes * held, who="leases")
        peak.statement(costs.look_s, _nothing, who="worker loops")
        self.woken()
        for part in (0.0, 0.5):
            peak.clock.after(part, self._look)
        peak.clock.after(1.0, self.loop)

    def woken(self) -> None:
        if self._claiming:
            self._again = True
        elif self._room > 0:
            self._claim()

    def heard(self) -> None:
        """A task has ended somewhere: there may be a callback to send."""
        self._thread.use(self._peak.costs.heard_s, self._look)

    def _look(self) -> None:
        if self._looking:
            self._look_again = True
            return
        self._looking = True
        peak = self._peak
        taken, peak.messages = peak.messages, 0

        def rested() -> None:
            self._looking = False
            if self._look_again:
                self._look_again = False
                self._look()

        def looked() -> None:
            for _ in range(taken):
                peak.statement(peak.costs.callback_s, _nothing, writes=peak.costs.settle_bytes, who="callbacks")
            if taken:
                rested()
            else:
                peak.clock.after(MISS_PAUSE_S, rested)

        peak.statement(peak.costs.no_callbacks_s, looked, who="hearing")

    def _claim(self) -> None:
        peak, costs = self._peak, self._peak.costs
        self._claiming, self._again = True, False
        took = [peak.queue.popleft() for _ in range(min(self._room, len(peak.queue)))]  # nobody else gets them
        self._room -= len(took)

        self._misses = 0 if took else self._misses + 1

        def rested() -> None:
            self._claiming = False
            if self._room > 0 and (took or self._again):
                self._claim()

        def claimed() -> None:
            for task, due_at in took:
                peak.seen.waited.append(peak.clock.now - due_at)
                self._thread.use(costs.worker_task_s / peak.traffic.images, lambda t=task: self._generate(t))  # type: ignore[misc]
            if self._misses > MISSES_BEFORE_PAUSE:
                peak.clock.after(MISS_PAUSE_S, rested)
            else:
                rested()

        if took:
            peak.statement(costs.claim.of(len(took)), claimed, writes=costs.claim_bytes * len(took), who="claim")
        else:
            peak.statement(costs.nothing_due_s, claimed, who="hearing")

    def _generate(self, task: Task) -> None:
        seconds = self._peak.paint_s()
        self.painted_s += seconds
        finish: Callable[[], None] = lambda: self._peak.elsewhere.use(  # noqa: E731 - on a thread of its own
            self._peak.costs.worker_picture_s,
            "worker",
            lambda: self._peak.clock.after(self._peak.site.store_s, lambda: self._settle(task)),
        )
        self._peak.clock.after(seconds, finish)

    def _settle(self, task: Task) -> None:
        peak, costs = self._peak, self._peak.costs
        task.left -= 1
        rows = [] if task.left else [task.account]

        def settled() -> None:
            peak.locks.free(rows)
            peak.seen.images += 1
            self._room += 1
            if rows:
                self._end(task)
            self.woken()

        peak.locks.take_all(
            rows, lambda: peak.statement(costs.settle_s, settled, writes=costs.settle_bytes, who="settle")
        )

    def _end(self, task: Task) -> None:
        peak, costs = self._peak, self._peak.costs
        task.ended = True
        peak.seen.ended += 1
        if task.habit == "callback":
            peak.messages += 2
            peak.seen.whole.append(peak.clock.now - task.came_at)
        if task.waiter:
            peak.clock.after(0.001, task.waiter)
        peak.tell_ended()
        # what is as old as history goes at the same rate
        peak.statement(costs.expire_s, _nothing, writes=costs.expire_bytes, who="deletes")
        peak.statement(costs.delete_s, _nothing, who="deletes")


def _nothing() -> None:
    """There is no more to it."""
