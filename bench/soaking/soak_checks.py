"""The checks of the soak test: each compares a measurement of the run with its limit."""

import os
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from soaking.process_usage import GROUPS, Sample
from soaking.traffic import Observations

FIFTHS = 5
_MAX_GROWTH_MB, _MAX_GROWTH_SHARE = 8.0, 0.05
_MAX_GROWTH_PER_PROCESS_MB = {"checkers": 2.0, "postgres": 1.0}
"""The limits for groups whose number of processes changes: the mean memory of their processes is checked."""
_MAX_NEW_THREADS = 4
_MAX_LATENCY_RATIO, _LATENCY_TOLERANCE_MS = 1.3, 3.0
_MAX_OTHER_CPU_SHARE = 0.25
"""If other programs use a larger share of the machine, latencies are not checked."""
_CHECKED_REQUESTS = ("accept", "poll")


@dataclass
class Run:
    """The measurements of a run. `before` and `after` are samples of the idle server: after the first fifth and at the
    end. `idle_s` is the idle time after the first fifth."""

    began: float
    fifth_s: float
    idle_s: float
    samples: Sequence[Sample]
    before: Sample
    after: Sample
    observations: Observations
    facts: dict[str, Any]

    def fifth(self, at: float) -> int:
        """Return the fifth of the load to which a time belongs, from 0; -1 for the idle time after the first fifth."""
        elapsed_s = at - self.began
        if elapsed_s < self.fifth_s:
            return 0
        elapsed_s -= self.idle_s
        return int(elapsed_s / self.fifth_s) if elapsed_s >= self.fifth_s else -1


@dataclass
class Check:
    """One row of the table."""

    name: str
    result: str
    limit: str
    passed: bool


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Return the median of the slopes between all pairs of points (Theil–Sen): outliers do not change it."""
    points = points[:: max(1, len(points) // 300)]
    pairs = [(a, b) for index, a in enumerate(points) for b in points[index + 1 :] if b[0] > a[0]]
    return statistics.median((b[1] - a[1]) / (b[0] - a[0]) for a, b in pairs) if pairs else 0.0


def evaluate(run: Run) -> tuple[list[Check], dict[str, Any]]:
    """Return the checks, and the figures for the file of results."""
    memory, memory_figures = _memory(run)
    latency, latency_figures = _latency(run)
    figures = {
        "tasks": run.facts["tasks"],
        "images": run.facts["images"],
        "scenarios": dict(sorted(run.observations.scenarios.items())),
        "memory": memory_figures,
        "latency_ms": latency_figures,
        "idle": {"before": _usage_figures(run.before), "after": _usage_figures(run.after)},
        "cpu_share": _cpu(run),
    }
    return [*memory, *_leaks(run), *latency, *_consistency(run)], figures


def _memory(run: Run) -> tuple[list[Check], dict[str, Any]]:
    checks, figures = [], {}
    loaded = [sample for sample in run.samples if 1 <= run.fifth(sample.at) < FIFTHS]
    span_s = loaded[-1].at - loaded[0].at
    thousands = max(1, sum(run.facts["tasks_by_fifth"][1:])) / 1000
    for group in GROUPS:
        points = [(sample.at, _megabytes(sample, group)) for sample in loaded]
        median, growth = statistics.median(mb for _, mb in points), slope(points) * span_s
        idle_growth = _megabytes(run.after, group) - _megabytes(run.before, group)
        limit = max(_MAX_GROWTH_PER_PROCESS_MB.get(group, _MAX_GROWTH_MB), _MAX_GROWTH_SHARE * median)
        figures[group] = {
            "median_mb": round(median, 1),
            "max_mb": round(max(mb for _, mb in points), 1),
            "growth_mb": round(growth, 2),
            "growth_idle_mb": round(idle_growth, 2),
            "growth_mb_per_1000_tasks": round(growth / thousands, 2),
            "growth_mb_per_hour": round(3600 * growth / span_s, 1),
            "mb_by_half_minute": [round(_megabytes(sample, group)) for sample in run.samples[::15]],
        }
        result = f"{median:.0f} MB; {growth:+.1f} under load ({growth / thousands:+.1f} per 1000 tasks), "
        result += f"{idle_growth:+.1f} when idle"
        name = f"memory per process: {group}" if group in _MAX_GROWTH_PER_PROCESS_MB else f"memory: {group}"
        checks.append(Check(name, result, f"{limit:.0f} MB more", max(growth, idle_growth) <= limit))
    return checks, figures


def _megabytes(sample: Sample, group: str) -> float:
    usage = sample.usage[group]
    return usage.memory_mb / max(1, usage.processes) if group in _MAX_GROWTH_PER_PROCESS_MB else usage.memory_mb


def _usage_figures(sample: Sample) -> dict[str, Any]:
    groups = {
        name: {"processes": usage.processes, "threads": usage.threads, "files": dict(sorted(usage.files.items()))}
        for name, usage in sample.usage.items()
    }
    return groups | {"connections": sample.connections}


def _leaks(run: Run) -> list[Check]:
    """Compare the usage of the idle server before and after.

    Pools close unneeded connections after minutes. Therefore, sockets are counted without the connections to
    PostgreSQL. A thread pool may start its last threads late, so a few new threads are allowed.
    """
    checks = []
    before, after = run.before, run.after
    for group in ("supervisor", "api", "worker", "checkers"):
        old, new = before.usage[group], after.usage[group]
        for kind in sorted(old.files.keys() | new.files.keys()):
            if kind == "socket":
                continue
            result = f"{old.files[kind]} before, {new.files[kind]} after"
            checks.append(Check(f"{kind}s: {group}", result, "no more", new.files[kind] <= old.files[kind]))
        checks.append(
            Check(
                f"threads: {group}",
                f"{old.threads} before, {new.threads} after",
                f"{_MAX_NEW_THREADS} more",
                new.threads <= old.threads + _MAX_NEW_THREADS,
            )
        )
    sockets = [
        sum(sample.usage[group].files["socket"] for group in ("api", "worker")) - sum(sample.connections.values())
        for sample in (before, after)
    ]
    result = f"{sockets[0]} before, {sockets[1]} after"
    checks.append(Check("sockets without those to PostgreSQL", result, "no more", sockets[1] <= sockets[0]))
    states = [", ".join(f"{number} {state}" for state, number in s.connections.items()) for s in (before, after)]
    limit = run.facts["max_connections"]
    passed = set(after.connections) <= {"idle"} and sum(after.connections.values()) <= limit
    result = f"{states[0]} before, {states[1]} after"
    checks.append(Check("connections of PostgreSQL", result, f"idle, at most {limit}", passed))
    checks.append(Check("temporary files", ", ".join(after.left_over[:3]) or "none", "none", not after.left_over))
    return checks


def _latency(run: Run) -> tuple[list[Check], dict[str, Any]]:
    checks, figures = [], {}
    others = [_other_cpu_share(run, fifth) for fifth in range(FIFTHS)]
    times = run.observations.times
    for kind in sorted({kind for _, kind, _ in times}):
        fifths = [[ms for at, k, ms in times if k == kind and run.fifth(at) == n] for n in range(FIFTHS)]
        if min(len(fifth) for fifth in fifths) < 2:
            continue
        p50, p99 = ([statistics.quantiles(fifth, n=100)[p - 1] for fifth in fifths] for p in (50, 99))
        figures[kind] = {"p50": [round(ms, 1) for ms in p50], "p99": [round(ms, 1) for ms in p99]}
        if kind in _CHECKED_REQUESTS:
            limit = _MAX_LATENCY_RATIO * p50[1] + _LATENCY_TOLERANCE_MS
            result = f"p50 {p50[1]:.1f}, later {p50[-1]:.1f} ms; p99 {p99[1]:.0f}, later {p99[-1]:.0f} ms"
            if crowded := max(others[1], others[-1]) > _MAX_OTHER_CPU_SHARE:
                result += f" (not checked: other programs used {others[1]:.0%}, later {others[-1]:.0%} of the machine)"
            checks.append(Check(f"latency: {kind}", result, f"p50 {limit:.1f} ms", crowded or p50[-1] <= limit))
    figures["other programs"] = {"share of the machine": [round(share, 2) for share in others]}
    return checks, figures


def _other_cpu_share(run: Run, fifth: int) -> float:
    """Return the share of the machine's CPU time that other programs used during a fifth, from 0 to 1."""
    samples = [sample for sample in run.samples if run.fifth(sample.at) == fifth]
    if len(samples) < 2:
        return 0.0
    span_s = samples[-1].at - samples[0].at
    return (samples[-1].other_cpu_s - samples[0].other_cpu_s) / span_s / (os.cpu_count() or 1)


def _cpu(run: Run) -> dict[str, float]:
    """Return the CPU usage of each group under load, as a share of one core."""
    loaded = [sample for sample in run.samples if 1 <= run.fifth(sample.at) < FIFTHS]
    span_s = loaded[-1].at - loaded[0].at
    shares = {group: (loaded[-1].usage[group].cpu_s - loaded[0].usage[group].cpu_s) / span_s for group in GROUPS}
    return {group: round(share, 3) for group, share in shares.items()}


def _consistency(run: Run) -> list[Check]:
    facts, wrong = run.facts, run.observations.wrong_answers
    result = "; ".join(f"{number} x {error}" for error, number in wrong.most_common(3))[:100]
    checks = [Check("wrong answers", result or "none", "none", not wrong)]
    names = {
        "open": "tasks that did not end", "lost": "accepted tasks that do not exist",
        "in_flight": "images in flight at the end", "reserved": "units reserved at the end",
        "mischarged": "tasks with wrong charges", "batches": "remaining batches",
        "elements_open": "elements that did not end", "callbacks_missing": "callbacks that did not arrive",
        "callbacks_disordered": "duplicate or unordered callbacks",
        "files_without_row": "stored images without a row", "rows_without_file": "images that are not stored",
        "restarts": "restarted processes",
        "errors_logged": "errors and tracebacks in the log",
    }  # fmt: skip
    checks += [Check(name, str(facts[fact]), "0", facts[fact] == 0) for fact, name in names.items()]
    return checks


def table(checks: Sequence[Check]) -> str:
    """Return the checks as a text table. Failed checks are marked."""
    columns = zip(*((check.name, check.result, check.limit) for check in checks), strict=True)
    width = [max(len(text) for text in column) for column in columns]
    return "\n".join(
        f"{check.name:{width[0]}}  {check.result:{width[1]}}  {check.limit:{width[2]}}  "
        f"{'ok' if check.passed else 'FAILED'}"
        for check in checks
    )


def count_by_fifth(run: Run, times: Sequence[float]) -> list[int]:
    """Return how many of these times belong to each fifth."""
    counts = Counter(run.fifth(at) for at in times)
    return [counts[fifth] for fifth in range(FIFTHS)]
