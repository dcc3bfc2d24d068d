"""Whole tasks, from acceptance to the picture: alone on an idle server, through a relay, and as fast as they go.

Every server is one that its documentation tells to start, on loopback; the picture is the same photo of 1024² pixels.
Throughput: 16 clients submit one task after the other, and wait for the end of each.
"""

import http.client
import json
import os
import queue
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from measuring.comparisons import Figure, run_rounds, median, ratio
from measuring.framehouse_processes import BENCH, INSTANT, PATH, folder, serving
from measuring.load import need
from measuring.peers import environment_programs, free_port, program

TASKS, SLOW_TASKS, CLIENTS = 160, 32, 16
PEERS = BENCH / "peers"
RELAY = """
worker_concurrency = 16
[models."kling-v3-omni"]
[[models."kling-v3-omni".routes]]
engine = "openai_images"
kind = "vllm_omni"
base_urls = ["http://127.0.0.1:{}"]
model = "relay"
concurrency = 16
probe = false
"""
LITELLM = """
model_list:
  - model_name: relay
    litellm_params: {{ model: openai/gpt-image-1, api_base: "http://127.0.0.1:{}/v1", api_key: none }}
general_settings: {{ master_key: sk-bench }}
litellm_settings: {{ telemetry: false }}
"""
Task = Callable[["Client"], None]


class Client:
    """One connection that is kept open, with a key."""

    def __init__(self, port: int, key: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}

    def ask(self, method: str, path: str, **body: Any) -> Any:
        self._connection.request(method, path, json.dumps(body) if body else None, self._headers)
        answer = self._connection.getresponse()
        content = answer.read()
        if answer.status >= 300:
            raise SystemExit(f"{method} {path}: {answer.status} {content[:500]!r}")
        return json.loads(content) if "json" in (answer.getheader("content-type") or "") else content


def by_framehouse(client: Client) -> None:
    made = client.ask("POST", PATH, model_name="kling-v3-omni", prompt="a red fox", n=1, aspect_ratio="1:1")
    ended = client.ask("GET", f"{PATH}/{made['data']['task_id']}?wait=60")
    assert ended["data"]["task_status"] == "succeed", ended


def by_openai(client: Client) -> None:
    client.ask("POST", "/v1/images/generations", model="relay", prompt="a red fox", n=1, size="1024x1024")


def by_celery(client: Client) -> None:
    made = client.ask("POST", "/tasks", prompt="a red fox")
    while (found := client.ask("GET", f"/tasks/{made['task_id']}"))["status"] != "success":
        assert found["status"] == "pending", found
        time.sleep(0.02)


def by_bentoml(client: Client) -> None:
    made = client.ask("POST", "/paint/submit", prompt="a red fox")
    while (found := client.ask("GET", f"/paint/status?task_id={made['task_id']}"))["status"] != "completed":
        assert found["status"] == "in_progress", found
        time.sleep(0.02)
    client.ask("GET", f"/paint/get?task_id={made['task_id']}")


def per_second(task: Task, port: int, key: str, *, tasks: int = TASKS, clients: int = CLIENTS) -> float:
    """Tasks per second, by so many clients at once."""
    left: queue.SimpleQueue[int] = queue.SimpleQueue()
    for number in range(tasks):
        left.put(number)
    broke: list[BaseException] = []

    def work() -> None:
        try:
            client = Client(port, key)
            while not left.empty():
                left.get_nowait()
                task(client)
        except queue.Empty:
            pass
        except BaseException as error:  # noqa: BLE001 - told by who started this thread
            broke.append(error)

    threads = [threading.Thread(target=work) for _ in range(clients)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if broke:
        raise broke[0]
    return tasks / (time.perf_counter() - began)


def one_by_one(task: Task, port: int, key: str, *, tasks: int = 40) -> float:
    """Median seconds of a task, with nothing else going on."""
    client, took = Client(port, key), []
    for _ in range(tasks):
        began = time.perf_counter()
        task(client)
        took.append(time.perf_counter() - began)
        time.sleep(0.005)
    return statistics.median(took)


@contextmanager
def celery(place: Path) -> Iterator[int]:
    """Redis, a worker with as many processes as there are cores, and the API; its port."""
    programs, port, redis = environment_programs("celery"), free_port(), free_port()
    extra = {"REDIS": f"redis://127.0.0.1:{redis}/0", "FOLDER": str(place), "PYTHONPATH": f"{PEERS}:{BENCH}"}
    with ExitStack() as stack:
        command = [need("redis-server"), "--port", str(redis), "--bind", "127.0.0.1", "--save", "", "--dir", str(place)]
        stack.enter_context(program(command, port=redis, log=place / "redis.log"))
        worker = [programs / "celery", "-A", "celery_app", "worker", "-c", str(os.cpu_count()), "--loglevel", "warning"]
        stack.enter_context(program(worker, log=place / "celery.log", env=extra))
        api = [programs / "python", PEERS / "celery_app.py", str(port)]
        stack.enter_context(program(api, port=port, log=place / "celery-api.log", env=extra))
        yield port


@contextmanager
def bentoml(place: Path) -> Iterator[int]:
    programs, port = environment_programs("bentoml"), free_port()
    command = [programs / "bentoml", "serve", "bento_service:Painter", "--port", str(port), "--host", "127.0.0.1"]
    extra = {"PYTHONPATH": f"{PEERS}:{BENCH}", "BENTOML_DO_NOT_TRACK": "1", "BENTOML_HOME": str(place / "bento")}
    with program(command, port=port, log=place / "bentoml.log", env=extra):
        yield port


@contextmanager
def litellm(place: Path, upstream: int) -> Iterator[int]:
    programs, port, config = environment_programs("litellm"), free_port(), place / "litellm.yaml"
    config.write_text(LITELLM.format(upstream))
    command = [programs / "litellm", "--config", config, "--port", str(port), "--host", "127.0.0.1"]
    with program(command, port=port, log=place / "litellm.log"):
        yield port


def measure(rounds: int) -> list[Figure]:
    return [*_alone_and_peers(rounds), *_relay(rounds)]


def _alone_and_peers(rounds: int) -> list[Figure]:
    with folder() as place, serving(place / "data", INSTANT) as (api, key):
        one_by_one(by_framehouse, api.port, key)
        alone = run_rounds({"seconds": lambda: one_by_one(by_framehouse, api.port, key)}, rounds)
        with celery(place) as celery_port, bentoml(place) as bento_port:
            for task, port in ((by_celery, celery_port), (by_bentoml, bento_port)):
                per_second(task, port, "none", tasks=CLIENTS)
            found = run_rounds(
                {
                    "ours": lambda: per_second(by_framehouse, api.port, key),
                    "Celery": lambda: per_second(by_celery, celery_port, "none", tasks=SLOW_TASKS),
                    "BentoML": lambda: per_second(by_bentoml, bento_port, "none", tasks=SLOW_TASKS),
                },
                rounds,
            )
    ours = f"{median(found, 'ours'):.1f}/s"
    return [
        Figure(
            "a task on an idle server, from POST to its end, less the engine",
            "–",
            median(alone, "seconds") * 1000,
            25,
            True,
            "ms",
            "with one picture of 1k finished and kept",
            rounds=alone,
        ),
        *(
            Figure(
                "tasks per second",
                told,
                ratio(found, "ours", name),
                3,
                False,
                "×",
                ours,
                f"{median(found, name):.1f}/s",
                rounds=found,
            )
            for name, told in (("BentoML", "BentoML tasks"), ("Celery", "Celery + Redis + FastAPI"))
        ),
    ]


def _relay(rounds: int) -> list[Figure]:
    upstream = free_port()
    with ExitStack() as stack:
        place = stack.enter_context(folder())
        command = [sys.executable, PEERS / "upstream.py", str(upstream)]
        stack.enter_context(program(command, port=upstream, log=place / "upstream.log", env={"PYTHONPATH": str(BENCH)}))
        api, key = stack.enter_context(serving(place / "data", RELAY.format(upstream)))
        proxy = stack.enter_context(litellm(place, upstream))
        contenders = [("ours", by_framehouse, api.port, key), ("LiteLLM", by_openai, proxy, "sk-bench")]
        for _, task, port, its_key in contenders:
            per_second(task, port, its_key, tasks=CLIENTS)
        contenders = [("direct", by_openai, upstream, ""), *contenders]

        def each(seconds: Callable[[Task, int, str], float]) -> list[dict[str, float]]:
            return run_rounds(
                {name: partial(seconds, task, port, its_key) for name, task, port, its_key in contenders}, rounds
            )

        together = each(lambda task, port, its_key: 1 / per_second(task, port, its_key))
        alone = each(one_by_one)
        disk = statistics.median(_disk(place) for _ in range(40))
    return [
        _added(together, disk, "added to a request through a relay, 16 at once"),
        _added(alone, disk, "added to a request through a relay, one by one"),
    ]


def _disk(place: Path) -> float:
    """Seconds that keeping a task takes at least: four commits (accepted, claimed, begun, ended) and the picture, each
    flushed before the next."""
    began = time.perf_counter()
    with (place / "log").open("ab") as log:
        for _ in range(4):
            log.write(bytes(8192))
            log.flush()
            os.fdatasync(log.fileno())
    with (place / "picture").open("wb") as image:
        image.write(os.urandom(1_500_000))
        image.flush()
        os.fsync(image.fileno())
    return time.perf_counter() - began


def _added(rounds: list[dict[str, float]], disk: float, what: str) -> Figure:
    found = [
        {"ours": one["ours"] - one["direct"], "LiteLLM": one["LiteLLM"] - one["direct"], "direct": one["direct"]}
        for one in rounds
    ]
    return Figure(
        what,
        "LiteLLM proxy",
        ratio(found, "LiteLLM", "ours"),
        5,
        False,
        "× less",
        f"{median(found, 'ours') * 1000:.1f} ms",
        f"{median(found, 'LiteLLM') * 1000:.1f} ms",
        f"the disk, to keep a task: {disk * 1000:.1f} ms; the upstream: {median(found, 'direct') * 1000:.1f} ms",
        rounds=found,
    )
