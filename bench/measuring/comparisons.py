"""Figures: what was measured against what, in turn and in the same run; their table, and the file of the last run."""

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
    """One line of the table. `found` is what must reach `reach` (at least, or at most); `ours` and `theirs` say what it
    came from, with units; `floor` is what this machine can do at all, or where the rest of the time goes."""

    what: str
    against: str
    found: float
    reach: float
    at_most: bool
    unit: str
    ours: str
    theirs: str = ""
    floor: str = ""
    rounds: Sequence[Mapping[str, float]] = field(default=())

    @property
    def held(self) -> bool:
        return self.found <= self.reach if self.at_most else self.found >= self.reach

    @property
    def told(self) -> str:
        return f"{self.found:.3g} {self.unit}".strip()

    @property
    def wanted(self) -> str:
        return f"{'≤' if self.at_most else '≥'} {self.reach:g} {self.unit}".strip()


def in_turn(contenders: Mapping[str, Callable[[], float]], rounds: int) -> list[dict[str, float]]:
    """Every contender once per round, in an order that turns, so that none always has the machine's best moment."""
    found = []
    names = list(contenders)
    for turn in range(rounds):
        order = names[turn % len(names) :] + names[: turn % len(names)]
        figures = {name: contenders[name]() for name in order}
        found.append({name: figures[name] for name in names})
        print("   ", ", ".join(f"{name} {figure:,.4g}" for name, figure in found[-1].items()), flush=True)
    return found


def median(rounds: Sequence[Mapping[str, float]], name: str) -> float:
    return statistics.median(found[name] for found in rounds)


def ratio(rounds: Sequence[Mapping[str, float]], ours: str, theirs: str) -> float:
    """The median of what each round found by itself: the machine is another one from minute to minute."""
    return statistics.median(found[ours] / found[theirs] for found in rounds)


def print_table(figures: Sequence[Figure]) -> None:
    table = Table(title="", show_lines=False, box=None, pad_edge=False)
    for column in ("what", "against", "found", "reach", "", "ours", "theirs", "floor"):
        table.add_column(column, overflow="fold", justify="right" if column in ("found", "reach") else "left")
    for figure in figures:
        table.add_row(
            figure.what,
            figure.against,
            figure.told,
            figure.wanted,
            "" if figure.held else "[bold red]missed[/]",
            figure.ours,
            figure.theirs,
            figure.floor,
        )
    Console(width=None if os.isatty(1) else 220).print(table)


def save(part: str, figures: Sequence[Figure]) -> None:
    """Write a part's figures into the file of the last runs."""
    kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    kept[part] = {"machine": machine(), "figures": [_row(figure) for figure in figures]}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")


def _row(figure: Figure) -> dict[str, Any]:
    return {
        "what": figure.what,
        "against": figure.against,
        "found": float(f"{figure.found:.4g}"),
        "reach": figure.wanted,
        "held": figure.held,
        "unit": figure.unit,
        "ours": figure.ours,
        "theirs": figure.theirs,
        "floor": figure.floor,
        "rounds": [{name: float(f"{value:.4g}") for name, value in found.items()} for found in figure.rounds],
    }


def machine() -> dict[str, Any]:
    return {
        "cores": os.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
        "at": datetime.now(UTC).isoformat(timespec="minutes"),
    }
