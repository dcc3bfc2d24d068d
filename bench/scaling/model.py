"""What things cost, from bench/results/costs.json, and what is asked for: the parameters of both simulations."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from framehouse.entrypoints.worker.claim import MISS_PAUSE_S
from measuring.comparisons import RESULTS

GROUP = 16
DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class Coalesced:
    """A statement: seconds of itself, and of each row that shares it."""

    each_s: float
    row_s: float

    def of(self, rows: int) -> float:
        return self.each_s + self.row_s * rows


@dataclass(frozen=True, slots=True)
class Costs:
    """CPU seconds, and bytes. PostgreSQL's are of statements, those of the API of requests."""

    accept: Coalesced
    claim: Coalesced
    renew: Coalesced
    poll: Coalesced
    settle_s: float
    callback_s: float
    look_s: float
    nothing_due_s: float
    no_callbacks_s: float
    notify: Coalesced
    """Rows are the sessions that listen."""
    delete_s: float
    expire_s: float
    accept_bytes: float
    claim_bytes: float
    settle_bytes: float
    renew_bytes: float
    delete_bytes: float
    expire_bytes: float
    kept_bytes: float
    """By an ended task of one picture."""
    shot_bytes: float
    """By each further picture."""
    api_accept: Coalesced
    """A request alone costs both; one of many at once only what each row costs."""
    api_poll: Coalesced
    worker_picture_s: float
    worker_task_s: float
    picture_bytes: float
    heard_s: float
    """Of a worker, for a task of somebody else's: it is told, and looks."""
    expired_per_s: Mapping[str, float]
    """Tasks of one picture, by where they are."""


def read_part(name: str) -> dict[str, dict[str, float]]:
    """What the last run of a part of bench/costs.py found."""
    found: dict[str, dict[str, float]] = json.loads(RESULTS.with_name("costs.json").read_text())[name]["found"]
    return found


def read_costs() -> Costs:
    """Of the last run of bench/costs.py."""
    s, server, beside, workers, expiring = map(read_part, ("statements", "server", "contention", "workers", "expiring"))

    def grouped(name: str, column: str = "cpu_s", *, whole: bool = False) -> Coalesced:
        """`whole`: what was measured is a statement of so many rows, and not the share of a row."""
        one, many = s[name.format(1)][column], s[name.format(GROUP)][column] * (1 if whole else GROUP)
        row = max(0.0, (many - one) / (GROUP - 1))
        return Coalesced(one - row, row)

    def requests(name: str, slow: int, fast: int) -> Coalesced:
        alone, together = (server[f"{name}, {rate} a second"]["api_cpu_s"] for rate in (slow, fast))
        return Coalesced(max(0.0, alone - together), together)

    nobody, ears = beside["notify, 0 listen"]["cpu_s"], beside["notify, 150 listen"]["cpu_s"]
    one, nine = server["one picture, 1k"], server["nine pictures, 1k"]
    picture_s = (nine["worker_cpu_s"] - one["worker_cpu_s"]) / 8
    kept = [s["kept in tasks"], s["kept in shots"]]
    few, more = (workers[f"{number} workers, 30 tasks a second"] for number in (1, 8))
    idle = [workers[f"{number} workers, 0 tasks a second"]["workers_cpu_s"] for number in (1, 8)]
    heard_s = ((more["workers_cpu_s"] - few["workers_cpu_s"]) - (idle[1] - idle[0])) / 7 / 30
    return Costs(
        accept=grouped("one picture: accept, {} at once"),
        claim=grouped("one picture: claim a batch, {} at once"),
        renew=grouped("renew leases, {} at once", whole=True),
        poll=grouped("poll, {} at once", whole=True),
        settle_s=s["one picture: settle a picture"]["cpu_s"],
        callback_s=s["callbacks: claim and end a message"]["cpu_s"],
        look_s=s["look for lost work"]["cpu_s"],
        nothing_due_s=s["claim, nothing due"]["cpu_s"],
        no_callbacks_s=s["claim callbacks, none due"]["cpu_s"],
        notify=Coalesced(nobody, max(0.0, ears - nobody) / 150),
        delete_s=s["delete a task of one picture"]["cpu_s"] + s["vacuum after it, for each task"]["cpu_s"],
        expire_s=s["mark a task expired"]["cpu_s"],
        accept_bytes=s[f"one picture: accept, {GROUP} at once"]["wal_bytes"],
        claim_bytes=s[f"one picture: claim a batch, {GROUP} at once"]["wal_bytes"],
        settle_bytes=s["one picture: settle a picture"]["wal_bytes"],
        renew_bytes=s["renew leases, 16 at once"]["wal_bytes"] / GROUP,
        delete_bytes=s["delete a task of one picture"]["wal_bytes"] + s["vacuum after it, for each task"]["wal_bytes"],
        expire_bytes=s["mark a task expired"]["wal_bytes"],
        kept_bytes=sum(one["heap_bytes"] + one["index_bytes"] for one in kept),
        shot_bytes=kept[1]["heap_bytes"] + kept[1]["index_bytes"],
        api_accept=requests("accept", 60, 600),
        api_poll=requests("poll", 120, 1200),
        worker_picture_s=picture_s,
        worker_task_s=max(0.0, one["worker_cpu_s"] - picture_s),
        picture_bytes=one["stored_bytes"],
        heard_s=max(0.0, heard_s),
        expired_per_s={name: one["tasks a second"] for name, one in expiring.items()},
    )


@dataclass(frozen=True, slots=True)
class Traffic:
    """What clients do. `sizes`: pictures of a task, with shares. Polls, waits (`?wait=60`) and callbacks are shares of
    the tasks whose clients have these habits."""

    images_per_day: float = 10e6
    sizes: tuple[tuple[int, float], ...] = ((1, 0.70), (3, 0.05), (4, 0.15), (9, 0.10))
    peak: float = 2.0
    """Of the busiest minute, over the day's mean."""
    polling: float = 0.60
    waiting: float = 0.20
    callbacks: float = 0.20
    poll_every_s: float = 2.0
    accounts: int = 1000
    heaviness: float = 1.1
    """Of Zipf's law of the accounts' shares."""

    @property
    def images(self) -> float:
        return sum(size * share for size, share in self.sizes)

    @property
    def tasks_per_s(self) -> float:
        return self.images_per_day / self.images / DAY_S


@dataclass(frozen=True, slots=True)
class Site:
    """What there is. Cores are of PostgreSQL's machine; `shared`, all processes share them, as on a small one."""

    postgres_cores: int = 16
    flush_s: float = 0.001
    """Of a write-ahead log on a disk of a cloud."""
    log_bytes_per_s: float = 250e6
    apis: int = 8
    workers: int = 16
    gpus: int = 1600
    paint_s: float = 8.0
    paint_spread: float = 0.25
    store_s: float = 0.05
    network_s: float = 0.0003
    """To PostgreSQL and back."""
    shared: bool = False
    client_s: float = 0.0
    """CPU of the client for a request, where it is on the same machine."""


def ears(site: Site) -> int:
    """Sessions that listen: of a worker process three, of an API process one."""
    return 3 * site.workers + site.apis


def demand(costs: Costs, traffic: Traffic, site: Site, *, rate: float = 1.0) -> dict[str, float]:
    """Cores of PostgreSQL at so many times the day's mean rate, by what they are for."""
    tasks = traffic.tasks_per_s * rate
    images = tasks * traffic.images
    painting = images * (site.paint_s + site.store_s)
    polls = tasks * (traffic.polling * (1 + site.paint_s / traffic.poll_every_s) + 3 * traffic.waiting)
    # each process's statements take some two milliseconds; those that come meanwhile share the next one
    offers, asks = (max(1.0, per_s / site.apis * 0.002) for per_s in (tasks, polls))
    looks = tasks / (1 + tasks * MISS_PAUSE_S)
    return {
        "accept": tasks * (costs.accept.each_s / offers + costs.accept.row_s),
        "claim": tasks * costs.claim.each_s + images * costs.claim.row_s,
        "settle": images * costs.settle_s,
        "leases": site.workers * costs.renew.each_s + painting * costs.renew.row_s,
        "polls": polls * (costs.poll.each_s / asks + costs.poll.row_s),
        "callbacks": 2 * tasks * traffic.callbacks * costs.callback_s,
        "notify": 2 * tasks * costs.notify.of(ears(site)),
        "hearing": site.workers * looks * (costs.no_callbacks_s + costs.nothing_due_s),
        "worker loops": site.workers * (costs.look_s + costs.nothing_due_s + 2 * costs.no_callbacks_s),
        "deletes": tasks * (costs.delete_s + costs.expire_s),
    }


def bytes_per_task(costs: Costs, traffic: Traffic, site: Site) -> dict[str, float]:
    """WAL, rows kept, and files."""
    more = traffic.images - 1
    writes = costs.accept_bytes + more * costs.shot_bytes
    each = costs.claim_bytes + costs.settle_bytes + costs.renew_bytes * site.paint_s
    return {
        "wal": writes + traffic.images * each + costs.expire_bytes + costs.delete_bytes,
        "kept": costs.kept_bytes + more * costs.shot_bytes,
        "files": traffic.images * costs.picture_bytes,
    }
