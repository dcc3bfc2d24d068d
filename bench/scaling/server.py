"""What whole tasks cost a real `framehouse serve`, by process, and requests a real `framehouse api`.

The engine has its picture at once, a photo; clients are outside of what is counted, and what an idle server spends in
the same time is taken off.
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

from measuring.framehouse_processes import INSTANT, PATH, Api, create_keys, processes, running, serving
from measuring.framehouse_processes import folder as temporary
from measuring.load import Request, json_body, times_at_rate
from measuring.photo import photo
from scaling.counters import Cost, difference_per_unit, postmaster_pid, tree_cpu_s, wal_bytes
from scaling.filling import PROMPT
from tasks import Client

CLIENTS = 8
CONFIG = "allow_private_addresses = true\n" + INSTANT


def cpu_by_process(api: Api) -> Cost:
    """Seconds so far of PostgreSQL, and of all processes of api and worker."""
    spent = {"api_cpu_s": 0.0, "worker_cpu_s": 0.0, "postgres_cpu_s": tree_cpu_s(postmaster_pid(api.data_dir))}
    for pid, command in processes(api.pid).items():
        kind = next((kind for kind in ("api", "worker") if f" {kind} " in command), None)
        if kind:
            spent[f"{kind}_cpu_s"] += tree_cpu_s(pid)
    return spent


class Watch:
    """Differences of a running server, less what it spends when idle."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._idle: Cost = {}

    def _now(self) -> Cost:
        return cpu_by_process(self._api) | {"wal_bytes": asyncio.run(wal_bytes(self._api.database))}

    def idle(self, seconds: float) -> Cost:
        """Each second of it."""
        self._idle = {}
        self._idle = self.cost_per_unit(seconds, lambda: time.sleep(seconds))
        return self._idle

    def cost_per_unit(self, pieces: float, work: Callable[[], object]) -> Cost:
        before, began = self._now(), time.monotonic()
        work()
        took = time.monotonic() - began
        spent = difference_per_unit(self._now(), before, 1)
        return {name: (value - self._idle.get(name, 0) * took) / pieces for name, value in spent.items()} | {
            "time_s": took / pieces
        }


@contextmanager
def receiver() -> Iterator[str]:
    """A URL that takes callbacks."""

    class Takes(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing is percentile_or_nan."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Takes)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/callback"
    finally:
        server.shutdown()


def submit(api: Api, key: str, tasks: int, **fields: Any) -> None:
    """So many tasks, by a few clients that wait for the end of each."""
    left = iter(range(tasks))
    broke: list[BaseException] = []

    def work() -> None:
        try:
            client = Client(api.port, key)
            for _ in left:
                made = client.ask("POST", PATH, model_name="kling-v3-omni", prompt=PROMPT, **fields)
                ended = client.ask("GET", f"{PATH}/{made['data']['task_id']}?wait=60")
                assert ended["data"]["task_status"] == "succeed", ended
        except BaseException as error:  # noqa: BLE001 - percentile_or_nan by who started this thread
            broke.append(error)

    threads = [threading.Thread(target=work) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if broke:
        raise broke[0]


def jpeg(seed: int) -> str:
    file = io.BytesIO()
    Image.fromarray(photo(1024, 1024, seed)).save(file, "JPEG", quality=90)
    return base64.b64encode(file.getvalue()).decode()


def stored_bytes(data_dir: Path) -> int:
    return sum(path.stat().st_size for path in (data_dir / "files").rglob("*") if path.is_file())


def measure(quick: bool) -> dict[str, Cost]:
    found = _tasks(4 if quick else 1)
    return found | _requests(1 if quick else 6)


def _tasks(less: int) -> dict[str, Cost]:
    found: dict[str, Cost] = {}
    with temporary() as place, receiver() as callback, serving(place / "data", CONFIG) as (api, key):
        images = [jpeg(seed) for seed in range(8)]
        kinds: dict[str, tuple[int, dict[str, Any]]] = {
            "one picture, 1k": (240, {"aspect_ratio": "1:1"}),
            "one picture, 2k": (60, {"aspect_ratio": "1:1", "resolution": "2k"}),
            "one picture, 4k": (16, {"aspect_ratio": "1:1", "resolution": "4k"}),
            "nine pictures, 1k": (32, {"aspect_ratio": "1:1", "n": 9}),
            "one picture, watermark": (80, {"aspect_ratio": "1:1", "watermark_info": {"enabled": True}}),
            "one picture, a reference": (80, {"aspect_ratio": "1:1", "image_list": [{"image": images[0]}]}),
            "one picture, callbacks": (160, {"aspect_ratio": "1:1", "callback_url": callback}),
        }
        submit(api, key, 8, aspect_ratio="1:1")
        watch = Watch(api)
        found["idle, a second"] = watch.idle(2 if less > 1 else 20)
        for kind, (tasks, fields) in kinds.items():
            before = stored_bytes(api.data_dir)
            number = max(CLIENTS, tasks // less)
            found[kind] = watch.cost_per_unit(number, lambda n=number, f=fields: submit(api, key, n, **f))  # type: ignore[misc]
            found[kind]["stored_bytes"] = (stored_bytes(api.data_dir) - before) / number
            print(f"    {kind}", flush=True)
    return found


def _requests(seconds: float) -> dict[str, Cost]:
    """At a rate at which each comes alone, and at one at which they share statements."""
    found: dict[str, Cost] = {}
    with temporary() as place, running(place / "data", "api") as api:
        keys = create_keys(api.data_dir, 8)
        posts = [Request("POST", PATH, key, json_body(prompt=PROMPT)) for key in keys]
        client = Client(api.port, keys[0])
        ids = [
            client.ask("POST", PATH, model_name="kling-v3-omni", prompt=PROMPT)["data"]["task_id"] for _ in range(99)
        ]
        polls = [Request("GET", f"{PATH}/{id}", keys[0]) for id in ids]
        watch = Watch(api)
        watch.idle(2 * seconds)
        for name, requests, rates in (("accept", posts, (60, 600)), ("poll", polls, (120, 1200))):
            for rate in rates:
                found[f"{name}, {rate} a second"] = watch.cost_per_unit(
                    rate * seconds,
                    lambda r=requests, n=rate: times_at_rate(api.port, r, rate=n, seconds=seconds),  # type: ignore[misc]
                )
    return found
