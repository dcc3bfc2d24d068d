"""What a task costs: CPU, writes, WAL and bytes kept, of PostgreSQL and of each process. `make bench NAME=costs`.

Parts, each under five minutes, can be measured by themselves: python bench/costs.py statements. What a part found goes
into bench/results/costs.json, which bench/scale.py reads.
"""

import argparse
import importlib
import json
import signal
import sys
import time
from typing import Any

from rich.console import Console
from rich.table import Table

from measuring.comparisons import RESULTS, machine

PARTS = ("statements", "server", "workers", "settings", "contention", "backlog", "expiring", "partitions")
COSTS = RESULTS.with_name("costs.json")


def save(part: str, found: Any) -> None:
    costs = json.loads(COSTS.read_text()) if COSTS.exists() else {}
    costs[part] = {"machine": machine(), "found": found}
    COSTS.write_text(json.dumps(costs, indent=1) + "\n")


def print_costs(part: str, found: dict[str, dict[str, float]]) -> None:
    columns = list(dict.fromkeys(name for spent in found.values() for name in spent))
    table = Table(title=part, box=None, pad_edge=False)
    for column in ("", *(_told(column) for column in columns)):
        table.add_column(column, justify="right" if column else "left", overflow="fold")
    for name, spent in found.items():
        table.add_row(name, *(_figure(column, spent.get(column)) for column in columns))
    Console(width=220).print(table)


def _told(column: str) -> str:
    return f"{column.removesuffix('_s')} ms" if column.endswith("_s") else column.replace("_", " ")


def _figure(column: str, value: float | None) -> str:
    if value is None:
        return ""
    return f"{value * 1000:.3f}" if column.endswith("_s") else f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def main(parts: list[str], quick: bool) -> None:
    for part in parts:
        began = time.monotonic()
        found = importlib.import_module(f"scaling.{part}").measure(quick)
        print_costs(part, found)
        print(f"    {time.monotonic() - began:.0f} s", flush=True)
        if not quick:
            save(part, found)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []])
    parser.add_argument("--quick", action="store_true", help="few of everything, and nothing is written down")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started is ended
    main(given.parts or list(PARTS), given.quick)
