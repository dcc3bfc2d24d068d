"""Compare the simulation with a real `framehouse serve` on this machine, at several rates."""

import asyncio
import json
import os
import random
import re
import subprocess
import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import uvloop

from measuring.framehouse_processes import INSTANT, PATH, Api, postgres_program, serving, temporary_folder
from scaling.counters import Cost
from scaling.filling import PROMPT
from scaling.model import Costs, Deployment, Traffic, read_part
from scaling.peak import Peak, percentile_or_nan
from scaling.server import ServerMeter

RATES = (4.0, 12.0, 24.0, 48.0)
POLL_EVERY_S = 0.5
SECONDS, WARM_UP_S = 12.0, 3.0
SMALL = Traffic(sizes=((1, 1.0),), polling=1.0, waiting=0.0, callbacks=0.0, poll_every_s=POLL_EVERY_S, accounts=1)


@dataclass(slots=True)
class _Times:
    accept: list[float] = field(default_factory=list)
    poll: list[float] = field(default_factory=list)
    whole: list[float] = field(default_factory=list)


class _Clients:
    """Clients that submit and poll tasks at a constant mean rate. Connections are reused."""

    def __init__(self, port: int, key: str) -> None:
        self._port = port
        self._head = f"Host: 127.0.0.1:{port}\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n"
        self._free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self.times = _Times()

    async def _request(self, method: str, path: str, body: str = "") -> bytes:
        reader, writer = self._free.pop() if self._free else await asyncio.open_connection("127.0.0.1", self._port)
        writer.write(f"{method} {path} HTTP/1.1\r\n{self._head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        length = re.search(rb"(?i)content-length: (\d+)", head)
        assert length
        answer = await reader.readexactly(int(length[1]))
        self._free.append((reader, writer))
        return answer

    async def _run_task(self) -> None:
        began = time.perf_counter()
        body = json.dumps({"model_name": "kling-v3-omni", "prompt": PROMPT, "n": 1, "aspect_ratio": "1:1"})
        id = json.loads(await self._request("POST", PATH, body))["data"]["task_id"]
        self.times.accept.append(time.perf_counter() - began)
        answer = b""
        while b'"succeed"' not in answer:
            await asyncio.sleep(POLL_EVERY_S)
            polled = time.perf_counter()
            answer = await self._request("GET", f"{PATH}/{id}")
            self.times.poll.append(time.perf_counter() - polled)
        self.times.whole.append(time.perf_counter() - began)

    async def run(self, rate: float, seconds: float, seed: int) -> None:
        random_source = random.Random(seed)
        async with asyncio.TaskGroup() as group:
            end = time.perf_counter() + seconds
            while time.perf_counter() < end:
                group.create_task(self._run_task())
                await asyncio.sleep(random_source.expovariate(rate))
        for _, writer in self._free:
            writer.close()


def compare(costs: Costs, *, seed: int) -> dict[str, dict[str, float]]:
    """Return the simulated and the real value of each measurement, and their ratio."""
    flush = flush_s()
    comparisons = _compare_workers(costs, flush, seed)
    with temporary_folder() as folder, serving(folder / "data", INSTANT) as (api, key):
        uvloop.run(_Clients(api.port, key).run(5, WARM_UP_S, seed))
        for rate in RATES:
            real = _measure(api, key, rate, seed)
            deployment = Deployment(
                postgres_cores=os.cpu_count() or 2,
                flush_s=flush,
                apis=1,
                workers=1,
                gpus=16,
                generation_s=0.0,
                store_s=0.002,
                shared=True,
                client_s=real["client_cpu_s"] / max(1.0, real["requests"]),
            )
            results = Peak(costs, SMALL, deployment, tasks_per_s=rate, seed=seed).run(60.0, WARM_UP_S)
            cores = results.usage
            simulated = {
                "accept p50": percentile_or_nan(results.accept, 50),
                "accept p99": percentile_or_nan(results.accept, 99),
                "poll p50": percentile_or_nan(results.poll, 50),
                "whole p50": percentile_or_nan(results.whole, 50),
                "whole p99": percentile_or_nan(results.whole, 99),
                "api cores": cores["api"],
                "worker cores": cores["worker"],
                "postgres cores": cores["postgres"],
            }
            for name, value in simulated.items():
                comparisons[f"{name}, {rate:g} tasks per second"] = {
                    "simulated": value,
                    "real": real[name],
                    "ratio": value / real[name] if real[name] else float("nan"),
                }
            print(f"    {rate:g} per second compared", flush=True)
    return comparisons


def _compare_workers(costs: Costs, flush: float, seed: int) -> dict[str, dict[str, float]]:
    """Compare the simulation with the measurements of `bench/costs.py workers` at 10 tasks per second.

    In these measurements, workers get notifications of each other's tasks. The costs do not depend on these values.
    """
    without_polls = replace(SMALL, polling=0.0)
    comparisons = {}
    for number in (1, 4, 8):
        deployment = Deployment(
            os.cpu_count() or 2, flush, apis=1, workers=number, gpus=16 * number, generation_s=0.0, shared=True
        )
        usage = Peak(costs, without_polls, deployment, tasks_per_s=10, seed=seed).run(60.0, WARM_UP_S).usage
        real = read_part("workers")[f"{number} workers, 10 tasks per second"]
        for name, simulated in (("postgres", usage["postgres"]), ("workers", usage["worker"])):
            comparisons[f"{name} cores, {number} workers, 10 tasks per second"] = {
                "simulated": simulated,
                "real": real[f"{name}_cpu_s"],
                "ratio": simulated / real[f"{name}_cpu_s"],
            }
    return comparisons


def _measure(api: Api, key: str, rate: float, seed: int) -> Cost:
    clients = _Clients(api.port, key)
    cpu_before, meter = time.process_time(), ServerMeter(api)
    began = time.monotonic()
    cost = meter.cost_per_unit(1, lambda: uvloop.run(clients.run(rate, SECONDS, seed)))
    seconds = time.monotonic() - began
    times = clients.times
    return {
        "accept p50": percentile_or_nan(times.accept, 50),
        "accept p99": percentile_or_nan(times.accept, 99),
        "poll p50": percentile_or_nan(times.poll, 50),
        "whole p50": percentile_or_nan(times.whole, 50),
        "whole p99": percentile_or_nan(times.whole, 99),
        "api cores": cost["api_cpu_s"] / seconds,
        "worker cores": cost["worker_cpu_s"] / seconds,
        "postgres cores": cost["postgres_cpu_s"] / seconds,
        "client_cpu_s": time.process_time() - cpu_before,
        "requests": float(len(times.accept) + len(times.poll)),
    }


def flush_s() -> float:
    """Return the time of a flush of 8 kB on this disk in seconds, measured by pg_test_fsync."""
    with tempfile.TemporaryDirectory(dir=Path(__file__).parents[2] / ".cache") as folder:
        command = [postgres_program("pg_test_fsync"), "-s", "1", "-f", f"{folder}/file"]
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    microseconds = re.search(r"fdatasync\s+[\d.]+ ops/sec\s+(\d+) usecs/op", output)
    assert microseconds, output
    return int(microseconds[1]) / 1e6
