"""Measure the cost of whole tasks for each process of a real `framehouse serve`, and of requests to a real API.

The engine immediately returns a photo. The cost does not include the clients, nor the cost of an idle server during
the same time.
"""

import asyncio
import base64
import io
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from PIL import Image

from measuring.framehouse_processes import (
    INSTANT,
    PATH,
    Api,
    create_keys,
    process_tree,
    running,
    serving,
    temporary_folder,
)
from measuring.load import Request, json_body, times_at_rate
from measuring.photo import photo
from scaling.counters import Cost, difference_per_unit, postmaster_pid, tree_cpu_s, wal_bytes
from scaling.filling import PROMPT
from tasks import Client

CLIENTS = 8
CONFIG = "allow_private_addresses = true\n" + INSTANT


def cpu_by_process(api: Api) -> Cost:
    """Return the CPU times of PostgreSQL, of the API and of the workers, in seconds."""
    cpu_times = {"api_cpu_s": 0.0, "worker_cpu_s": 0.0, "postgres_cpu_s": tree_cpu_s(postmaster_pid(api.data_dir))}
    for pid, command in process_tree(api.pid).items():
        kind = next((kind for kind in ("api", "worker") if f" {kind} " in command), None)
        if kind:
            cpu_times[f"{kind}_cpu_s"] += tree_cpu_s(pid)
    return cpu_times


class ServerMeter:
    """Measures the cost of work for a running server, without the cost of the idle server."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._idle: Cost = {}

    def _read_counters(self) -> Cost:
        return cpu_by_process(self._api) | {"wal_bytes": asyncio.run(wal_bytes(self._api.database))}

    def measure_idle(self, seconds: float) -> Cost:
        """Measure the idle server. Returns its cost per second, which later measurements subtract."""
        self._idle = {}
        self._idle = self.cost_per_unit(seconds, lambda: time.sleep(seconds))
        return self._idle

    def cost_per_unit(self, units: float, work: Callable[[], object]) -> Cost:
        """Run `work`, which does `units` units of work. Returns the cost of one unit."""
        before, began = self._read_counters(), time.monotonic()
        work()
        seconds = time.monotonic() - began
        total = difference_per_unit(self._read_counters(), before, 1)
        cost = {name: (value - self._idle.get(name, 0) * seconds) / units for name, value in total.items()}
        return cost | {"time_s": seconds / units}


@contextmanager
def receiver() -> Iterator[str]:
    """Run a receiver of callbacks. Yields its URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/callback"
    finally:
        server.shutdown()


def submit(api: Api, key: str, tasks: int, **fields: Any) -> None:
    """Submit tasks with a few clients that wait for the end of each task."""
    remaining = iter(range(tasks))
    errors: list[BaseException] = []

    def run_client() -> None:
        try:
            client = Client(api.port, key)
            for _ in remaining:
                accepted = client.request("POST", PATH, model_name="kling-v3-omni", prompt=PROMPT, **fields)
                ended = client.request("GET", f"{PATH}/{accepted['data']['task_id']}?wait=60")
                assert ended["data"]["task_status"] == "succeed", ended
        except BaseException as error:  # noqa: BLE001 - raised again below, in the main thread
            errors.append(error)

    threads = [threading.Thread(target=run_client) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def jpeg(seed: int) -> str:
    file = io.BytesIO()
    Image.fromarray(photo(1024, 1024, seed)).save(file, "JPEG", quality=90)
    return base64.b64encode(file.getvalue()).decode()


def stored_bytes(data_dir: Path) -> int:
    return sum(path.stat().st_size for path in (data_dir / "files").rglob("*") if path.is_file())


def measure(quick: bool) -> dict[str, Cost]:
    costs = _measure_tasks(divisor=4 if quick else 1)
    return costs | _measure_requests(1 if quick else 6)


def _measure_tasks(*, divisor: int) -> dict[str, Cost]:
    """Measure tasks of several kinds. `divisor` reduces the number of tasks."""
    costs: dict[str, Cost] = {}
    with temporary_folder() as folder, receiver() as callback, serving(folder / "data", CONFIG) as (api, key):
        images = [jpeg(seed) for seed in range(8)]
        kinds: dict[str, tuple[int, dict[str, Any]]] = {
            "one image, 1k": (240, {"aspect_ratio": "1:1"}),
            "one image, 2k": (60, {"aspect_ratio": "1:1", "resolution": "2k"}),
            "one image, 4k": (16, {"aspect_ratio": "1:1", "resolution": "4k"}),
            "nine images, 1k": (32, {"aspect_ratio": "1:1", "n": 9}),
            "one image, watermark": (80, {"aspect_ratio": "1:1", "watermark_info": {"enabled": True}}),
            "one image, a reference": (80, {"aspect_ratio": "1:1", "image_list": [{"image": images[0]}]}),
            "one image, callbacks": (160, {"aspect_ratio": "1:1", "callback_url": callback}),
        }
        submit(api, key, 8, aspect_ratio="1:1")
        meter = ServerMeter(api)
        costs["idle, per second"] = meter.measure_idle(2 if divisor > 1 else 20)
        for kind, (tasks, fields) in kinds.items():
            before = stored_bytes(api.data_dir)
            number = max(CLIENTS, tasks // divisor)
            costs[kind] = meter.cost_per_unit(number, lambda n=number, f=fields: submit(api, key, n, **f))  # type: ignore[misc]
            costs[kind]["stored_bytes"] = (stored_bytes(api.data_dir) - before) / number
            print(f"    {kind}", flush=True)
    return costs


def _measure_requests(seconds: float) -> dict[str, Cost]:
    """Measure requests at a low rate and at a high rate, at which concurrent requests share statements."""
    costs: dict[str, Cost] = {}
    with temporary_folder() as folder, running(folder / "data", "api") as api:
        keys = create_keys(api.data_dir, 8)
        posts = [Request("POST", PATH, key, json_body(prompt=PROMPT)) for key in keys]
        client = Client(api.port, keys[0])
        ids = [
            client.request("POST", PATH, model_name="kling-v3-omni", prompt=PROMPT)["data"]["task_id"]
            for _ in range(99)
        ]
        polls = [Request("GET", f"{PATH}/{id}", keys[0]) for id in ids]
        meter = ServerMeter(api)
        meter.measure_idle(2 * seconds)
        for name, requests, rates in (("accept", posts, (60, 600)), ("poll", polls, (120, 1200))):
            for rate in rates:
                costs[f"{name}, {rate} per second"] = meter.cost_per_unit(
                    rate * seconds,
                    lambda r=requests, n=rate: times_at_rate(api.port, r, rate=n, seconds=seconds),  # type: ignore[misc]
                )
    return costs
