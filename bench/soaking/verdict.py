"""From what was watched to a table: each promise with its figures, its bound, and whether it was kept."""

import os
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from soaking.traffic import Seen
from soaking.watch import GROUPS, Sample

FIFTHS = 5
_MEMORY_MB, _MEMORY_SHARE = 8.0, 0.05
_MANY = {"checkers": 2.0, "postgres": 1.0}
"""Groups whose processes come and go: the mean of a process is judged, and may grow by so many MB."""
_THREADS = 4
_LATENCY, _SLACK_MS = 1.3, 3.0
_CROWDED = 0.25
"""Where strangers had so much of the machine, what took long says nothing of the server."""
_JUDGED = ("accept", "poll")


@dataclass
class Run:
    """All that was seen. `before` and `after` are samples at rest, after the first fifth and at the end."""

    began: float
    fifth_s: float
    rest_s: float
    samples: Sequence[Sample]
    before: Sample
    after: Sample
    seen: Seen
    facts: dict[str, Any]

    def fifth(self, at: float) -> int:
        """Which fifth of the load a moment belongs to; the rest after the first one counts to none."""
        passed = at - self.began
        if passed < self.fifth_s:
            return 0
        passed -= self.rest_s
        return int(passed / self.fifth_s) if passed >= self.fifth_s else -1


@dataclass
class Row:
    """One line of the table."""

    what: str
    found: str
    bound: str
    kept: bool


def slope(points: Sequence[tuple[float, float]]) -> float:
    """The median of the slopes between all pairs: a burst here and there does not bend it (Theil and Sen)."""
    points = points[:: max(1, len(points) // 300)]
    pairs = [(a, b) for index, a in enumerate(points) for b in points[index + 1 :] if b[0] > a[0]]
    return statistics.median((b[1] - a[1]) / (b[0] - a[0]) for a, b in pairs) if pairs else 0.0


def judge(run: Run) -> tuple[list[Row], dict[str, Any]]:
    """The table, and the figures to be kept."""
    memory, memory_figures = _memory(run)
    latency, latency_figures = _latency(run)
    figures = {
        "tasks": run.facts["tasks"],
        "images": run.facts["images"],
        "habits": dict(sorted(run.seen.habits.items())),
        "memory": memory_figures,
        "latency_ms": latency_figures,
        "at_rest": {"before": _at_rest(run.before), "after": _at_rest(run.after)},
        "cpu_share": _cpu(run),
    }
    return [*memory, *_rest(run), *latency, *_end(run)], figures


def _memory(run: Run) -> tuple[list[Row], dict[str, Any]]:
    rows, figures = [], {}
    late = [sample for sample in run.samples if 1 <= run.fifth(sample.at) < FIFTHS]
    span_s = late[-1].at - late[0].at
    thousands = max(1, sum(run.facts["tasks_by_fifth"][1:])) / 1000
    for name in GROUPS:
        points = [(sample.at, _megabytes(sample, name)) for sample in late]
        usual, grown = statistics.median(mb for _, mb in points), slope(points) * span_s
        rest = _megabytes(run.after, name) - _megabytes(run.before, name)
        bound = max(_MANY.get(name, _MEMORY_MB), _MEMORY_SHARE * usual)
        figures[name] = {
            "median_mb": round(usual, 1),
            "highest_mb": round(max(mb for _, mb in points), 1),
            "growth_mb": round(grown, 2),
            "growth_at_rest_mb": round(rest, 2),
            "growth_mb_per_1000_tasks": round(grown / thousands, 2),
            "growth_mb_per_hour": round(3600 * grown / span_s, 1),
            "mb_by_half_minute": [round(_megabytes(sample, name)) for sample in run.samples[::15]],
        }
        told = f"{usual:.0f} MB; {grown:+.1f} under load ({grown / thousands:+.1f} per 1000 tasks), {rest:+.1f} at rest"
        what = f"memory of one: {name}" if name in _MANY else f"memory: {name}"
        rows.append(Row(what, told, f"{bound:.0f} MB more", max(grown, rest) <= bound))
    return rows, figures


def _megabytes(sample: Sample, name: str) -> float:
    use = sample.uses[name]
    return use.memory_mb / max(1, use.processes) if name in _MANY else use.memory_mb


def _at_rest(sample: Sample) -> dict[str, Any]:
    uses = {
        name: {"processes": use.processes, "threads": use.threads, "files": dict(sorted(use.files.items()))}
        for name, use in sample.uses.items()
    }
    return uses | {"connections": sample.connections}


def _rest(run: Run) -> list[Row]:
    """What is in use when nothing is to be done. Pools close what they do not need after minutes, so as many sockets
    may be missing or more as there are connections to Postgres, and a thread pool may have got its last threads."""
    rows = []
    before, after = run.before, run.after
    for name in ("supervisor", "api", "worker", "checkers"):
        was, now = before.uses[name], after.uses[name]
        for kind in sorted(was.files.keys() | now.files.keys()):
            most = was.files[kind]
            if kind == "socket":
                continue
            rows.append(
                Row(f"{kind}s: {name}", f"{most} before, {now.files[kind]} after", "as before", now.files[kind] <= most)
            )
        rows.append(
            Row(
                f"threads: {name}",
                f"{was.threads} before, {now.threads} after",
                f"{_THREADS} more",
                now.threads <= was.threads + _THREADS,
            )
        )
    sockets = [
        sum(sample.uses[name].files["socket"] for name in ("api", "worker")) - sum(sample.connections.values())
        for sample in (before, after)
    ]
    told = f"{sockets[0]} before, {sockets[1]} after"
    rows.append(Row("sockets that are not Postgres'", told, "as before", sockets[1] <= sockets[0]))
    states = [", ".join(f"{many} {state}" for state, many in s.connections.items()) for s in (before, after)]
    most = run.facts["most_connections"]
    kept = set(after.connections) <= {"idle"} and sum(after.connections.values()) <= most
    rows.append(Row("Postgres' connections", f"{states[0]} before, {states[1]} after", f"idle, {most} at most", kept))
    rows.append(Row("temporary files", ", ".join(after.left_over[:3]) or "none", "none", not after.left_over))
    return rows


def _latency(run: Run) -> tuple[list[Row], dict[str, Any]]:
    rows, figures = [], {}
    others = [_others(run, fifth) for fifth in range(FIFTHS)]
    for what in sorted({what for _, what, _ in run.seen.times}):
        fifths = [[ms for at, w, ms in run.seen.times if w == what and run.fifth(at) == n] for n in range(FIFTHS)]
        if min(len(times) for times in fifths) < 2:
            continue
        p50, p99 = ([statistics.quantiles(times, n=100)[p - 1] for times in fifths] for p in (50, 99))
        figures[what] = {"p50": [round(ms, 1) for ms in p50], "p99": [round(ms, 1) for ms in p99]}
        if what in _JUDGED:
            bound = _LATENCY * p50[1] + _SLACK_MS
            told = f"p50 {p50[1]:.1f} then {p50[-1]:.1f} ms, p99 {p99[1]:.0f} then {p99[-1]:.0f} ms"
            if crowded := max(others[1], others[-1]) > _CROWDED:
                told += f" (not judged: strangers had {others[1]:.0%} then {others[-1]:.0%} of the machine)"
            rows.append(Row(f"latency: {what}", told, f"p50 {bound:.1f} ms", crowded or p50[-1] <= bound))
    figures["strangers' share"] = {"of the machine": [round(share, 2) for share in others]}
    return rows, figures


def _others(run: Run, fifth: int) -> float:
    """How much of the machine strangers had, from 0 to 1."""
    samples = [sample for sample in run.samples if run.fifth(sample.at) == fifth]
    if len(samples) < 2:
        return 0.0
    span_s = samples[-1].at - samples[0].at
    return (samples[-1].others_s - samples[0].others_s) / span_s / (os.cpu_count() or 1)


def _cpu(run: Run) -> dict[str, float]:
    """Of one core, while there was load."""
    late = [sample for sample in run.samples if 1 <= run.fifth(sample.at) < FIFTHS]
    span_s = late[-1].at - late[0].at
    shares = {name: (late[-1].uses[name].cpu_s - late[0].uses[name].cpu_s) / span_s for name in GROUPS}
    return {name: round(share, 3) for name, share in shares.items()}


def _end(run: Run) -> list[Row]:
    facts, wrong = run.facts, run.seen.wrong
    told = "; ".join(f"{many} x {what}" for what, many in wrong.most_common(3))[:100]
    rows = [Row("wrong answers", told or "none", "none", not wrong)]
    names = {
        "open": "tasks not ended", "lost": "accepted tasks that are gone", "in_flight": "images in flight at the end",
        "reserved": "units reserved at the end", "mischarged": "tasks charged wrongly", "batches": "batches left",
        "elements_open": "elements not ended", "callbacks_missing": "callbacks that did not arrive",
        "callbacks_disordered": "callbacks out of order or twice", "files_without_row": "pictures stored for no task",
        "rows_without_file": "pictures of tasks that are not stored", "restarts": "processes started anew",
        "errors_logged": "errors and tracebacks in the log",
    }  # fmt: skip
    rows += [Row(told, str(facts[name]), "0", facts[name] == 0) for name, told in names.items()]
    return rows


def table(rows: Sequence[Row]) -> str:
    """As text, the broken promises marked."""
    width = [
        max(len(text) for text in column) for column in zip(*((r.what, r.found, r.bound) for r in rows), strict=True)
    ]
    return "\n".join(
        f"{r.what:{width[0]}}  {r.found:{width[1]}}  {r.bound:{width[2]}}  {'ok' if r.kept else 'BROKEN'}" for r in rows
    )


def count_by_fifth(run: Run, moments: Sequence[float]) -> list[int]:
    """How many of these moments belong to each fifth."""
    counted = Counter(run.fifth(at) for at in moments)
    return [counted[fifth] for fifth in range(FIFTHS)]
