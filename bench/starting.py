"""How long starting takes: the second `framehouse serve` of a data folder, until ready, and `framehouse --help`."""

import subprocess
import sys
import time

from measuring.comparisons import Figure, run_rounds, median
from measuring.framehouse_processes import FRAMEHOUSE, environment, folder, running


def _help() -> float:
    began = time.perf_counter()
    subprocess.run([*FRAMEHOUSE, "--help"], check=True, capture_output=True, env=environment())
    return time.perf_counter() - began


def _python() -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import click"], check=True, env=environment())
    return time.perf_counter() - began


def measure(rounds: int) -> list[Figure]:
    with folder() as place:

        def start() -> float:
            began = time.perf_counter()
            with running(place / "data", "serve"):
                return time.perf_counter() - began

        start()
        starts = run_rounds({"serve": start}, rounds)
    helps = run_rounds({"help": _help, "python": _python}, rounds)
    return [
        Figure(
            "second start of framehouse serve, to ready",
            "–",
            median(starts, "serve"),
            2.5,
            True,
            "s",
            "",
            rounds=starts,
        ),
        Figure(
            "framehouse --help",
            "–",
            median(helps, "help"),
            0.3,
            True,
            "s",
            "",
            floor=f"Python with click: {median(helps, 'python'):.2f} s",
            rounds=helps,
        ),
    ]
