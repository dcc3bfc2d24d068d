"""Measure the time of the second start of `framehouse serve` until it is ready, and of `framehouse --help`."""

import subprocess
import sys
import time

from measuring.comparisons import Figure, median, run_rounds
from measuring.framehouse_processes import FRAMEHOUSE, environment, running, temporary_folder


def _help_time() -> float:
    began = time.perf_counter()
    subprocess.run([*FRAMEHOUSE, "--help"], check=True, capture_output=True, env=environment())
    return time.perf_counter() - began


def _python_time() -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import click"], check=True, env=environment())
    return time.perf_counter() - began


def measure(rounds: int) -> list[Figure]:
    with temporary_folder() as folder:

        def start_time() -> float:
            began = time.perf_counter()
            with running(folder / "data", "serve"):
                return time.perf_counter() - began

        start_time()
        start_times = run_rounds({"serve": start_time}, rounds)
    help_times = run_rounds({"help": _help_time, "python": _python_time}, rounds)
    return [
        Figure(
            "second start of framehouse serve, until it is ready",
            "–",
            median(start_times, "serve"),
            2.5,
            True,
            "s",
            "",
            rounds=start_times,
        ),
        Figure(
            "framehouse --help",
            "–",
            median(help_times, "help"),
            0.3,
            True,
            "s",
            "",
            floor=f"Python with click: {median(help_times, 'python'):.2f} s",
            rounds=help_times,
        ),
    ]
