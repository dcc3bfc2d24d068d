"""A whole day of a site: tasks of all time zones, bursts, painters that die, pools that are away, a slow storage.

One simulated picture stands for many (GRAIN), and a painter for as many. What the day asks of the database and of the
processes is added up from what each step costs; only painters are scarce here, and what waits, waits for them.
"""

import heapq
import math
import random
from collections import deque
from dataclasses import dataclass, field

from scaling.model import DAY_S, Costs, Site, Traffic, demand

ZONES = ((8.0, 0.60), (1.0, 0.20), (-6.0, 0.20))
"""Hours from UTC, and shares: East Asia, Europe, America."""
BURSTS = 12
BURST_S = 600.0
BURST_SHARE = 0.3
"""Of the mean rate, on top of what there is: a campaign, a script that loops."""
GRAIN, POOLS = 20, 4
POOLS_AWAY = 2
AWAY = (7.0, 8.0)
"""Hours (UTC) in which half of the painters are away: the busiest."""
SLOW = (13.0, 13.5)
SLOW_STORE_S = 6.0
LIFE_OF_A_PAINTER_S = 5 * DAY_S
LOST_S = 5.0
"""Until what a dead worker held is somebody else's: docs/reliability.md."""
SLICE_S = 300.0


@dataclass(slots=True)
class Slice:
    """Five minutes."""

    images: int = 0
    started: int = 0
    busy_s: float = 0.0
    ages: list[float] = field(default_factory=list)


@dataclass(slots=True)
class Day:
    slices: list[Slice]
    drained_h: dict[str, float]
    """Hours from the end of each trouble until nobody waits any more than before it."""
    ages: list[float]
    repainted: int


def rate_at(hour: float) -> float:
    """Times the day's mean, by when people are awake."""
    return sum(share * _awake((hour + zone) % 24) for zone, share in ZONES) / _MEAN


def _awake(hour: float) -> float:
    """Of one zone: least at four in the morning, most at four in the afternoon."""
    return 0.1 + (1 - math.cos((hour - 4) / 24 * 2 * math.pi)) / 2


_MEAN = 1.0
_MEAN = sum(rate_at(minute / 60) for minute in range(24 * 60)) / (24 * 60)


def run_day(traffic: Traffic, site: Site, *, seed: int) -> Day:
    """See the module."""
    chance = random.Random(seed)
    arrivals = iter(_arrivals(traffic, chance))
    free = [site.gpus // GRAIN // POOLS] * POOLS
    waiting: deque[float] = deque()  # when each was asked for
    done: list[tuple[float, int]] = []  # when a painter is free again, and of which pool
    back: list[tuple[float, float]] = [
        (AWAY[1] * 3600, math.inf)
    ]  # when a lost picture is due again; the pool's return
    slices = [Slice() for _ in range(int(2 * DAY_S / SLICE_S))]
    repainted = 0
    next_at, images = next(arrivals)
    while next_at < math.inf or waiting or done:
        now = min(next_at, done[0][0] if done else math.inf, back[0][0] if back else math.inf)
        if now >= 2 * DAY_S:
            break
        if now == next_at:
            slices[int(now / SLICE_S)].images += images
            waiting.extend([now] * images)
            next_at, images = next(arrivals, (math.inf, 0))
        while done and done[0][0] <= now:
            free[heapq.heappop(done)[1]] += 1
        while back and back[0][0] <= now:
            if (asked_at := heapq.heappop(back)[1]) < math.inf:
                waiting.appendleft(asked_at)
        while waiting and (pool := _pool(free, away=_within(now, AWAY))) is not None:
            asked_at = waiting.popleft()
            free[pool] -= 1
            spread = site.paint_spread
            seconds = site.paint_s * chance.lognormvariate(-spread * spread / 2, spread)
            seconds += SLOW_STORE_S if _within(now, SLOW) else site.store_s
            one = slices[int(now / SLICE_S)]
            if chance.random() < seconds / LIFE_OF_A_PAINTER_S:  # it dies half-way; another stands there in a minute
                repainted += 1
                heapq.heappush(back, (now + seconds / 2 + LOST_S, asked_at))
                heapq.heappush(done, (now + seconds / 2 + 60, pool))
                continue
            heapq.heappush(done, (now + seconds, pool))
            one.started += 1
            one.busy_s += seconds
            one.ages.append(now - asked_at)
    ages = [age for one in slices for age in one.ages]
    return Day(slices[: int(DAY_S / SLICE_S)], _drained(slices), ages, repainted * GRAIN)


def _within(now: float, hours: tuple[float, float]) -> bool:
    return hours[0] * 3600 <= now < hours[1] * 3600


def _pool(free: list[int], *, away: bool) -> int | None:
    """The one with most room; the first ones are those that go away. What they have in hand they still finish."""
    best = max(range(POOLS_AWAY if away else 0, len(free)), key=free.__getitem__)
    return best if free[best] > 0 else None


def _arrivals(traffic: Traffic, chance: random.Random) -> list[tuple[float, int]]:
    """Times and pictures of the day's tasks, each a grain of them."""
    sizes, shares = zip(*traffic.sizes, strict=True)
    mean = traffic.tasks_per_s / GRAIN
    bursts = [chance.uniform(0, DAY_S) for _ in range(BURSTS)]
    most = mean * (2.2 + BURSTS * BURST_SHARE)
    found, now = [], 0.0
    while now < DAY_S:
        now += chance.expovariate(most)
        rate = mean * (rate_at(now / 3600) + sum(BURST_SHARE for at in bursts if at <= now < at + BURST_S))
        if chance.random() < rate / most:
            found.append((now, chance.choices(sizes, shares)[0]))
    return found


def _drained(slices: list[Slice]) -> dict[str, float]:
    """Hours after the end of each trouble until half of those who begin have waited no more than a second."""
    found = {}
    for name, (_, end) in (("half of the painters away", AWAY), ("a slow storage", SLOW)):
        first = int(end * 3600 / SLICE_S)
        calm = next(n for n in range(first, len(slices)) if _median(slices[n].ages) <= 1.0)
        found[name] = (calm - first) * SLICE_S / 3600
    return found


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2] if values else 0.0


def use_by_hour(day: Day, costs: Costs, traffic: Traffic, site: Site) -> list[dict[str, float]]:
    """Of each hour: what came in, what is busy of what there is, and how old what waited became."""
    found = []
    per_hour = int(3600 / SLICE_S)
    mean = traffic.images_per_day / DAY_S
    for hour in range(24):
        some = day.slices[hour * per_hour : (hour + 1) * per_hour]
        started = sum(one.started for one in some) * GRAIN / 3600
        ages = sorted(age for one in some for age in one.ages) or [0.0]
        needs = demand(costs, traffic, site, rate=started / mean)
        found.append(
            {
                "hour": hour,
                "images a second": sum(one.images for one in some) * GRAIN / 3600,
                "painters": sum(one.busy_s for one in some) * GRAIN / 3600 / site.gpus,
                "postgres": sum(needs.values()) / site.postgres_cores,
                "age p50": ages[len(ages) // 2],
                "age p99": ages[len(ages) * 99 // 100],
            }
        )
    return found
