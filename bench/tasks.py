"""Measure whole tasks, from acceptance to the image: on an idle server, through a relay, and at the maximum rate.

Every server is started on loopback as its documentation describes. The image is always the same photo of 1024² pixels.
For the maximum rate, 16 clients submit one task after the other, and wait for the end of each.
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

from measuring.comparisons import Figure, median, ratio, run_rounds
from measuring.framehouse_processes import BENCH, INSTANT, PATH, serving, temporary_folder
from measuring.load import find_program
from measuring.peers import environment_programs, free_port, running_program

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
    """A client with a key and one connection that stays open."""

    def __init__(self, port: int, key: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}

    def request(self, method: str, path: str, **body: Any) -> Any:
        """Send a request. Returns the parsed JSON, or the bytes of another content. Exits if the request fails."""
        self._connection.request(method, path, json.dumps(body) if body else None, self._headers)
        answer = self._connection.getresponse()
        content = answer.read()
        if answer.status >= 300:
            raise SystemExit(f"{method} {path}: {answer.status} {content[:500]!r}")
        return json.loads(content) if "json" in (answer.getheader("content-type") or "") else content


def framehouse_task(client: Client) -> None:
    accepted = client.request("POST", PATH, model_name="kling-v3-omni", prompt="a red fox", n=1, aspect_ratio="1:1")
    ended = client.request("GET", f"{PATH}/{accepted['data']['task_id']}?wait=60")
    assert ended["data"]["task_status"] == "succeed", ended


def openai_request(client: Client) -> None:
    client.request("POST", "/v1/images/generations", model="relay", prompt="a red fox", n=1, size="1024x1024")


def celery_task(client: Client) -> None:
    accepted = client.request("POST", "/tasks", prompt="a red fox")
    while (polled := client.request("GET", f"/tasks/{accepted['task_id']}"))["status"] != "success":
        assert polled["status"] == "pending", polled
        time.sleep(0.02)


def bentoml_task(client: Client) -> None:
    accepted = client.request("POST", "/generate/submit", prompt="a red fox")
    status_path = f"/generate/status?task_id={accepted['task_id']}"
    while (polled := client.request("GET", status_path))["status"] != "completed":
        assert polled["status"] == "in_progress", polled
        time.sleep(0.02)
    client.request("GET", f"/generate/get?task_id={accepted['task_id']}")


def tasks_per_second(task: Task, port: int, key: str, *, tasks: int = TASKS) -> float:
    """Run `tasks` tasks with CLIENTS concurrent clients. Returns the tasks per second."""
    remaining: queue.SimpleQueue[int] = queue.SimpleQueue()
    for number in range(tasks):
        remaining.put(number)
    errors: list[BaseException] = []

    def run_client() -> None:
        try:
            client = Client(port, key)
            while not remaining.empty():
                remaining.get_nowait()
                task(client)
        except queue.Empty:
            pass
        except BaseException as error:  # noqa: BLE001 - raised again below, in the main thread
            errors.append(error)

    threads = [threading.Thread(target=run_client) for _ in range(CLIENTS)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return tasks / (time.perf_counter() - began)


def seconds_per_task(task: Task, port: int, key: str) -> float:
    """Run 40 tasks one after the other. Returns the median of their times in seconds."""
    client, times = Client(port, key), []
    for _ in range(40):
        began = time.perf_counter()
        task(client)
        times.append(time.perf_counter() - began)
        time.sleep(0.005)
    return statistics.median(times)


@contextmanager
def celery(folder: Path) -> Iterator[int]:
    """Run Redis, a Celery worker with one process per core, and the FastAPI process. Yields the port of FastAPI."""
    programs, port, redis = environment_programs("celery"), free_port(), free_port()
    variables = {"REDIS": f"redis://127.0.0.1:{redis}/0", "FOLDER": str(folder), "PYTHONPATH": f"{PEERS}:{BENCH}"}
    with ExitStack() as stack:
        server = [find_program("redis-server"), "--port", str(redis), "--bind", "127.0.0.1"]
        server += ["--save", "", "--dir", str(folder)]
        stack.enter_context(running_program(server, port=redis, log=folder / "redis.log"))
        worker = [programs / "celery", "-A", "celery_app", "worker", "-c", str(os.cpu_count()), "--loglevel", "warning"]
        stack.enter_context(running_program(worker, log=folder / "celery.log", env=variables))
        api = [programs / "python", PEERS / "celery_app.py", str(port)]
        stack.enter_context(running_program(api, port=port, log=folder / "celery-api.log", env=variables))
        yield port


@contextmanager
def bentoml(folder: Path) -> Iterator[int]:
    """Run the BentoML service. Yields its port."""
    programs, port = environment_programs("bentoml"), free_port()
    command = [programs / "bentoml", "serve", "bento_service:ImageService", "--port", str(port), "--host", "127.0.0.1"]
    variables = {"PYTHONPATH": f"{PEERS}:{BENCH}", "BENTOML_DO_NOT_TRACK": "1", "BENTOML_HOME": str(folder / "bento")}
    with running_program(command, port=port, log=folder / "bentoml.log", env=variables):
        yield port


@contextmanager
def litellm(folder: Path, upstream_port: int) -> Iterator[int]:
    """Run LiteLLM's proxy. Yields its port."""
    programs, port, config = environment_programs("litellm"), free_port(), folder / "litellm.yaml"
    config.write_text(LITELLM.format(upstream_port))
    command = [programs / "litellm", "--config", config, "--port", str(port), "--host", "127.0.0.1"]
    with running_program(command, port=port, log=folder / "litellm.log"):
        yield port


def measure(rounds: int) -> list[Figure]:
    return [*_measure_tasks(rounds), *_measure_relay(rounds)]


def _measure_tasks(rounds: int) -> list[Figure]:
    with temporary_folder() as folder, serving(folder / "data", INSTANT) as (api, key):
        seconds_per_task(framehouse_task, api.port, key)
        times = run_rounds({"seconds": lambda: seconds_per_task(framehouse_task, api.port, key)}, rounds)
        with celery(folder) as celery_port, bentoml(folder) as bentoml_port:
            for task, port in ((celery_task, celery_port), (bentoml_task, bentoml_port)):
                tasks_per_second(task, port, "none", tasks=CLIENTS)
            rates = run_rounds(
                {
                    "ours": lambda: tasks_per_second(framehouse_task, api.port, key),
                    "Celery": lambda: tasks_per_second(celery_task, celery_port, "none", tasks=SLOW_TASKS),
                    "BentoML": lambda: tasks_per_second(bentoml_task, bentoml_port, "none", tasks=SLOW_TASKS),
                },
                rounds,
            )
    ours = f"{median(rates, 'ours'):.1f}/s"
    return [
        Figure(
            "one task on an idle server, from POST to its end, without the engine",
            "–",
            median(times, "seconds") * 1000,
            25,
            True,
            "ms",
            "includes finishing and storing one 1k image",
            rounds=times,
        ),
        *(
            Figure(
                "tasks per second",
                compared_with,
                ratio(rates, "ours", name),
                3,
                False,
                "×",
                ours,
                f"{median(rates, name):.1f}/s",
                rounds=rates,
            )
            for name, compared_with in (("BentoML", "BentoML tasks"), ("Celery", "Celery + Redis + FastAPI"))
        ),
    ]


def _measure_relay(rounds: int) -> list[Figure]:
    upstream_port = free_port()
    with ExitStack() as stack:
        folder = stack.enter_context(temporary_folder())
        command = [sys.executable, PEERS / "upstream.py", str(upstream_port)]
        variables = {"PYTHONPATH": str(BENCH)}
        stack.enter_context(running_program(command, port=upstream_port, log=folder / "upstream.log", env=variables))
        api, key = stack.enter_context(serving(folder / "data", RELAY.format(upstream_port)))
        proxy_port = stack.enter_context(litellm(folder, upstream_port))
        relays = [
            ("ours", framehouse_task, api.port, key),
            ("LiteLLM", openai_request, proxy_port, "sk-bench"),
        ]
        for _, task, port, relay_key in relays:
            tasks_per_second(task, port, relay_key, tasks=CLIENTS)
        contenders = [("direct", openai_request, upstream_port, ""), *relays]

        def run_contenders(seconds: Callable[[Task, int, str], float]) -> list[dict[str, float]]:
            return run_rounds(
                {name: partial(seconds, task, port, its_key) for name, task, port, its_key in contenders}, rounds
            )

        concurrent = run_contenders(lambda task, port, its_key: 1 / tasks_per_second(task, port, its_key))
        one_by_one = run_contenders(seconds_per_task)
        disk_s = statistics.median(_minimum_disk_time(folder) for _ in range(40))
    return [
        _relay_figure(concurrent, disk_s, "time that a relay adds to a request, with 16 requests at a time"),
        _relay_figure(one_by_one, disk_s, "time that a relay adds to a request, with one request at a time"),
    ]


def _minimum_disk_time(folder: Path) -> float:
    """Return the minimum time in seconds for storing a task on this disk.

    It is the time of four commits (accepted, claimed, started, ended) and of the image, each flushed before the next.
    """
    began = time.perf_counter()
    with (folder / "log").open("ab") as log:
        for _ in range(4):
            log.write(bytes(8192))
            log.flush()
            os.fdatasync(log.fileno())
    with (folder / "image").open("wb") as image:
        image.write(os.urandom(1_500_000))
        image.flush()
        os.fsync(image.fileno())
    return time.perf_counter() - began


def _relay_figure(rounds: list[dict[str, float]], disk_s: float, measurement: str) -> Figure:
    added = [
        {
            "ours": times["ours"] - times["direct"],
            "LiteLLM": times["LiteLLM"] - times["direct"],
            "direct": times["direct"],
        }
        for times in rounds
    ]
    upstream_s = median(added, "direct")
    return Figure(
        measurement,
        "LiteLLM proxy",
        ratio(added, "LiteLLM", "ours"),
        5,
        False,
        "× less",
        f"{median(added, 'ours') * 1000:.1f} ms",
        f"{median(added, 'LiteLLM') * 1000:.1f} ms",
        f"storing a task on this disk: {disk_s * 1000:.1f} ms; the upstream alone: {upstream_s * 1000:.1f} ms",
        rounds=added,
    )
