"""Figures that compare Framehouse with alternatives, the table of figures, and the file of the latest results."""

import json
import os
import platform
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parents[1] / "results" / "latest.json"


@dataclass(frozen=True, slots=True)
class Figure:
    """One row of the table.

    `result` must be at least `target`, or at most `target` if `at_most` is set; both are in `unit`. `ours` and `theirs`
    are the values of Framehouse and of the alternative, with units. `floor` is the best value that this machine allows,
    or other values that explain the result.
    """

    measurement: str
    compared_with: str
    result: float
    target: float
    at_most: bool
    unit: str
    ours: str
    theirs: str = ""
    floor: str = ""
    rounds: Sequence[Mapping[str, float]] = field(default=())

    @property
    def target_met(self) -> bool:
        return self.result <= self.target if self.at_most else self.result >= self.target

    @property
    def result_text(self) -> str:
        return f"{self.result:.3g} {self.unit}".strip()

    @property
    def target_text(self) -> str:
        return f"{'≤' if self.at_most else '≥'} {self.target:g} {self.unit}".strip()


def run_rounds(contenders: Mapping[str, Callable[[], float]], rounds: int) -> list[dict[str, float]]:
    """Measure every contender once per round. Returns the value of each contender, per round.

    The order rotates from round to round, so that no contender always runs at the machine's best moment.
    """
    values_of_rounds = []
    names = list(contenders)
    for number in range(rounds):
        order = names[number % len(names) :] + names[: number % len(names)]
        values = {name: contenders[name]() for name in order}
        values_of_rounds.append({name: values[name] for name in names})
        print("   ", ", ".join(f"{name} {values[name]:,.4g}" for name in names), flush=True)
    return values_of_rounds


def median(rounds: Sequence[Mapping[str, float]], name: str) -> float:
    return statistics.median(values[name] for values in rounds)


def ratio(rounds: Sequence[Mapping[str, float]], ours: str, theirs: str) -> float:
    """Return the median of the ratios of each round, because the machine's speed changes from minute to minute."""
    return statistics.median(values[ours] / values[theirs] for values in rounds)


def print_table(figures: Sequence[Figure]) -> None:
    table = Table(title="", show_lines=False, box=None, pad_edge=False)
    for column in ("measurement", "compared with", "result", "target", "", "ours", "theirs", "floor"):
        table.add_column(column, overflow="fold", justify="right" if column in ("result", "target") else "left")
    for figure in figures:
        table.add_row(
            figure.measurement,
            figure.compared_with,
            figure.result_text,
            figure.target_text,
            "" if figure.target_met else "[bold red]missed[/]",
            figure.ours,
            figure.theirs,
            figure.floor,
        )
    Console(width=None if os.isatty(1) else 220).print(table)


def save(part: str, figures: Sequence[Figure]) -> None:
    """Replace a part's figures in the file of the latest results."""
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    results[part] = {"machine": machine(), "figures": [_row(figure) for figure in figures]}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")


def _row(figure: Figure) -> dict[str, Any]:
    return {
        "measurement": figure.measurement,
        "compared_with": figure.compared_with,
        "result": float(f"{figure.result:.4g}"),
        "target": figure.target_text,
        "target_met": figure.target_met,
        "unit": figure.unit,
        "ours": figure.ours,
        "theirs": figure.theirs,
        "floor": figure.floor,
        "rounds": [{name: float(f"{value:.4g}") for name, value in values.items()} for values in figure.rounds],
    }


def machine() -> dict[str, Any]:
    return {
        "cores": os.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
        "at": datetime.now(UTC).isoformat(timespec="minutes"),
    }
