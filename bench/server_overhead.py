"""Measure the cost of the server without the generation: ten tasks of one 1k image per second, with a polling client.

The result is the CPU time of all processes of `framehouse serve`, including PostgreSQL, as a share of one core. The
engine costs nothing. The floor is the cost of encoding ten PNGs of a photo per second in a separate process.
"""

import json
import threading
import time
import urllib.request

from framehouse.adapters.images.encode import encode
from framehouse.adapters.images.image_metadata import describe
from measuring.comparisons import Figure, median
from measuring.framehouse_processes import INSTANT, PATH, Api, cpu_s, process_tree, serving, temporary_folder
from measuring.load import json_body
from measuring.photo import photo

RATE, SECONDS = 10, 12


def _run_task(api: Api, key: str) -> None:
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


def _measure_shares(api: Api, key: str) -> dict[str, float]:
    """Return the shares of a core by kind of process, while RATE tasks per second arrive."""
    before = {pid: cpu_s(pid) for pid in _server_processes(api)}
    began = time.perf_counter()
    threads = []
    for number in range(RATE * SECONDS):
        time.sleep(max(0.0, began + number / RATE - time.perf_counter()))
        threads.append(threading.Thread(target=_run_task, args=(api, key)))
        threads[-1].start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - began
    shares: dict[str, float] = {"api": 0, "worker": 0, "postgres": 0, "other": 0}
    for pid, command in _server_processes(api).items():
        kind = next((kind for kind in ("postgres", "api", "worker") if f" {kind}" in f" {command}"), "other")
        shares[kind] += (cpu_s(pid) - before.get(pid, 0)) / seconds
    shares["all"] = sum(shares.values())
    print("   ", ", ".join(f"{name} {share:.1%}" for name, share in shares.items()), flush=True)
    return shares


def _encoding_share() -> float:
    """Return the share of a core that encoding RATE photos per second takes."""
    pixels = photo(1024, 1024)
    began = time.process_time()
    for _ in range(RATE):
        encode(pixels, "png", describe({}, software="bench", source_type="algorithmicMedia"))
    return time.process_time() - began


def _server_processes(api: Api) -> dict[int, str]:
    """Return the command lines of all processes of the server. PostgreSQL is not a child of the server's process."""
    postgres_pid = int((api.data_dir / "postgres" / "postmaster.pid").read_text().split()[0])
    postgres = {pid: f"postgres {command}" for pid, command in process_tree(postgres_pid).items()}
    return dict(process_tree(api.pid)) | postgres


def measure(rounds: int) -> list[Figure]:
    with temporary_folder() as folder, serving(folder / "data", INSTANT) as (api, key):
        for _ in range(3):
            _run_task(api, key)
        shares = [_measure_shares(api, key) | {"PNG": _encoding_share()} for _ in range(rounds)]
    parts = ", ".join(f"{name} {median(shares, name):.1%}" for name in ("worker", "api", "postgres"))
    return [
        Figure(
            "CPU time as a share of one core, excluding the engine, at ten 1k images per second",
            "–",
            median(shares, "all") * 100,
            15,
            True,
            "%",
            parts,
            floor=f"encoding ten PNGs of a photo: {median(shares, 'PNG'):.1%}",
            rounds=shares,
        )
    ]
