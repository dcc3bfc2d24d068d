"""The figures of one process, for Prometheus. What is true for all processes alike is asked of the database instead
(entrypoints/api/metrics_endpoint.py).

No label comes from a caller: models and routes are the configuration's, all other values are ours.
"""

import time
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from types import TracebackType
from typing import get_args

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Histogram, Metric, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from framehouse.domain.errors import Broken, Declined, Failed, Unavailable, Unknown
from framehouse.domain.task import AcceptOutcome

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_HEAD_LINES = 2
_KINDS = tuple(kind.__name__.lower() for kind in (Declined, Broken, Unavailable, Unknown))
_SHORT = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_LONG = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 60, 120, 300, 600)

prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call] # a series more for each, for what Prometheus finds out by itself
OWN = CollectorRegistry()
"""All that this process counts."""
ProcessCollector(registry=OWN)

ACCEPTS = Counter(
    "framehouse_accepts", "Tasks that were offered to the database, by what became of them.", ["outcome"], registry=OWN
)
INTERNAL_ERRORS = Counter(
    "framehouse_internal_errors", "What broke that nobody expected; the log has its place.", registry=OWN
)
CLAIMS = Counter("framehouse_claims", "Batches that workers took on.", ["model"], registry=OWN)
FAILURES = Counter(
    "framehouse_batch_failures",
    "Batches that were not made: retry (later again), failed (their task with them).",
    ["model", "fate"],
    registry=OWN,
)
GENERATION_SECONDS = Histogram(
    "framehouse_generation_seconds",
    "Time that an engine took for one call, without finishing and storing.",
    ["model", "route"],
    registry=OWN,
    buckets=_LONG,
)
ENGINE_ERRORS = Counter(
    "framehouse_engine_errors",
    "Calls of engines that failed: declined, broken, unavailable, unknown.",
    ["model", "route", "kind"],
    registry=OWN,
)
IMAGES = Counter("framehouse_pictures", "Pictures that were made and kept.", ["model", "route"], registry=OWN)
FINISH_SECONDS = Histogram(
    "framehouse_finish_seconds",
    "Time to make a file of a painted picture: size, watermark, encoding.",
    registry=OWN,
    buckets=_SHORT,
)
STORAGE_SECONDS = Histogram(
    "framehouse_storage_seconds",
    "Time that the storage took, by operation.",
    ["operation"],
    registry=OWN,
    buckets=_SHORT,
)
STORAGE_ERRORS = Counter(
    "framehouse_storage_errors", "What the storage refused or did not answer.", ["operation"], registry=OWN
)
DELIVERIES = Counter(
    "framehouse_deliveries",
    "Tries to deliver a callback, by outcome: delivered, again, ended (nobody will try again).",
    ["outcome"],
    registry=OWN,
)
DELIVERY_SECONDS = Histogram(
    "framehouse_delivery_seconds", "Time that receivers of callbacks took to answer.", registry=OWN, buckets=_SHORT
)
LOST_BATCHES = Counter(
    "framehouse_lost_batches", "Batches that were taken from workers that died or hang.", registry=OWN
)


class _Requests(Collector):
    """Answers by operation and code, each with its times. The library's own counter and histogram take ten times as
    long, which is a percent of a poll."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, int], list[int]] = {}
        self._sums: dict[tuple[str, int], float] = {}

    def count(self, operation: str, code: int, took_s: float) -> None:
        """One answer of the API. `operation` is a name of ours, never a path."""
        what = operation, code
        try:
            self._counts[what][bisect_left(_SHORT, took_s)] += 1
            self._sums[what] += took_s
        except KeyError:
            self._counts[what], self._sums[what] = [0] * (len(_SHORT) + 1), 0.0
            self.count(operation, code, took_s)

    def collect(self) -> Iterator[Metric]:
        requests = CounterMetricFamily(
            "framehouse_requests",
            "Answered requests, by operation and by the contract's code (0: success).",
            labels=("operation", "code"),
        )
        times = HistogramMetricFamily(
            "framehouse_request_seconds",
            "Time to answer, by operation; wait_task is a get_task that waits for the end of its task.",
            labels=("operation",),
        )
        for (operation, code), counts in self._counts.items():
            requests.add_metric((operation, str(code)), sum(counts))
        for operation in dict.fromkeys(operation for operation, _ in self._counts):
            codes = [what for what in self._counts if what[0] == operation]
            reached = accumulate(map(sum, zip(*(self._counts[what] for what in codes), strict=True)))
            bounds = [*(str(float(bound)) for bound in _SHORT), "+Inf"]
            times.add_metric(
                (operation,),
                [(bound, float(count)) for bound, count in zip(bounds, reached, strict=True)],
                sum(self._sums[what] for what in codes),
            )
        yield requests
        yield times


_requests = _Requests()
OWN.register(_requests)
count_request = _requests.count


def begin_api() -> None:
    """Have the series of an API process from the start: a rate does not see the step from nothing to one."""
    for outcome in get_args(AcceptOutcome):
        ACCEPTS.labels(outcome)


def begin_worker(routes: Iterable[tuple[str, Sequence[str]]]) -> None:
    """As `begin_api`, for a worker with these models and their routes."""
    for model, names in routes:
        CLAIMS.labels(model)
        for fate in ("retry", "failed"):
            FAILURES.labels(model, fate)
        for route in names:
            GENERATION_SECONDS.labels(model, route)
            IMAGES.labels(model, route)
            for kind in _KINDS:
                ENGINE_ERRORS.labels(model, route, kind)
    for outcome in ("delivered", "again", "ended"):
        DELIVERIES.labels(outcome)


class EngineCall:
    """One call of an engine, as a context: how long it took where it was `whole`, or how it failed."""

    def __init__(self, model: str, route: str) -> None:
        self._names = (model, route)
        self._beside_s = 0.0
        self._whole = False
        self._began = time.perf_counter()

    @contextmanager
    def beside(self) -> Iterator[None]:
        """What is done in here is not the engine's."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self._beside_s += time.perf_counter() - began

    def whole(self) -> None:
        """All that was asked for came. Told at once: the task may have ended, and its work been stopped, before the
        call is closed."""
        self._whole = True
        GENERATION_SECONDS.labels(*self._names).observe(time.perf_counter() - self._began - self._beside_s)

    def __enter__(self) -> "EngineCall":
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _places: TracebackType | None) -> None:
        if isinstance(error, Failed) and not self._whole:
            ENGINE_ERRORS.labels(*self._names, type(error).__name__.lower()).inc()


def whole_text(process: str, *, shared: Iterable[Metric] = (), others: str = "") -> str:
    """As Prometheus reads them: the figures of this process, which is an `api` or a `worker`, those that all processes
    share, and the text of another process."""
    families = _families(generate_latest(_Gathered(process, shared)).decode())
    for name, lines in _families(others).items():
        families[name] = families[name] + lines[_HEAD_LINES:] if name in families else lines
    return "".join(line + "\n" for lines in families.values() for line in lines)


class _Gathered(CollectorRegistry):
    """What all share, and what this process counts, under its name."""

    def __init__(self, process: str, shared: Iterable[Metric]) -> None:
        super().__init__()
        self._process, self._shared = process, shared

    def collect(self) -> Iterator[Metric]:
        yield from self._shared
        for family in OWN.collect():
            for sample in family.samples:
                sample.labels["process"] = self._process
            yield family


def _families(text: str) -> dict[str, list[str]]:
    """The lines of each, by its name: first what it means and what it is, and then its series."""
    families: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in text.splitlines():
        if line.startswith("# HELP "):
            lines = families[line.split(" ", 3)[2]] = []
        lines.append(line)
    return families
