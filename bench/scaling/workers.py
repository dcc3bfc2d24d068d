"""What one more worker process costs PostgreSQL: every one of them looks at the queues, and hears of every change."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from measuring.framehouse_processes import FRAMEHOUSE, INSTANT, PATH, Api, environment, create_keys, running
from measuring.framehouse_processes import folder as temporary
from measuring.load import Request, json_body, times_at_rate
from scaling.counters import Spent, minus, postmaster, tree_cpu_s
from scaling.filling import PROMPT

RATES = (0, 10, 30)


@contextmanager
def worker(data_dir: Path, log: Path) -> Iterator[int]:
    """A `framehouse worker`; its pid."""
    command = [*FRAMEHOUSE, "worker", "--data-dir", str(data_dir)]
    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, env=environment())
    try:
        yield process.pid
    finally:
        process.terminate()
        process.wait(timeout=60)


def measure(quick: bool) -> dict[str, Spent]:
    """CPU a second."""
    seconds = 3 if quick else 10
    found: dict[str, Spent] = {}
    with temporary() as place, running(place / "data", "api", config=INSTANT) as api, ExitStack() as stack:
        key = create_keys(api.data_dir, 1)[0]
        post = Request("POST", PATH, key, json_body(prompt=PROMPT, aspect_ratio="1:1"))
        pids: list[int] = []
        for number in (1, 2) if quick else (1, 4, 8):
            while len(pids) < number:
                pids.append(stack.enter_context(worker(api.data_dir, place / f"worker-{len(pids)}.log")))
            time.sleep(4 + number / 2)  # until the last of them looks for work
            for rate in RATES:
                found[f"{number} workers, {rate} tasks a second"] = _spend(api, pids, post, rate, seconds)
    return found


def _spend(api: Api, pids: list[int], post: Request, rate: int, seconds: int) -> Spent:
    def now() -> Spent:
        return {
            "postgres_cpu_s": tree_cpu_s(postmaster(api.data_dir)),
            "workers_cpu_s": sum(tree_cpu_s(pid) for pid in pids),
            "api_cpu_s": tree_cpu_s(api.pid),
        }

    before, began = now(), time.monotonic()
    if rate:
        times_at_rate(api.port, [post], rate=rate, seconds=seconds, connections=4)
    else:
        time.sleep(seconds)
    return minus(now(), before, time.monotonic() - began)
