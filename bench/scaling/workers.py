"""Measure the cost of additional worker processes: each one polls the queues and gets every notification."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from measuring.framehouse_processes import (
    FRAMEHOUSE,
    INSTANT,
    PATH,
    Api,
    create_keys,
    environment,
    running,
    temporary_folder,
)
from measuring.load import Request, json_body, times_at_rate
from scaling.counters import Cost, difference_per_unit, postmaster_pid, tree_cpu_s
from scaling.filling import PROMPT

RATES = (0, 10, 30)


@contextmanager
def worker(data_dir: Path, log: Path) -> Iterator[int]:
    """Run `framehouse worker`. Yields its pid."""
    command = [*FRAMEHOUSE, "worker", "--data-dir", str(data_dir)]
    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, env=environment())
    try:
        yield process.pid
    finally:
        process.terminate()
        process.wait(timeout=60)


def measure(quick: bool) -> dict[str, Cost]:
    """Return the CPU times per second."""
    seconds = 3 if quick else 10
    costs: dict[str, Cost] = {}
    with temporary_folder() as folder, running(folder / "data", "api", config=INSTANT) as api, ExitStack() as stack:
        key = create_keys(api.data_dir, 1)[0]
        post = Request("POST", PATH, key, json_body(prompt=PROMPT, aspect_ratio="1:1"))
        pids: list[int] = []
        for number in (1, 2) if quick else (1, 4, 8):
            while len(pids) < number:
                pids.append(stack.enter_context(worker(api.data_dir, folder / f"worker-{len(pids)}.log")))
            time.sleep(4 + number / 2)  # until the last worker has started
            for rate in RATES:
                costs[f"{number} workers, {rate} tasks per second"] = _measure(api, pids, post, rate, seconds)
    return costs


def _measure(api: Api, pids: list[int], post: Request, rate: int, seconds: int) -> Cost:
    def cpu_times() -> Cost:
        return {
            "postgres_cpu_s": tree_cpu_s(postmaster_pid(api.data_dir)),
            "workers_cpu_s": sum(tree_cpu_s(pid) for pid in pids),
            "api_cpu_s": tree_cpu_s(api.pid),
        }

    before, began = cpu_times(), time.monotonic()
    if rate:
        times_at_rate(api.port, [post], rate=rate, seconds=seconds, connections=4)
    else:
        time.sleep(seconds)
    return difference_per_unit(cpu_times(), before, time.monotonic() - began)
