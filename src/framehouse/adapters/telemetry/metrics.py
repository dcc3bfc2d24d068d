"""The Prometheus metrics of one process.

The metrics of the entire deployment are read from the database (`entrypoints.api.metrics_endpoint`). No label value
comes from a request: models and routes are configured names, and all other values are constants.
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

# this call removes the `_created` series of each metric, because Prometheus does not need them to detect restarts
prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
PROCESS_REGISTRY = CollectorRegistry()
ProcessCollector(registry=PROCESS_REGISTRY)

ACCEPTS = Counter(
    "framehouse_accepts",
    "Tasks that were submitted to the database, by outcome.",
    ["outcome"],
    registry=PROCESS_REGISTRY,
)
INTERNAL_ERRORS = Counter(
    "framehouse_internal_errors", "Unexpected errors. The log contains their tracebacks.", registry=PROCESS_REGISTRY
)
CLAIMS = Counter("framehouse_claims", "Batches that workers claimed.", ["model"], registry=PROCESS_REGISTRY)
FAILURES = Counter(
    "framehouse_batch_failures",
    "Failed attempts to generate a batch, by outcome: retry (another attempt follows), failed (the task failed).",
    ["model", "outcome"],
    registry=PROCESS_REGISTRY,
)
GENERATION_SECONDS = Histogram(
    "framehouse_generation_seconds",
    "Duration of engine calls, excluding the time to finish and store the images.",
    ["model", "route"],
    registry=PROCESS_REGISTRY,
    buckets=_LONG,
)
ENGINE_ERRORS = Counter(
    "framehouse_engine_errors",
    "Failed engine calls, by kind of error: declined, broken, unavailable, unknown.",
    ["model", "route", "kind"],
    registry=PROCESS_REGISTRY,
)
IMAGES = Counter(
    "framehouse_images", "Images that were generated and saved.", ["model", "route"], registry=PROCESS_REGISTRY
)
FINISH_SECONDS = Histogram(
    "framehouse_finish_seconds",
    "Time to resize, watermark and encode a generated image.",
    registry=PROCESS_REGISTRY,
    buckets=_SHORT,
)
STORAGE_SECONDS = Histogram(
    "framehouse_storage_seconds",
    "Response time of the storage, by operation.",
    ["operation"],
    registry=PROCESS_REGISTRY,
    buckets=_SHORT,
)
STORAGE_ERRORS = Counter(
    "framehouse_storage_errors",
    "Failed storage operations, by operation.",
    ["operation"],
    registry=PROCESS_REGISTRY,
)
DELIVERIES = Counter(
    "framehouse_deliveries",
    "Attempts to deliver a callback, by outcome: delivered, again (another attempt follows), ended (no more attempts).",
    ["outcome"],
    registry=PROCESS_REGISTRY,
)
DELIVERY_SECONDS = Histogram(
    "framehouse_delivery_seconds", "Response time of callback receivers.", registry=PROCESS_REGISTRY, buckets=_SHORT
)
ORPHANED_BATCHES = Counter(
    "framehouse_orphaned_batches",
    "Batches that were requeued because their worker died or hung.",
    registry=PROCESS_REGISTRY,
)


class _Requests(Collector):
    """A collector that counts API responses by operation and code, and measures their durations by operation.

    This class replaces the counter and the histogram of prometheus_client, which are ten times slower and would
    account for 1% of the duration of a poll.
    """

    def __init__(self) -> None:
        self._counts: dict[tuple[str, int], list[int]] = {}
        self._sums: dict[tuple[str, int], float] = {}

    def count(self, operation: str, code: int, duration_s: float) -> None:
        """Count one response of the API. `operation` is the name of an endpoint, never a path."""
        key = operation, code
        try:
            self._counts[key][bisect_left(_SHORT, duration_s)] += 1
            self._sums[key] += duration_s
        except KeyError:
            self._counts[key], self._sums[key] = [0] * (len(_SHORT) + 1), 0.0
            self.count(operation, code, duration_s)

    def collect(self) -> Iterator[Metric]:
        requests = CounterMetricFamily(
            "framehouse_requests",
            "API responses, by operation and code. The code 0 means success.",
            labels=("operation", "code"),
        )
        times = HistogramMetricFamily(
            "framehouse_request_seconds",
            "Response time, by operation. wait_task is a get_task request that waits until the task ends.",
            labels=("operation",),
        )
        for (operation, code), counts in self._counts.items():
            requests.add_metric((operation, str(code)), sum(counts))
        for operation in dict.fromkeys(operation for operation, _ in self._counts):
            keys = [key for key in self._counts if key[0] == operation]
            cumulative = accumulate(map(sum, zip(*(self._counts[key] for key in keys), strict=True)))
            bounds = [*(str(float(bound)) for bound in _SHORT), "+Inf"]
            times.add_metric(
                (operation,),
                [(bound, float(count)) for bound, count in zip(bounds, cumulative, strict=True)],
                sum(self._sums[key] for key in keys),
            )
        yield requests
        yield times


_requests = _Requests()
PROCESS_REGISTRY.register(_requests)
count_request = _requests.count


def create_api_series() -> None:
    """Create the series of an API process with the value 0.

    Otherwise, the Prometheus function `rate` would ignore the first increment.
    """
    for outcome in get_args(AcceptOutcome):
        ACCEPTS.labels(outcome)


def create_worker_series(routes: Iterable[tuple[str, Sequence[str]]]) -> None:
    """Create the series of a worker with the value 0, for the same reason as in `create_api_series`.

    `routes` contains pairs of a model and the names of its routes.
    """
    for model, names in routes:
        CLAIMS.labels(model)
        for outcome in ("retry", "failed"):
            FAILURES.labels(model, outcome)
        for route in names:
            GENERATION_SECONDS.labels(model, route)
            IMAGES.labels(model, route)
            for kind in _KINDS:
                ENGINE_ERRORS.labels(model, route, kind)
    for outcome in ("delivered", "again", "ended"):
        DELIVERIES.labels(outcome)


class EngineCall:
    """A context manager that measures an engine call.

    It records the duration of a completed call, or the kind of error of a failed call.
    """

    def __init__(self, model: str, route: str) -> None:
        self._labels = (model, route)
        self._paused_s = 0.0
        self._completed = False
        self._started = time.perf_counter()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Exclude the duration of the `with` body from the duration of the call."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self._paused_s += time.perf_counter() - started

    def complete(self) -> None:
        """Record the duration of the call.

        Call this method after the engine has returned the last image and before this image is saved. Saving the last
        image can end the task. When the task ends, the worker cancels the engine call, so the duration might otherwise
        never be recorded.
        """
        self._completed = True
        GENERATION_SECONDS.labels(*self._labels).observe(time.perf_counter() - self._started - self._paused_s)

    def __enter__(self) -> "EngineCall":
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: TracebackType | None) -> None:
        if isinstance(error, Failed) and not self._completed:
            ENGINE_ERRORS.labels(*self._labels, type(error).__name__.lower()).inc()


def metrics_text(process: str, *, shared: Iterable[Metric] = (), other_process: str = "") -> str:
    """Return metrics in the Prometheus text format.

    The text contains the metrics of this process and the `shared` metrics of the deployment. `process` is `api` or
    `worker`. `other_process` is the metrics text of another process, which is merged into the result.
    """
    families = _families(generate_latest(_CombinedRegistry(process, shared)).decode())
    for name, lines in _families(other_process).items():
        families[name] = families[name] + lines[_HEAD_LINES:] if name in families else lines
    return "".join(line + "\n" for lines in families.values() for line in lines)


class _CombinedRegistry(CollectorRegistry):
    """A registry of the shared metrics and of this process's metrics.

    The registry adds the label `process` to the metrics of this process.
    """

    def __init__(self, process: str, shared: Iterable[Metric]) -> None:
        super().__init__()
        self._process, self._shared = process, shared

    def collect(self) -> Iterator[Metric]:
        yield from self._shared
        for family in PROCESS_REGISTRY.collect():
            for sample in family.samples:
                sample.labels["process"] = self._process
            yield family


def _families(text: str) -> dict[str, list[str]]:
    """Split metrics text by metric name. The lines of a metric are its HELP line, its TYPE line and its samples."""
    families: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in text.splitlines():
        if line.startswith("# HELP "):
            lines = families[line.split(" ", 3)[2]] = []
        lines.append(line)
    return families
