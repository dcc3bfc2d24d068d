"""Simulates some seconds of a deployment, event by event: requests, statements, commits, locks, workers, wake-ups."""

import math
import random
from bisect import bisect_left
from collections import deque
from itertools import accumulate

from measuring.load import percentile
from scaling.events import Action, Clock, Cores, Locks, Log, Thread
from scaling.model import Costs, Deployment, Traffic, listening_sessions
from scaling.processes import Api, Results, Task, Worker


class Peak:
    """One run of the simulation. Every operation has a parameter `then`: the action that follows it."""

    def __init__(
        self, costs: Costs, traffic: Traffic, deployment: Deployment, *, tasks_per_s: float, seed: int
    ) -> None:
        self.costs, self.traffic, self.deployment = costs, traffic, deployment
        self.rate = tasks_per_s
        self.random = random.Random(seed)
        self.clock = Clock()
        self.database = Cores(self.clock, deployment.postgres_cores)
        self.other_cores = self.database if deployment.shared else Cores(self.clock, 1_000_000)
        self.log = Log(self.clock, flush_s=deployment.flush_s, bytes_per_s=deployment.log_bytes_per_s)
        self.locks = Locks()
        self.apis = [Api(self, Thread(self.other_cores, "api")) for _ in range(deployment.apis)]
        slots = [
            deployment.gpus // deployment.workers + (n < deployment.gpus % deployment.workers)
            for n in range(deployment.workers)
        ]
        self.workers = [Worker(self, Thread(self.other_cores, "worker"), number) for number in slots]
        self.queue: deque[tuple[Task, float]] = deque()
        self.messages = 0
        self.results = Results()
        shares = list(accumulate(1 / n**traffic.zipf_exponent for n in range(1, traffic.accounts + 1)))
        self._shares = [share / shares[-1] for share in shares]
        self._sizes = [size for size, _ in traffic.sizes]
        self._size_shares = [share for _, share in traffic.sizes]

    def statement(self, seconds: float, then: Action, *, writes: float = 0.0, purpose: str) -> None:
        """Run a statement on PostgreSQL, including the network delay in both directions. `writes` are bytes of WAL."""

        def committed() -> None:
            self.clock.after(self.deployment.network_s / 2, then)

        def executed() -> None:
            if writes:
                self.log.commit(writes, committed)
            else:
                committed()

        self.clock.after(self.deployment.network_s / 2, lambda: self.database.use(seconds, purpose, executed))

    def notify_new_batches(self) -> None:
        """Notify the workers. The database sends a notification to every listening session."""
        self._notify(self._wake_claim_loops)

    def notify_ended_tasks(self) -> None:
        self._notify(self._wake_callback_loops)

    def _notify(self, then: Action) -> None:
        self.statement(self.costs.notify.total_s(listening_sessions(self.deployment)), then, purpose="notify")

    def _wake_claim_loops(self) -> None:
        for worker in self.workers:
            worker.wake_claim_loop()

    def _wake_callback_loops(self) -> None:
        for worker in self.workers:
            worker.wake_callback_loop()

    def run(self, seconds: float, warm_up_s: float) -> Results:
        """Simulate `warm_up_s` and then `seconds`. The results include only the latter."""
        self.clock.after(0, self._arrive)
        for worker in self.workers:
            self.clock.after(self.random.random(), worker.loop)
        self.clock.run(warm_up_s)
        self.results = Results()
        before = self._counters()
        self.clock.run(warm_up_s + seconds)
        after = self._counters()
        self.results.usage = {name: (value - before.get(name, 0.0)) / seconds for name, value in after.items()}
        self.results.usage["queue"] = len(self.queue)
        return self.results

    def _counters(self) -> dict[str, float]:
        counters = {
            f"postgres: {purpose}": s
            for purpose, s in self.database.spent.items()
            if purpose not in ("api", "worker", "client")
        }
        counters["postgres"] = sum(counters.values())
        counters |= {purpose: self.other_cores.spent[purpose] for purpose in ("api", "worker", "client")}
        counters["log"], counters["log_bytes"] = self.log.busy_s, self.log.written_bytes
        counters["flushes"] = float(self.log.flushes)
        counters["gpus"] = sum(worker.generation_time_s for worker in self.workers)
        return counters

    def _arrive(self) -> None:
        self.clock.after(self.random.expovariate(self.rate), self._arrive)
        images = self.random.choices(self._sizes, self._size_shares)[0]
        shares = (self.traffic.polling, self.traffic.waiting, self.traffic.callbacks)
        waits_by = self.random.choices(
            ("polls", "long poll", "callback", "nothing"), [*shares, max(0.0, 1 - sum(shares))]
        )[0]
        account = bisect_left(self._shares, self.random.random())
        task = Task(account, images, waits_by, self.clock.now, images)
        self.results.tasks += 1
        api = self.random.choice(self.apis)
        self._client(lambda: api.accept(task))

    def _client(self, then: Action) -> None:
        if self.deployment.client_s:
            self.other_cores.use(self.deployment.client_s, "client", then)
        else:
            then()

    def accepted(self, task: Task) -> None:
        self.results.accept.append(self.clock.now - task.arrived_at)
        if task.waits_by == "polls":
            self.clock.after(self.traffic.poll_every_s, lambda: self._poll(task))
        elif task.waits_by == "long poll":
            self._client(lambda: self.random.choice(self.apis).wait(task))

    def _poll(self, task: Task) -> None:
        began, had_ended = self.clock.now, task.ended

        def answered() -> None:
            self.results.poll.append(self.clock.now - began)
            if had_ended:
                self.results.whole.append(self.clock.now - task.arrived_at)
            else:
                self.clock.after(self.traffic.poll_every_s, lambda: self._poll(task))

        self._client(lambda: self.random.choice(self.apis).poll(answered))

    def generation_s(self) -> float:
        """Return a random generation time."""
        if not self.deployment.generation_s:
            return 0.0
        spread = self.deployment.generation_spread
        return self.deployment.generation_s * self.random.lognormvariate(-spread * spread / 2, spread)


def percentile_or_nan(seconds: list[float], percent: int) -> float:
    return percentile(seconds, percent) if len(seconds) > 1 else math.nan
