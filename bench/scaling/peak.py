"""Some seconds of a site, event by event: requests, statements, commits, locks, workers and what wakes them."""

import math
import random
from bisect import bisect_left
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import accumulate

from measuring.load import percentile
from scaling.events import Clock, Cores, Locks, Log, Then, Thread
from scaling.model import MISSES, REST_S, Costs, Site, Traffic, ears

_MOST, _FEW = 64, 8
"""As in adapters/postgres/grouped.py."""


@dataclass(slots=True)
class Task:
    account: int
    pictures: int
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
    pictures: int = 0
    used: dict[str, float] = field(default_factory=dict)


class Peak:
    """One run. Everything is a callback: what a process does next is what it gives to the one before."""

    def __init__(self, costs: Costs, traffic: Traffic, site: Site, *, tasks_per_s: float, seed: int) -> None:
        self.costs, self.traffic, self.site = costs, traffic, site
        self.rate = tasks_per_s
        self.random = random.Random(seed)
        self.clock = Clock()
        self.database = Cores(self.clock, site.postgres_cores)
        elsewhere = self.database if site.shared else Cores(self.clock, 1_000_000)
        self.elsewhere = elsewhere
        self.log = Log(self.clock, flush_s=site.flush_s, bytes_per_s=site.log_bytes_per_s)
        self.locks = Locks()
        self.apis = [Api(self, Thread(elsewhere, "api")) for _ in range(site.apis)]
        slots = [site.gpus // site.workers + (n < site.gpus % site.workers) for n in range(site.workers)]
        self.workers = [Worker(self, Thread(elsewhere, "worker"), number) for number in slots]
        self.queue: deque[tuple[Task, float]] = deque()
        self.messages = 0
        self.seen = Seen()
        shares = list(accumulate(1 / n**traffic.heaviness for n in range(1, traffic.accounts + 1)))
        self._shares = [share / shares[-1] for share in shares]
        self._sizes = [size for size, _ in traffic.sizes]
        self._size_shares = [share for _, share in traffic.sizes]

    def statement(self, seconds: float, then: Then, *, writes: float = 0.0, who: str) -> None:
        """On a session of PostgreSQL, with the ways there and back."""

        def committed() -> None:
            self.clock.after(self.site.network_s / 2, then)

        def ran() -> None:
            if writes:
                self.log.commit(writes, committed)
            else:
                committed()

        self.clock.after(self.site.network_s / 2, lambda: self.database.use(seconds, who, ran))

    def wake(self) -> None:
        """Tell workers of new batches; the server tells each session."""
        self.statement(self.costs.notify.of(ears(self.site)), self._all_wake, who="notify")

    def tell_ended(self) -> None:
        self.statement(self.costs.notify.of(ears(self.site)), self._all_hear, who="notify")

    def _all_wake(self) -> None:
        for worker in self.workers:
            worker.woken()

    def _all_hear(self) -> None:
        for worker in self.workers:
            worker.heard()

    def run(self, seconds: float, warm_s: float) -> Seen:
        self.clock.after(0, self._arrive)
        for worker in self.workers:
            self.clock.after(self.random.random(), worker.loop)
        self.clock.run(warm_s)
        self.seen = Seen()
        before = self._counters()
        self.clock.run(warm_s + seconds)
        after = self._counters()
        self.seen.used = {name: (value - before.get(name, 0.0)) / seconds for name, value in after.items()}
        self.seen.used["queue"] = len(self.queue)
        return self.seen

    def _counters(self) -> dict[str, float]:
        counters = {
            f"postgres: {who}": s for who, s in self.database.spent.items() if who not in ("api", "worker", "client")
        }
        counters["postgres"] = sum(counters.values())
        counters |= {who: self.elsewhere.spent[who] for who in ("api", "worker", "client")}
        counters["log"], counters["log_bytes"] = self.log.busy_s, self.log.written_bytes
        counters["flushes"] = float(self.log.flushes)
        counters["gpus"] = sum(worker.painted_s for worker in self.workers)
        return counters

    def _arrive(self) -> None:
        self.clock.after(self.random.expovariate(self.rate), self._arrive)
        pictures = self.random.choices(self._sizes, self._size_shares)[0]
        habits = (self.traffic.polling, self.traffic.waiting, self.traffic.callbacks)
        habit = self.random.choices(("polls", "waits", "callback", "looks away"), [*habits, max(0.0, 1 - sum(habits))])[
            0
        ]
        account = bisect_left(self._shares, self.random.random())
        task = Task(account, pictures, habit, self.clock.now, pictures)
        self.seen.tasks += 1
        api = self.random.choice(self.apis)
        self._client(lambda: api.accept(task))

    def _client(self, then: Then) -> None:
        if self.site.client_s:
            self.elsewhere.use(self.site.client_s, "client", then)
        else:
            then()

    def accepted(self, task: Task) -> None:
        self.seen.accept.append(self.clock.now - task.came_at)
        if task.habit == "polls":
            self.clock.after(self.traffic.poll_every_s, lambda: self._poll(task))
        elif task.habit == "waits":
            self._client(lambda: self.random.choice(self.apis).wait(task))

    def _poll(self, task: Task) -> None:
        began, was_over = self.clock.now, task.ended

        def answered() -> None:
            self.seen.poll.append(self.clock.now - began)
            if was_over:
                self.seen.whole.append(self.clock.now - task.came_at)
            else:
                self.clock.after(self.traffic.poll_every_s, lambda: self._poll(task))

        self._client(lambda: self.random.choice(self.apis).poll(answered))

    def paint_s(self) -> float:
        if not self.site.paint_s:
            return 0.0
        spread = self.site.paint_spread
        return self.site.paint_s * self.random.lognormvariate(-spread * spread / 2, spread)


class Api:
    """One process: what it reads and writes costs its own CPU, and its accepts and polls share statements."""

    def __init__(self, peak: Peak, thread: Thread) -> None:
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
        peak, size = self._peak, min(_MOST, max(_FEW, (len(self._offers) + 1) // 2))
        group, self._offers = self._offers[:size], self._offers[size:]
        rows = sorted({task.account for task in group})

        def committed() -> None:
            peak.locks.free(rows)
            for task in group:
                peak.queue.extend((task, peak.clock.now) for _ in range(task.pictures))
                peak.accepted(task)
            self._news = True
            if not self._telling:
                self._tell()
            self._offer()

        def locked() -> None:
            costs = peak.costs
            size = costs.accept_bytes + costs.shot_bytes * (peak.traffic.pictures - 1)
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
        group, self._asked = self._asked[:_MOST], self._asked[_MOST:]

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

    def __init__(self, peak: Peak, thread: Thread, slots: int) -> None:
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
                peak.clock.after(REST_S, rested)

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
                self._thread.use(costs.worker_task_s / peak.traffic.pictures, lambda t=task: self._paint(t))  # type: ignore[misc]
            if self._misses > MISSES:
                peak.clock.after(REST_S, rested)
            else:
                rested()

        if took:
            peak.statement(costs.claim.of(len(took)), claimed, writes=costs.claim_bytes * len(took), who="claim")
        else:
            peak.statement(costs.nothing_due_s, claimed, who="hearing")

    def _paint(self, task: Task) -> None:
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
            peak.seen.pictures += 1
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


def told(seconds: list[float], percent: int) -> float:
    return percentile(seconds, percent) if len(seconds) > 1 else math.nan
