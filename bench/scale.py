"""Simulate ten million images per day with the costs that bench/costs.py has measured. `make bench NAME=scale`.

It prints tables, and writes them to bench/results/scale.json. The same seed gives the same figures, with one exception:
`reality` runs a real `framehouse serve` next to a simulated one. It runs only by name: python bench/scale.py reality.
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
from scaling.day import POOLS, SAMPLE_FACTOR, run_day, use_by_hour
from scaling.model import DAY_S, Costs, Deployment, Traffic, bytes_per_task, demand, read_costs
from scaling.peak import Peak, percentile_or_nan

SCALE = RESULTS.with_name("scale.json")
TEN_MILLION = Traffic()
BUSY, BUSIEST_HOUR = 0.8, 1.35
"""The busy share of the GPUs in the busiest hour, and the rate of that hour relative to the mean (scaling/day.py)."""
FULL = 0.7
"""The busy share of a part from which on its queue grows faster than it works."""
Rows = list[dict[str, Any]]


def deployment_for(
    traffic: Traffic,
    *,
    generation_s: float = 8.0,
    gpus_per_worker: int = 64,
    peak: float = BUSIEST_HOUR,
    **options: Any,
) -> Deployment:
    """Return a deployment with one database that can handle the traffic.

    It has enough GPUs for `peak` times the mean rate, and enough API processes for the busiest minute.
    """
    mean = traffic.images_per_day / DAY_S
    gpus = max(1, math.ceil(mean * peak * generation_s / BUSY))
    workers = math.ceil(gpus / gpus_per_worker)
    apis = max(1, math.ceil(mean * traffic.peak / 60))
    return Deployment(gpus=gpus, workers=workers, apis=apis, generation_s=generation_s, **options)


def day(costs: Costs, seed: int) -> Rows:
    """Simulate ten million images, hour by hour."""
    deployment = deployment_for(TEN_MILLION)
    deployment = replace(deployment, gpus=deployment.gpus // (SAMPLE_FACTOR * POOLS) * SAMPLE_FACTOR * POOLS)
    results = run_day(TEN_MILLION, deployment, seed=seed)
    rows: Rows = list(use_by_hour(results, costs, TEN_MILLION, deployment))
    ages = sorted(results.ages)
    print(
        f"    {deployment.gpus} GPUs, {deployment.workers} workers; "
        f"{results.regenerated:,} images regenerated because their GPU failed"
    )
    print(f"    waiting for a GPU, all day: p50 {ages[len(ages) // 2]:.1f} s, p99 {ages[len(ages) * 99 // 100]:.0f} s")
    for name, hours in results.recovery_h.items():
        print(f"    after {name}: {hours * 60:.0f} minutes until images wait as before")
    rows.append(
        {"recovery_h": results.recovery_h, "regenerated": results.regenerated, "deployment": asdict(deployment)}
    )
    return rows


def peaks(costs: Costs, seed: int) -> Rows:
    """Simulate the busiest minute with growing traffic, and with many or few GPUs per worker."""
    rows: Rows = []
    for gpus_per_worker, factor in (
        *((64, factor) for factor in (0.1, 1, 2, 3, 5, 10)),
        *((8, factor) for factor in (0.1, 1, 2, 3)),
        *((1, factor) for factor in (0.1, 0.5, 1)),
    ):
        traffic = replace(TEN_MILLION, images_per_day=TEN_MILLION.images_per_day * factor)
        # enough GPUs for the busiest minute, so that they are not the bottleneck
        deployment = deployment_for(traffic, gpus_per_worker=gpus_per_worker, peak=traffic.peak)
        rate = traffic.tasks_per_s * traffic.peak
        seconds = max(3.0, min(60.0, 3000 / rate))
        peak = Peak(costs, traffic, deployment, tasks_per_s=rate, seed=seed)
        results = peak.run(seconds, warm_up_s=deployment.generation_s * 1.7)
        usage = results.usage
        purposes = sorted(((s, name) for name, s in usage.items() if name.startswith("postgres: ")), reverse=True)
        rows.append(
            {
                "images per day": traffic.images_per_day,
                "GPUs": deployment.gpus,
                "workers": deployment.workers,
                "apis": deployment.apis,
                "postgres cores": usage["postgres"],
                "log busy": usage["log"],
                "WAL MB/s": usage["log_bytes"] / 1e6,
                "api cores": usage["api"],
                "worker cores": usage["worker"],
                "GPUs busy": usage["gpus"] / deployment.gpus,
                "accept p50 ms": percentile_or_nan(results.accept, 50) * 1000,
                "accept p99 ms": percentile_or_nan(results.accept, 99) * 1000,
                "poll p99 ms": percentile_or_nan(results.poll, 99) * 1000,
                "claim wait p99 ms": percentile_or_nan(results.claim_wait, 99) * 1000,
                "postgres mainly for": ", ".join(
                    f"{name.removeprefix('postgres: ')} {s:.2g}" for s, name in purposes[:3]
                ),
            }
        )
        print(f"    {traffic.images_per_day:,.0f} per day, {deployment.workers} workers", flush=True)
    return rows


def breaks(costs: Costs, seed: int) -> Rows:
    """Calculate the images per day at which the busiest minute uses seven tenths of the capacity of each part."""
    rows: Rows = []
    full_at = "full at images per day"
    for gpus_per_worker in (64, 8, 1):
        for cores in (8, 32):
            part = f"PostgreSQL, {cores} cores, {gpus_per_worker} GPU{'s' * (gpus_per_worker > 1)} per worker"
            cores_used = partial(_postgres_cores, costs, gpus_per_worker)
            rows.append({"part": part, full_at: _images_per_day_at(cores_used, FULL * cores)})
    without_notifications = partial(_postgres_cores, costs, 64, notifications=False)
    rows.append(
        {
            "part": "PostgreSQL, 32 cores, 64 GPUs per worker, without notifications and their wake-ups",
            full_at: _images_per_day_at(without_notifications, FULL * 32),
        }
    )
    traffic, deployment = _traffic_and_deployment(10e6, 64)
    day_factor = DAY_S / traffic.peak * FULL  # from a capacity in images per second to images per day
    wal = bytes_per_task(costs, traffic, deployment)["wal"] / traffic.images
    rows.append({"part": "a disk that takes 250 MB of WAL per second", full_at: 250e6 / wal * day_factor})
    for flush_ms in (1, 5):
        # The end of a task locks the account's row for a flush. An accept does so for several tasks together.
        locked_s = 1.5 * (flush_ms / 1000 + costs.settle_s + deployment.network_s)
        rows.append(
            {
                "part": f"a single account, a flush takes {flush_ms} ms",
                full_at: traffic.images / locked_s * day_factor,
            }
        )
    for name, description in (("a folder", "a folder"), ("a bucket", "a bucket that answers in 30 ms")):
        per_s = costs.expired_per_s[name] / (1 if name == "a folder" else (1 + traffic.images) / 2)
        rows.append({"part": f"removing expired images, {description}", full_at: per_s * traffic.images * DAY_S})
    return rows


def _postgres_cores(costs: Costs, gpus_per_worker: int, images_per_day: float, *, notifications: bool = True) -> float:
    """Return the busy cores of PostgreSQL in the busiest minute."""
    traffic, deployment = _traffic_and_deployment(images_per_day, gpus_per_worker)
    needs = demand(costs, traffic, deployment, rate=traffic.peak)
    return sum(s for purpose, s in needs.items() if notifications or purpose not in ("notify", "wake-ups"))


def _traffic_and_deployment(images_per_day: float, gpus_per_worker: int) -> tuple[Traffic, Deployment]:
    traffic = replace(TEN_MILLION, images_per_day=images_per_day)
    return traffic, deployment_for(traffic, gpus_per_worker=gpus_per_worker)


def _images_per_day_at(usage: Callable[[float], float], limit: float) -> float:
    """Return the images per day at which the usage reaches the limit."""
    low, high = 1e3, 1e11
    while high / low > 1.01:
        middle = (low * high) ** 0.5
        low, high = (middle, high) if usage(middle) < limit else (low, middle)
    return low


def sizes(costs: Costs, seed: int) -> Rows:
    """Calculate the hardware for different amounts of traffic."""
    rows: Rows = []
    for images in (1e5, 1e6, 1e7):
        traffic, deployment = _traffic_and_deployment(images, 64)
        task_bytes = bytes_per_task(costs, traffic, deployment)
        tasks = images / traffic.images
        rows.append(
            {
                "images per day": images,
                "mean tasks per second": traffic.tasks_per_s,
                "peak images per second": images / DAY_S * traffic.peak,
                "peak postgres cores": sum(demand(costs, traffic, deployment, rate=traffic.peak).values()),
                "WAL GB per day": tasks * task_bytes["wal"] / 1e9,
                "rows of 395 days GB": tasks * task_bytes["rows"] * 395 / 1e9,
                "million rows deleted per day": tasks * (1 + traffic.images) / 1e6,
                "core minutes of deletes per day": tasks * costs.delete_s / 60,
                "bucket TB per day": tasks * task_bytes["files"] / 1e12,
                "bucket of 30 days TB": tasks * task_bytes["files"] * 30 / 1e12,
                "apis": deployment.apis,
                "peak worker cores": traffic.peak
                * (
                    images / DAY_S * costs.worker_image_s
                    + traffic.tasks_per_s * (costs.worker_task_s + deployment.workers * costs.wakeup_s)
                ),
                "workers": deployment.workers,
                "GPUs at 2 s": deployment_for(traffic, generation_s=2).gpus,
                "GPUs at 8 s": deployment.gpus,
                "GPUs at 30 s": deployment_for(traffic, generation_s=30).gpus,
            }
        )
    return rows


def compare_with_reality(costs: Costs, seed: int) -> Rows:
    """Compare the simulation of this machine with measurements on this machine."""
    return [{"measurement": name} | values for name, values in reality.compare(costs, seed=seed).items()]


PARTS: dict[str, Callable[[Costs, int], Rows]] = {
    "day": day,
    "peaks": peaks,
    "breaks": breaks,
    "sizes": sizes,
    "reality": compare_with_reality,
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
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that context managers stop the started processes
    main(arguments.parts or [name for name in PARTS if name != "reality"], arguments.seed)
