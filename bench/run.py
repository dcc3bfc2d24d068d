"""Run all measurements or one of them, print the table, and write it to bench/results/latest.json and docs/speed.md.

`make bench` runs all measurements, `make bench NAME=accepting` one of them. A result is a ratio of values that were
measured in turn in the same run, or a time. The values depend on this machine at that moment; the ratios can be
compared with those of other machines.
"""

import argparse
import importlib
import signal
import sys
import time

from measuring.comparisons import Figure, print_table, save
from measuring.page import write_page

NAMES = (
    "accepting",
    "attack",
    "tasks",
    "bodies",
    "decoding",
    "devices",
    "finishing",
    "signing",
    "upscaling",
    "server_overhead",
    "full_tables",
    "starting",
)


def main(names: list[str], rounds: int) -> None:
    all_figures: list[Figure] = []
    for name in names:
        began = time.monotonic()
        print(name, flush=True)
        figures = importlib.import_module(name).measure(rounds)
        save(name, figures)
        all_figures += figures
        print(f"    {time.monotonic() - began:.0f} s", flush=True)
    print_table(all_figures)
    write_page(NAMES)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*NAMES, []])
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that context managers stop the started processes
    main(arguments.names or list(NAMES), arguments.rounds)
