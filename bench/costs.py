"""Measure the cost of a task: CPU time, writes, WAL and stored bytes of PostgreSQL and of each process.

`make bench NAME=costs` measures all parts, `python bench/costs.py statements` one part. Each part takes less than five
minutes. The results are stored in bench/results/costs.json, which bench/scale.py reads.
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


def save(part: str, costs: Any) -> None:
    results = json.loads(COSTS.read_text()) if COSTS.exists() else {}
    results[part] = {"machine": machine(), "costs": costs}
    COSTS.write_text(json.dumps(results, indent=1) + "\n")


def print_costs(part: str, costs: dict[str, dict[str, float]]) -> None:
    columns = list(dict.fromkeys(name for row in costs.values() for name in row))
    table = Table(title=part, box=None, pad_edge=False)
    for column in ("", *(_header(column) for column in columns)):
        table.add_column(column, justify="right" if column else "left", overflow="fold")
    for name, row in costs.items():
        table.add_row(name, *(_cell(column, row.get(column)) for column in columns))
    Console(width=220).print(table)


def _header(column: str) -> str:
    return f"{column.removesuffix('_s')} ms" if column.endswith("_s") else column.replace("_", " ")


def _cell(column: str, value: float | None) -> str:
    if value is None:
        return ""
    return f"{value * 1000:.3f}" if column.endswith("_s") else f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def main(parts: list[str], quick: bool) -> None:
    for part in parts:
        began = time.monotonic()
        costs = importlib.import_module(f"scaling.{part}").measure(quick)
        print_costs(part, costs)
        print(f"    {time.monotonic() - began:.0f} s", flush=True)
        if not quick:
            save(part, costs)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []])
    parser.add_argument("--quick", action="store_true", help="measure with small numbers, and do not store the results")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that context managers stop the started processes
    main(arguments.parts or list(PARTS), arguments.quick)
