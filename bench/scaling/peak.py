"""Some seconds of a site, event by event: requests, statements, commits, locks, workers and what wakes them."""

import math
import random
from bisect import bisect_left
from collections import deque
from itertools import accumulate

from measuring.load import percentile
from scaling.events import Clock, Cores, Locks, Log, Then, Thread
from scaling.model import Costs, Site, Traffic, ears
from scaling.processes import Api, Seen, Task, Worker


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
        images = self.random.choices(self._sizes, self._size_shares)[0]
        habits = (self.traffic.polling, self.traffic.waiting, self.traffic.callbacks)
        habit = self.random.choices(("polls", "waits", "callback", "looks away"), [*habits, max(0.0, 1 - sum(habits))])[
            0
        ]
        account = bisect_left(self._shares, self.random.random())
        task = Task(account, images, habit, self.clock.now, images)
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


def told(seconds: list[float], percent: int) -> float:
    return percentile(seconds, percent) if len(seconds) > 1 else math.nan
