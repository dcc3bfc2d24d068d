"""From what was watched to a table: each promise with its figures, its bound, and whether it was kept."""

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from soaking.traffic import Seen
from soaking.watch import GROUPS, Sample

FIFTHS = 5
_MEMORY_MB, _MEMORY_SHARE = 8.0, 0.05
_THREADS = 4
_LATENCY, _SLACK_MS = 1.3, 3.0
_JUDGED = ("accept", "poll")


@dataclass
class Run:
    """All that was seen. `before` and `after` are samples at rest, after the first fifth and at the end; `yardstick`
    is (when, milliseconds) of a fixed piece of work that has nothing to do with the server: how busy others were."""

    began: float
    fifth_s: float
    rest_s: float
    samples: Sequence[Sample]
    before: Sample
    after: Sample
    seen: Seen
    yardstick: Sequence[tuple[float, float]]
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
    tasks = sum(run.facts["tasks_by_fifth"][1:])
    for name in GROUPS:
        points = [(sample.at, sample.uses[name].memory_mb) for sample in late]
        usual, grown = statistics.median(mb for _, mb in points), slope(points) * span_s
        rest = run.after.uses[name].memory_mb - run.before.uses[name].memory_mb
        bound = max(_MEMORY_MB, _MEMORY_SHARE * usual)
        figures[name] = {
            "median_mb": round(usual, 1),
            "highest_mb": round(max(mb for _, mb in points), 1),
            "growth_mb": round(grown, 2),
            "growth_at_rest_mb": round(rest, 2),
            "growth_mb_per_1000_tasks": round(1000 * grown / max(1, tasks), 2),
            "growth_mb_per_hour": round(3600 * grown / span_s, 1),
        }
        told = f"{usual:.0f} MB; {grown:+.1f} MB under load ({1000 * grown / max(1, tasks):+.1f} per 1000 tasks), "
        told += f"{rest:+.1f} MB at rest"
        rows.append(Row(f"memory: {name}", told, f"{bound:.0f} MB more", max(grown, rest) <= bound))
    return rows, figures


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
    busy = [
        statistics.median([ms for at, ms in run.yardstick if run.fifth(at) == fifth] or [0.0])
        for fifth in range(FIFTHS)
    ]
    others = max(1.0, busy[-1] / busy[1]) if busy[1] else 1.0
    for what in sorted({what for _, what, _ in run.seen.times}):
        fifths = [[ms for at, w, ms in run.seen.times if w == what and run.fifth(at) == n] for n in range(FIFTHS)]
        if min(len(times) for times in fifths) < 2:
            continue
        p50, p99 = ([statistics.quantiles(times, n=100)[p - 1] for times in fifths] for p in (50, 99))
        figures[what] = {"p50": [round(ms, 1) for ms in p50], "p99": [round(ms, 1) for ms in p99]}
        if what in _JUDGED:
            bound = _LATENCY * others * p50[1] + _SLACK_MS
            told = f"p50 {p50[1]:.1f} then {p50[-1]:.1f} ms, p99 {p99[1]:.0f} then {p99[-1]:.0f} ms"
            rows.append(Row(f"latency: {what}", told, f"p50 {bound:.1f} ms", p50[-1] <= bound))
    figures["yardstick"] = {"p50": [round(ms, 2) for ms in busy]}
    return rows, figures


def _cpu(run: Run) -> dict[str, float]:
    """Of one core, while there was load."""
    late = [sample for sample in run.samples if 1 <= run.fifth(sample.at) < FIFTHS]
    span_s = late[-1].at - late[0].at
    shares = {name: (late[-1].uses[name].cpu_s - late[0].uses[name].cpu_s) / span_s for name in GROUPS}
    return {name: round(share, 3) for name, share in shares.items()}


def _end(run: Run) -> list[Row]:
    facts, wrong = run.facts, run.seen.wrong
    rows = [
        Row(
            "wrong answers", "; ".join(f"{n} x {what}" for what, n in wrong.most_common(3)) or "none", "none", not wrong
        )
    ]
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
