"""How far it scales: ten million pictures a day, simulated with what bench/costs.py measured. `make bench NAME=scale`.

Prints tables, and writes bench/results/scale.json. The same seed gives the same figures, but for `reality`: it runs a
real `framehouse serve` beside a simulated one, and is run only when it is asked for: python bench/scale.py reality.
"""

import argparse
import json
import math
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any

from rich.console import Console
from rich.table import Table

from measuring.comparisons import RESULTS
from scaling import reality
from scaling.day import GRAIN, POOLS, run_day, use_by_hour
from scaling.model import DAY_S, Costs, Site, Traffic, bytes_per_task, demand, read_costs
from scaling.peak import Peak, told

SCALE = RESULTS.with_name("scale.json")
TEN_MILLION = Traffic()
BUSY, BUSIEST_HOUR = 0.8, 1.35
"""How busy painters are to be in the day's busiest hour, which has so many times the mean (scaling/day.py)."""
FULL = 0.7
"""Beyond that, what waits grows faster than what is done."""
Rows = list[dict[str, Any]]


def site_for(
    traffic: Traffic, *, paint_s: float = 8.0, per_worker: int = 64, times: float = BUSIEST_HOUR, **others: Any
) -> Site:
    """As many painters as so many times the mean need, so many of them behind each worker; API processes for the
    busiest minute; one database."""
    mean = traffic.images_per_day / DAY_S
    gpus = max(1, math.ceil(mean * times * paint_s / BUSY))
    workers = math.ceil(gpus / per_worker)
    apis = max(1, math.ceil(mean * traffic.peak / 60))
    return Site(gpus=gpus, workers=workers, apis=apis, paint_s=paint_s, **others)


def day(costs: Costs, seed: int) -> Rows:
    """Ten million pictures, by hour."""
    site = site_for(TEN_MILLION)
    site = replace(site, gpus=site.gpus // (GRAIN * POOLS) * GRAIN * POOLS)
    found = run_day(TEN_MILLION, site, seed=seed)
    rows: Rows = list(use_by_hour(found, costs, TEN_MILLION, site))
    ages = sorted(found.ages)
    print(f"    {site.gpus} painters, {site.workers} workers; {found.repainted:,} pictures of painters that died")
    print(
        f"    waiting for a painter, all day: p50 {ages[len(ages) // 2]:.1f} s, p99 {ages[len(ages) * 99 // 100]:.0f} s"
    )
    for name, hours in found.drained_h.items():
        print(f"    after {name}: {hours * 60:.0f} minutes until nobody waits")
    rows.append({"drained_h": found.drained_h, "repainted": found.repainted, "site": asdict(site)})
    return rows


def peaks(costs: Costs, seed: int) -> Rows:
    """The busiest minute, at more and more of it, with painters behind few workers or a worker to each."""
    rows: Rows = []
    for per_worker, times in (
        *((64, times) for times in (0.1, 1, 2, 3, 5, 10)),
        *((8, times) for times in (0.1, 1, 2, 3)),
        *((1, times) for times in (0.1, 0.5, 1)),
    ):
        traffic = replace(TEN_MILLION, images_per_day=TEN_MILLION.images_per_day * times)
        site = site_for(traffic, per_worker=per_worker, times=traffic.peak)  # painters are not what is short here
        rate = traffic.tasks_per_s * traffic.peak
        seconds = max(3.0, min(60.0, 3000 / rate))
        peak = Peak(costs, traffic, site, tasks_per_s=rate, seed=seed)
        seen = peak.run(seconds, warm_s=site.paint_s * 1.7)
        used = seen.used
        parts = sorted(((s, who) for who, s in used.items() if who.startswith("postgres: ")), reverse=True)
        rows.append(
            {
                "images a day": traffic.images_per_day,
                "painters": site.gpus,
                "workers": site.workers,
                "apis": site.apis,
                "postgres cores": used["postgres"],
                "log busy": used["log"],
                "WAL MB/s": used["log_bytes"] / 1e6,
                "api cores": used["api"],
                "worker cores": used["worker"],
                "painters busy": used["gpus"] / site.gpus,
                "accept p50 ms": told(seen.accept, 50) * 1000,
                "accept p99 ms": told(seen.accept, 99) * 1000,
                "poll p99 ms": told(seen.poll, 99) * 1000,
                "to a worker p99 ms": told(seen.waited, 99) * 1000,
                "most for": ", ".join(f"{who.removeprefix('postgres: ')} {s:.2g}" for s, who in parts[:3]),
            }
        )
        print(f"    {traffic.images_per_day:,.0f} a day, {site.workers} workers", flush=True)
    return rows


def breaks(costs: Costs, seed: int) -> Rows:
    """The images a day at which the busiest minute fills seven tenths of a part."""
    rows: Rows = []
    for per_worker in (64, 8, 1):
        for cores in (8, 32):
            told_ = f"PostgreSQL, {cores} cores, {per_worker} painter{'s' * (per_worker > 1)} to a worker"
            rows.append({"what": told_, "full at": _where(partial(_postgres, costs, per_worker), FULL * cores)})
    rows.append(
        {
            "what": "PostgreSQL, 32 cores, 64 painters to a worker, without notifications and what they wake",
            "full at": _where(partial(_postgres, costs, 64, deaf=True), FULL * 32),
        }
    )
    traffic, site = _at(10e6, 64)
    a_minute = DAY_S / traffic.peak * FULL
    wal = bytes_per_task(costs, traffic, site)["wal"] / traffic.images
    rows.append({"what": "a disk that takes 250 MB of WAL a second", "full at": 250e6 / wal * a_minute})
    for flush_ms in (1, 5):
        # the end of a task holds it for a flush, and so does, for several at once, an accept
        held_s = 1.5 * (flush_ms / 1000 + costs.settle_s + site.network_s)
        rows.append(
            {"what": f"one account alone, a flush takes {flush_ms} ms", "full at": traffic.images / held_s * a_minute}
        )
    for name, told_ in (("a folder", "a folder"), ("a bucket", "a bucket, 30 ms to each answer")):
        per_s = costs.expired_per_s[name] / (1 if name == "a folder" else (1 + traffic.images) / 2)
        rows.append({"what": f"removing pictures, {told_}", "full at": per_s * traffic.images * DAY_S})
    return rows


def _postgres(costs: Costs, per_worker: int, images_per_day: float, *, deaf: bool = False) -> float:
    """Cores, in the busiest minute."""
    traffic, site = _at(images_per_day, per_worker)
    needs = demand(costs, traffic, site, rate=traffic.peak)
    return sum(s for what, s in needs.items() if not deaf or what not in ("notify", "hearing"))


def _at(images_per_day: float, per_worker: int) -> tuple[Traffic, Site]:
    traffic = replace(TEN_MILLION, images_per_day=images_per_day)
    return traffic, site_for(traffic, per_worker=per_worker)


def _where(use: Callable[[float], float], reach: float) -> float:
    """The images a day at which it is reached."""
    low, high = 1e3, 1e11
    while high / low > 1.01:
        middle = (low * high) ** 0.5
        low, high = (middle, high) if use(middle) < reach else (low, middle)
    return low


def sizes(costs: Costs, seed: int) -> Rows:
    """What to buy."""
    rows: Rows = []
    for images in (1e5, 1e6, 1e7):
        traffic, site = _at(images, 64)
        each = bytes_per_task(costs, traffic, site)
        tasks = images / traffic.images
        rows.append(
            {
                "images a day": images,
                "tasks a second, mean": traffic.tasks_per_s,
                "images a second, peak": images / DAY_S * traffic.peak,
                "postgres cores, peak": sum(demand(costs, traffic, site, rate=traffic.peak).values()),
                "WAL GB a day": tasks * each["wal"] / 1e9,
                "rows of 395 days GB": tasks * each["kept"] * 395 / 1e9,
                "rows deleted a day, millions": tasks * (1 + traffic.images) / 1e6,
                "delete core-minutes a day": tasks * costs.delete_s / 60,
                "bucket TB a day": tasks * each["files"] / 1e12,
                "bucket of 30 days TB": tasks * each["files"] * 30 / 1e12,
                "apis": site.apis,
                "worker cores, peak": traffic.peak
                * (
                    images / DAY_S * costs.worker_picture_s
                    + traffic.tasks_per_s * (costs.worker_task_s + site.workers * costs.heard_s)
                ),
                "workers": site.workers,
                "painters at 2 s": site_for(traffic, paint_s=2).gpus,
                "painters at 8 s": site.gpus,
                "painters at 30 s": site_for(traffic, paint_s=30).gpus,
            }
        )
    return rows


def against_reality(costs: Costs, seed: int) -> Rows:
    """This machine, simulated and real."""
    return [{"what": what} | found for what, found in reality.compare(costs, seed=seed).items()]


PARTS: dict[str, Callable[[Costs, int], Rows]] = {
    "day": day,
    "peaks": peaks,
    "breaks": breaks,
    "sizes": sizes,
    "reality": against_reality,
}


def print_rows(name: str, rows: Sequence[dict[str, Any]]) -> None:
    table = Table(title=name, box=None, pad_edge=False)
    columns = list(rows[0])
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        if row.keys() >= set(columns):
            table.add_row(
                *(
                    f"{v:,.3g}"
                    if isinstance(v, float) and v < 1000
                    else f"{v:,.0f}"
                    if isinstance(v, float)
                    else str(v)
                    for v in row.values()
                )
            )
    Console(width=220).print(table)


def main(names: Sequence[str], seed: int) -> None:
    costs = read_costs()
    for name in names:
        began = time.monotonic()
        rows = PARTS[name](costs, seed)
        print_rows(name, rows)
        print(f"    {time.monotonic() - began:.0f} s", flush=True)
        results = json.loads(SCALE.read_text()) if SCALE.exists() else {}
        SCALE.write_text(json.dumps(results | {name: rows}, indent=1) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []])
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started is ended
    main(given.parts or [name for name in PARTS if name != "reality"], given.seed)
