"""All measurements: the table, here, in bench/results/latest.json and docs/speed.md. `make bench`, or one part of them:
make bench NAME=accepting.

Every figure is a ratio of things measured in turn in the same run, or a time beside its floor. Numbers of one run are
this machine's at that moment; the ratios carry over.
"""

import argparse
import importlib
import signal
import sys
import time

from measuring.comparisons import Figure, print_table, save
from measuring.page import write_page

NAMES = ("accepting", "tasks", "bodies", "finishing", "server_overhead", "full_tables", "starting")


def main(names: list[str], rounds: int) -> None:
    figures: list[Figure] = []
    for name in names:
        began = time.monotonic()
        print(name, flush=True)
        found = importlib.import_module(name).measure(rounds)
        save(name, found)
        figures += found
        print(f"    {time.monotonic() - began:.0f} s", flush=True)
    print_table(figures)
    write_page(NAMES)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*NAMES, []])
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started is ended
    main(given.names or list(NAMES), given.rounds)
