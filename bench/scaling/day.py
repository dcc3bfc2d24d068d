"""Simulates a whole day of a deployment: clients in several time zones, bursts, GPUs that fail, pools that are down.

One simulated image stands for SAMPLE_FACTOR images, and one simulated GPU for SAMPLE_FACTOR GPUs. Images wait only for
GPUs. The load of the database and of the processes is calculated from the costs of each step.
"""

import heapq
import math
import random
from collections import deque
from dataclasses import dataclass, field

from scaling.model import DAY_S, Costs, Deployment, Traffic, demand

ZONES = ((8.0, 0.60), (1.0, 0.20), (-6.0, 0.20))
"""Time zones with their shares of the clients: East Asia, Europe and America, in hours from UTC."""
BURSTS = 12
BURST_S = 600.0
BURST_SHARE = 0.3
"""The additional rate during a burst, relative to the mean rate: a campaign, or a script in a loop."""
SAMPLE_FACTOR, POOLS = 20, 4
POOLS_DOWN = 2
OUTAGE_HOURS = (7.0, 8.0)
"""The hours (UTC) in which half of the GPUs are down; they are the busiest hours."""
SLOW_STORAGE_HOURS = (13.0, 13.5)
SLOW_STORE_S = 6.0
MEAN_GPU_LIFE_S = 5 * DAY_S
ORPHANED_S = 5.0
"""The time until another worker claims the batches of a dead worker (docs/reliability.md)."""
SLICE_S = 300.0


@dataclass(slots=True)
class Slice:
    """Five minutes of the day. `ages` are the times that images waited before they were started, in seconds."""

    images: int = 0
    started: int = 0
    busy_s: float = 0.0
    ages: list[float] = field(default_factory=list)


@dataclass(slots=True)
class Day:
    """The results of a day. `recovery_h` are the hours from the end of each trouble until images wait as before."""

    slices: list[Slice]
    recovery_h: dict[str, float]
    ages: list[float]
    regenerated: int


def rate_at(hour: float) -> float:
    """Return the rate at an hour (UTC), relative to the day's mean rate."""
    return sum(share * _zone_rate((hour + zone) % 24) for zone, share in ZONES) / _MEAN


def _zone_rate(hour: float) -> float:
    """Return the relative rate of a time zone at its local hour; the lowest rate is at 4:00, the highest at 16:00."""
    return 0.1 + (1 - math.cos((hour - 4) / 24 * 2 * math.pi)) / 2


_MEAN = 1.0
_MEAN = sum(rate_at(minute / 60) for minute in range(24 * 60)) / (24 * 60)


def run_day(traffic: Traffic, deployment: Deployment, *, seed: int) -> Day:
    """Simulate two days, so that images which wait at midnight also end. Returns the slices of the first day."""
    random_source = random.Random(seed)
    arrivals = iter(_arrivals(traffic, random_source))
    free_gpus = [deployment.gpus // SAMPLE_FACTOR // POOLS] * POOLS
    waiting: deque[float] = deque()  # the time when each image was requested
    busy: list[tuple[float, int]] = []  # the time when a GPU becomes free, and its pool
    # The time when an orphaned image is due again, and the time when it was requested. The first entry is the end of
    # the outage: it makes the loop start waiting images at that time.
    due: list[tuple[float, float]] = [(OUTAGE_HOURS[1] * 3600, math.inf)]
    slices = [Slice() for _ in range(int(2 * DAY_S / SLICE_S))]
    regenerated = 0
    next_at, images = next(arrivals)
    while next_at < math.inf or waiting or busy:
        now = min(next_at, busy[0][0] if busy else math.inf, due[0][0] if due else math.inf)
        if now >= 2 * DAY_S:
            break
        if now == next_at:
            slices[int(now / SLICE_S)].images += images
            waiting.extend([now] * images)
            next_at, images = next(arrivals, (math.inf, 0))
        while busy and busy[0][0] <= now:
            free_gpus[heapq.heappop(busy)[1]] += 1
        while due and due[0][0] <= now:
            if (requested_at := heapq.heappop(due)[1]) < math.inf:
                waiting.appendleft(requested_at)
        while waiting and (pool := _free_pool(free_gpus, outage=_is_within(now, OUTAGE_HOURS))) is not None:
            requested_at = waiting.popleft()
            free_gpus[pool] -= 1
            spread = deployment.generation_spread
            seconds = deployment.generation_s * random_source.lognormvariate(-spread * spread / 2, spread)
            seconds += SLOW_STORE_S if _is_within(now, SLOW_STORAGE_HOURS) else deployment.store_s
            current = slices[int(now / SLICE_S)]
            if (
                random_source.random() < seconds / MEAN_GPU_LIFE_S
            ):  # the GPU fails half-way, and is replaced in a minute
                regenerated += 1
                heapq.heappush(due, (now + seconds / 2 + ORPHANED_S, requested_at))
                heapq.heappush(busy, (now + seconds / 2 + 60, pool))
                continue
            heapq.heappush(busy, (now + seconds, pool))
            current.started += 1
            current.busy_s += seconds
            current.ages.append(now - requested_at)
    ages = [age for part in slices for age in part.ages]
    return Day(slices[: int(DAY_S / SLICE_S)], _recovery_hours(slices), ages, regenerated * SAMPLE_FACTOR)


def _is_within(now: float, hours: tuple[float, float]) -> bool:
    return hours[0] * 3600 <= now < hours[1] * 3600


def _free_pool(free_gpus: list[int], *, outage: bool) -> int | None:
    """Return the pool with most free GPUs, or None if no GPU is free.

    During the outage, the first POOLS_DOWN pools start no image; they finish those that they generate.
    """
    best = max(range(POOLS_DOWN if outage else 0, len(free_gpus)), key=free_gpus.__getitem__)
    return best if free_gpus[best] > 0 else None


def _arrivals(traffic: Traffic, random_source: random.Random) -> list[tuple[float, int]]:
    """Return the times and the numbers of images of the day's simulated tasks."""
    sizes, shares = zip(*traffic.sizes, strict=True)
    mean = traffic.tasks_per_s / SAMPLE_FACTOR
    bursts = [random_source.uniform(0, DAY_S) for _ in range(BURSTS)]
    max_rate = mean * (2.2 + BURSTS * BURST_SHARE)
    arrivals, now = [], 0.0
    while now < DAY_S:
        now += random_source.expovariate(max_rate)
        rate = mean * (rate_at(now / 3600) + sum(BURST_SHARE for at in bursts if at <= now < at + BURST_S))
        if random_source.random() < rate / max_rate:
            arrivals.append((now, random_source.choices(sizes, shares)[0]))
    return arrivals


def _recovery_hours(slices: list[Slice]) -> dict[str, float]:
    """Return the hours from the end of each trouble until half of the started images have waited at most a second."""
    hours = {}
    for name, (_, end) in (("half of the GPUs down", OUTAGE_HOURS), ("slow storage", SLOW_STORAGE_HOURS)):
        first = int(end * 3600 / SLICE_S)
        recovered = next(n for n in range(first, len(slices)) if _median(slices[n].ages) <= 1.0)
        hours[name] = (recovered - first) * SLICE_S / 3600
    return hours


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2] if values else 0.0


def use_by_hour(day: Day, costs: Costs, traffic: Traffic, deployment: Deployment) -> list[dict[str, float]]:
    """Return for each hour: the requested images, the busy shares of GPUs and PostgreSQL, and the waiting times."""
    rows = []
    per_hour = int(3600 / SLICE_S)
    mean = traffic.images_per_day / DAY_S
    for hour in range(24):
        parts = day.slices[hour * per_hour : (hour + 1) * per_hour]
        started = sum(part.started for part in parts) * SAMPLE_FACTOR / 3600
        ages = sorted(age for part in parts for age in part.ages) or [0.0]
        needs = demand(costs, traffic, deployment, rate=started / mean)
        rows.append(
            {
                "hour": hour,
                "images per second": sum(part.images for part in parts) * SAMPLE_FACTOR / 3600,
                "GPUs busy": sum(part.busy_s for part in parts) * SAMPLE_FACTOR / 3600 / deployment.gpus,
                "postgres": sum(needs.values()) / deployment.postgres_cores,
                "age p50": ages[len(ages) // 2],
                "age p99": ages[len(ages) * 99 // 100],
            }
        )
    return rows
