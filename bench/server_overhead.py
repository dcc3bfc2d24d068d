"""What the server costs beside the painting: ten pictures of 1k a second, each a task, with a client that polls.

All CPU of all processes of `framehouse serve`, PostgreSQL among them, as a share of one core; the engine costs nothing.
The floor is the picture itself: ten PNGs of a photo a second, packed in a process that does nothing else.
"""

import json
import threading
import time
import urllib.request

from framehouse.adapters.images.encode import encode
from measuring.comparisons import Figure, median
from measuring.framehouse_processes import INSTANT, PATH, Api, cpu_s, folder, processes, serving
from measuring.load import json_body
from measuring.photo import photo

RATE, SECONDS = 10, 12


def _task(api: Api, key: str) -> None:
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    body = json_body(aspect_ratio="1:1").encode()
    with urllib.request.urlopen(urllib.request.Request(api.url + PATH, body, headers)) as answer:
        id = json.load(answer)["data"]["task_id"]
    status = ""
    while status not in ("succeed", "failed"):
        time.sleep(0.5)
        with urllib.request.urlopen(urllib.request.Request(f"{api.url}{PATH}/{id}", headers=headers)) as answer:
            status = json.load(answer)["data"]["task_status"]
    assert status == "succeed"


def _spend(api: Api, key: str) -> dict[str, float]:
    """Shares of a core, by kind of process, while RATE tasks come in a second."""
    before = {pid: cpu_s(pid) for pid in _all(api)}
    began = time.perf_counter()
    threads = []
    for number in range(RATE * SECONDS):
        time.sleep(max(0.0, began + number / RATE - time.perf_counter()))
        threads.append(threading.Thread(target=_task, args=(api, key)))
        threads[-1].start()
    for thread in threads:
        thread.join()
    took = time.perf_counter() - began
    spent: dict[str, float] = {"api": 0, "worker": 0, "postgres": 0, "rest": 0}
    for pid, command in _all(api).items():
        kind = next((kind for kind in ("postgres", "api", "worker") if f" {kind}" in f" {command}"), "rest")
        spent[kind] += (cpu_s(pid) - before.get(pid, 0)) / took
    spent["all"] = sum(spent.values())
    print("   ", ", ".join(f"{name} {share:.1%}" for name, share in spent.items()), flush=True)
    return spent


def _packing() -> float:
    """Share of a core that packing RATE photos a second takes."""
    pixels = photo(1024, 1024)
    began = time.process_time()
    for _ in range(RATE):
        encode(pixels, "png", {}, tool="bench")
    return time.process_time() - began


def _all(api: Api) -> dict[int, str]:
    """Every process of the server; PostgreSQL is a child of nobody's."""
    found = dict(processes(api.pid))
    pid = int((api.data_dir / "postgres" / "postmaster.pid").read_text().split()[0])
    return found | {one: f"postgres {command}" for one, command in processes(pid).items()}


def measure(rounds: int) -> list[Figure]:
    with folder() as place, serving(place / "data", INSTANT) as (api, key):
        for _ in range(3):
            _task(api, key)
        found = [_spend(api, key) | {"PNG": _packing()} for _ in range(rounds)]
    parts = ", ".join(f"{name} {median(found, name):.1%}" for name in ("worker", "api", "postgres"))
    return [
        Figure(
            "share of a core beside the engine, at ten pictures of 1k a second",
            "–",
            median(found, "all") * 100,
            15,
            True,
            "%",
            parts,
            floor=f"packing ten PNGs of a photo: {median(found, 'PNG'):.1%}",
            rounds=found,
        )
    ]
