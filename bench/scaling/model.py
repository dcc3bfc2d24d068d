"""The parameters of both simulations: costs from bench/results/costs.json, the traffic, and the deployment."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from framehouse.entrypoints.worker.claim import MISS_PAUSE_S
from measuring.comparisons import RESULTS

GROUP = 16
DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class CoalescedCost:
    """The CPU time of a statement, and of each row that shares the statement."""

    statement_s: float
    row_s: float

    def total_s(self, rows: int) -> float:
        return self.statement_s + self.row_s * rows


@dataclass(frozen=True, slots=True)
class Costs:
    """CPU times in seconds and sizes in bytes: for PostgreSQL per statement, for the API per request.

    `notify`: a row is a listening session. `row_bytes` is the size of the rows of an ended task of one image, and
    `shot_bytes` that of each further image. `api_accept` and `api_poll`: a request that arrives alone costs both times;
    of many concurrent requests, each costs only the time of a row. `wakeup_s` is a worker's cost for the end of another
    worker's task: a notification and an empty claim of callbacks. `expired_per_s` is the number of tasks of one image
    whose images are removed per second, by the kind of storage.
    """

    accept: CoalescedCost
    claim: CoalescedCost
    renew: CoalescedCost
    poll: CoalescedCost
    settle_s: float
    callback_s: float
    find_orphaned_s: float
    nothing_due_s: float
    no_callbacks_s: float
    notify: CoalescedCost
    delete_s: float
    expire_s: float
    accept_bytes: float
    claim_bytes: float
    settle_bytes: float
    renew_bytes: float
    delete_bytes: float
    expire_bytes: float
    row_bytes: float
    shot_bytes: float
    api_accept: CoalescedCost
    api_poll: CoalescedCost
    worker_image_s: float
    worker_task_s: float
    image_bytes: float
    wakeup_s: float
    expired_per_s: Mapping[str, float]


def read_part(name: str) -> dict[str, dict[str, float]]:
    """Return the latest results of a part of bench/costs.py."""
    costs: dict[str, dict[str, float]] = json.loads(RESULTS.with_name("costs.json").read_text())[name]["costs"]
    return costs


def read_costs() -> Costs:
    """Return the costs from the latest results of bench/costs.py."""
    s, server, contention, workers, expiring = map(
        read_part, ("statements", "server", "contention", "workers", "expiring")
    )

    def coalesced(name: str, *, whole_statement: bool = False) -> CoalescedCost:
        """`whole_statement`: the measured cost is that of a statement of GROUP rows, and not the share of one row."""
        alone = s[name.format(1)]["cpu_s"]
        group = s[name.format(GROUP)]["cpu_s"] * (1 if whole_statement else GROUP)
        row = max(0.0, (group - alone) / (GROUP - 1))
        return CoalescedCost(alone - row, row)

    def requests(name: str, slow: int, fast: int) -> CoalescedCost:
        alone, concurrent = (server[f"{name}, {rate} per second"]["api_cpu_s"] for rate in (slow, fast))
        return CoalescedCost(max(0.0, alone - concurrent), concurrent)

    no_sessions_s, sessions_150_s = (contention[f"notify, {number} sessions listen"]["cpu_s"] for number in (0, 150))
    one_image, nine_images = server["one image, 1k"], server["nine images, 1k"]
    image_s = (nine_images["worker_cpu_s"] - one_image["worker_cpu_s"]) / 8
    stored = [s["stored in tasks"], s["stored in shots"]]
    one_worker, eight_workers = (workers[f"{number} workers, 30 tasks per second"] for number in (1, 8))
    idle = [workers[f"{number} workers, 0 tasks per second"]["workers_cpu_s"] for number in (1, 8)]
    wakeup_s = ((eight_workers["workers_cpu_s"] - one_worker["workers_cpu_s"]) - (idle[1] - idle[0])) / 7 / 30
    delete, vacuum = s["delete a task of one image"], s["vacuum after the deletes, per task"]
    return Costs(
        accept=coalesced("one image: accept, {} per statement"),
        claim=coalesced("one image: claim a batch, {} per statement"),
        renew=coalesced("renew leases, {} per statement", whole_statement=True),
        poll=coalesced("poll, {} per statement", whole_statement=True),
        settle_s=s["one image: settle an image"]["cpu_s"],
        callback_s=s["callbacks: claim and end a message"]["cpu_s"],
        find_orphaned_s=s["find orphaned batches"]["cpu_s"],
        nothing_due_s=s["claim, nothing due"]["cpu_s"],
        no_callbacks_s=s["claim callbacks, none due"]["cpu_s"],
        notify=CoalescedCost(no_sessions_s, max(0.0, sessions_150_s - no_sessions_s) / 150),
        delete_s=delete["cpu_s"] + vacuum["cpu_s"],
        expire_s=s["mark a task expired"]["cpu_s"],
        accept_bytes=s[f"one image: accept, {GROUP} per statement"]["wal_bytes"],
        claim_bytes=s[f"one image: claim a batch, {GROUP} per statement"]["wal_bytes"],
        settle_bytes=s["one image: settle an image"]["wal_bytes"],
        renew_bytes=s["renew leases, 16 per statement"]["wal_bytes"] / GROUP,
        delete_bytes=delete["wal_bytes"] + vacuum["wal_bytes"],
        expire_bytes=s["mark a task expired"]["wal_bytes"],
        row_bytes=sum(table["heap_bytes"] + table["index_bytes"] for table in stored),
        shot_bytes=stored[1]["heap_bytes"] + stored[1]["index_bytes"],
        api_accept=requests("accept", 60, 600),
        api_poll=requests("poll", 120, 1200),
        worker_image_s=image_s,
        worker_task_s=max(0.0, one_image["worker_cpu_s"] - image_s),
        image_bytes=one_image["stored_bytes"],
        wakeup_s=max(0.0, wakeup_s),
        expired_per_s={name: cost["tasks per second"] for name, cost in expiring.items()},
    )


@dataclass(frozen=True, slots=True)
class Traffic:
    """The requests of all clients.

    `sizes` are numbers of images per task, with their shares of the tasks. `polling`, `waiting` (`?wait=60`) and
    `callbacks` are the shares of the tasks whose clients wait in this way. `peak` is the rate of the busiest minute
    relative to the day's mean. `zipf_exponent` is the exponent of Zipf's law for the shares of the accounts.
    """

    images_per_day: float = 10e6
    sizes: tuple[tuple[int, float], ...] = ((1, 0.70), (3, 0.05), (4, 0.15), (9, 0.10))
    peak: float = 2.0
    polling: float = 0.60
    waiting: float = 0.20
    callbacks: float = 0.20
    poll_every_s: float = 2.0
    accounts: int = 1000
    zipf_exponent: float = 1.1

    @property
    def images(self) -> float:
        """The mean number of images per task."""
        return sum(size * share for size, share in self.sizes)

    @property
    def tasks_per_s(self) -> float:
        return self.images_per_day / self.images / DAY_S


@dataclass(frozen=True, slots=True)
class Deployment:
    """The simulated machines and processes.

    `postgres_cores` are the cores of PostgreSQL's machine. If `shared` is set, all processes share them, as on a small
    machine. `flush_s` is the time of a flush of the write-ahead log, by default that of a cloud disk. `network_s` is
    the time of a round trip to PostgreSQL. `client_s` is the client's CPU time per request if the client runs on the
    same machine.
    """

    postgres_cores: int = 16
    flush_s: float = 0.001
    log_bytes_per_s: float = 250e6
    apis: int = 8
    workers: int = 16
    gpus: int = 1600
    generation_s: float = 8.0
    generation_spread: float = 0.25
    store_s: float = 0.05
    network_s: float = 0.0003
    shared: bool = False
    client_s: float = 0.0


def listening_sessions(deployment: Deployment) -> int:
    """Return the number of listening sessions: three per worker process, one per API process."""
    return 3 * deployment.workers + deployment.apis


def demand(costs: Costs, traffic: Traffic, deployment: Deployment, *, rate: float = 1.0) -> dict[str, float]:
    """Return the busy cores of PostgreSQL by purpose. `rate` is relative to the day's mean rate."""
    tasks = traffic.tasks_per_s * rate
    images = tasks * traffic.images
    generating = images * (deployment.generation_s + deployment.store_s)
    polls = tasks * (traffic.polling * (1 + deployment.generation_s / traffic.poll_every_s) + 3 * traffic.waiting)
    # A statement of an API process takes about two milliseconds; the requests that arrive meanwhile share the next one.
    tasks_per_statement, polls_per_statement = (max(1.0, per_s / deployment.apis * 0.002) for per_s in (tasks, polls))
    wakeups = tasks / (1 + tasks * MISS_PAUSE_S)
    return {
        "accept": tasks * (costs.accept.statement_s / tasks_per_statement + costs.accept.row_s),
        "claim": tasks * costs.claim.statement_s + images * costs.claim.row_s,
        "settle": images * costs.settle_s,
        "leases": deployment.workers * costs.renew.statement_s + generating * costs.renew.row_s,
        "polls": polls * (costs.poll.statement_s / polls_per_statement + costs.poll.row_s),
        "callbacks": 2 * tasks * traffic.callbacks * costs.callback_s,
        "notify": 2 * tasks * costs.notify.total_s(listening_sessions(deployment)),
        "wake-ups": deployment.workers * wakeups * (costs.no_callbacks_s + costs.nothing_due_s),
        "worker loops": deployment.workers * (costs.find_orphaned_s + costs.nothing_due_s + 2 * costs.no_callbacks_s),
        "deletes": tasks * (costs.delete_s + costs.expire_s),
    }


def bytes_per_task(costs: Costs, traffic: Traffic, deployment: Deployment) -> dict[str, float]:
    """Return the bytes of a task: its WAL, its rows, and its files."""
    further_images = traffic.images - 1
    accept = costs.accept_bytes + further_images * costs.shot_bytes
    batch = costs.claim_bytes + costs.settle_bytes + costs.renew_bytes * deployment.generation_s
    return {
        "wal": accept + traffic.images * batch + costs.expire_bytes + costs.delete_bytes,
        "rows": costs.row_bytes + further_images * costs.shot_bytes,
        "files": traffic.images * costs.image_bytes,
    }
