"""Run the test suite many times, each time in a different order, and print a Markdown table of the runs.

python scripts/steady.py RUNS [--jobs N]    continues after a failed run; its exit status is then 1
"""

import argparse
import os
import random
import re
import subprocess
import sys
import time
from datetime import UTC, datetime

HEAD = "| run | started (UTC) | order | outcome | wall | CPU |\n|---|---|---|---|---|---|"


def run_once(number: int, jobs: int, seed: int) -> tuple[str, bool]:
    """Run all tests once. Returns the line of the table, and whether all tests passed."""
    command = [sys.executable, "-m", "pytest", "-n", str(jobs), "--dist", "loadgroup", f"--randomly-seed={seed}"]
    started_at, before, began = datetime.now(UTC), os.times(), time.monotonic()
    run = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    wall_s, after = time.monotonic() - began, os.times()
    cpu_s = after.children_user + after.children_system - before.children_user - before.children_system
    lines = run.stdout.splitlines() or [""]
    outcome = next((line.strip(" =") for line in reversed(lines) if re.search(r"\d+ (passed|failed|error)", line)), "")
    outcome = re.sub(r" in [\d.]+s.*", "", outcome) or f"exit status {run.returncode}"
    if run.returncode:
        print(f"Run {number} failed:\n{run.stdout}", file=sys.stderr, flush=True)
    cells = (number, f"{started_at:%Y-%m-%d %H:%M}", seed, outcome, f"{wall_s:.0f} s", f"{cpu_s:.0f} s")
    return f"| {' | '.join(map(str, cells))} |", run.returncode == 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=int)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    print(HEAD, flush=True)
    passed_runs = 0
    for number in range(1, arguments.runs + 1):
        line, passed = run_once(number, arguments.jobs, random.randrange(2**32))
        passed_runs += passed
        print(line, flush=True)
    print(f"\n{passed_runs} of {arguments.runs} runs passed.")
    return 0 if passed_runs == arguments.runs else 1


if __name__ == "__main__":
    sys.exit(main())
