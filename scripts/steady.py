"""Run the test suite many times, each time in another order, and print a Markdown table with a line for each run.

python scripts/steady.py RUNS [--jobs N]; after a failure it continues, and its exit code is 1.
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
    """The table's line, and whether all tests passed."""
    command = [sys.executable, "-m", "pytest", "-n", str(jobs), "--dist", "loadgroup", f"--randomly-seed={seed}"]
    started_at, before, began = datetime.now(UTC), os.times(), time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    wall_s, after = time.monotonic() - began, os.times()
    cpu_s = after.children_user + after.children_system - before.children_user - before.children_system
    lines = done.stdout.splitlines() or [""]
    outcome = next((line.strip(" =") for line in reversed(lines) if re.search(r"\d+ (passed|failed|error)", line)), "")
    outcome = re.sub(r" in [\d.]+s.*", "", outcome) or f"exit code {done.returncode}"
    failed = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    if failed or done.returncode:
        print("\n".join(failed or lines[-30:]), file=sys.stderr)
    cells = (number, f"{started_at:%Y-%m-%d %H:%M}", seed, outcome, f"{wall_s:.0f} s", f"{cpu_s:.0f} s")
    return f"| {' | '.join(map(str, cells))} |", done.returncode == 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=int)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    given = parser.parse_args()
    print(HEAD, flush=True)
    passed = 0
    for number in range(1, given.runs + 1):
        line, good = run_once(number, given.jobs, random.randrange(2**32))
        passed += good
        print(line, flush=True)
    print(f"\n{passed} of {given.runs} runs passed.")
    return 0 if passed == given.runs else 1


if __name__ == "__main__":
    sys.exit(main())
