"""The traces, logs and metrics of a whole server with its API and worker processes."""

import asyncio
import json
import re
import socket
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
import pytest_asyncio

from tests.support.command_line import FRAMEHOUSE, PATH, client, environment, run, serve
from tests.support.data_folder import prepare
from tests.support.eventually import eventually
from tests.support.openai_server import serving
from tests.support.promtool import promtool
from tests.support.sockets import free_port
from tests.support.trace_collector import Collector, collecting

SECRET = "sesame"
CALLER = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7")
TRACEPARENT = {"traceparent": f"00-{CALLER[0]}-{CALLER[1]}-01", "X-Request-Id": "from-outside"}
BODY: dict[str, Any] = {
    "model_name": "kling-v3-omni",
    "prompt": f"a fox of {SECRET}",
    "callback_url": f"http://127.0.0.1:9/hook?token={SECRET}",
}


@dataclass(frozen=True)
class Telemetry:
    """The telemetry of three tasks: without a caller's trace, with a caller's trace, and with a refused prompt.

    `model_server_headers` are the headers of the request to the model server for the first task.
    """

    untraced: str
    traced: str
    declined: str
    collector: Collector
    model_server_headers: dict[str, str]
    metrics: str
    log: str
    key: str


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def telemetry(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Telemetry]:
    data = tmp_path_factory.mktemp("telemetry") / "data"
    config = data.parent / "framehouse.toml"
    async with serving("openai") as model_server:
        config.write_text(
            'log_format = "json"\nallow_private_addresses = true\n[models."kling-v3-omni"]\nroutes = [{ engine = '
            f'"openai_images", kind = "openai", base_urls = ["{model_server.url}"], model = "m" }}]\n'
        )
        with collecting() as collector:
            exporting = {"FRAMEHOUSE_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "100"}  # milliseconds
            with serve(data, "--config", config, **exporting) as server:
                headers = {"Authorization": f"Bearer {server.key}"}
                async with httpx.AsyncClient(base_url=server.url, headers=headers, timeout=60) as http:

                    async def run_task(**options: Any) -> str:
                        response = await http.post(PATH, json=BODY, **options)
                        task_id = str(response.json()["data"]["task_id"])
                        await http.get(f"{PATH}/{task_id}?wait=30")
                        return task_id

                    untraced = await run_task()
                    model_server_headers = dict(model_server.posts[-1].headers)
                    traced = await run_task(headers=TRACEPARENT)
                    model_server.faults.append(("400 Bad Request", {}, f"safety system: {SECRET}"))
                    declined = await run_task()
                    await http.get(f"/nothing/{SECRET}", headers={"traceparent": f"00-{SECRET}"})

                    async def complete_metrics() -> str:
                        """The metrics, or an empty string before the first attempts to deliver the callbacks."""
                        text = (await http.get("/metrics")).text
                        again = re.search(r'^framehouse_deliveries_total\{outcome="again",\S+ (\S+)$', text, re.M)
                        failed = re.search(r'^framehouse_batch_failures_total\{\S+outcome="failed",\S+ 1', text, re.M)
                        workers = "\nframehouse_workers 1.0\n" in text
                        return text if again and float(again[1]) >= 3 and failed and workers else ""

                    async def spans_arrived() -> bool:
                        """Whether the collector has all spans that tests check. A process that stops may lose spans."""
                        names = {"create_task", "accept", "batch", "load", "generate", "finish", "save", "callback"}
                        return (
                            names <= collector.spans_of(untraced).keys()
                            and "create_task" in collector.spans_of(traced)
                            and "generate" in collector.spans_of(declined)
                            and any(span.trace == CALLER[0] for span in collector.spans)
                        )

                    metrics = await eventually(complete_metrics)
                    await eventually(spans_arrived)
                key = server.key
                assert await asyncio.to_thread(server.stop) == 0
            log = (data.parent / "data.log").read_text()
            yield Telemetry(untraced, traced, declined, collector, model_server_headers, metrics, log, key)


pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.xdist_group("telemetry")]


async def test_a_task_is_one_trace_from_the_request_to_the_callback(telemetry: Telemetry) -> None:
    spans = telemetry.collector.spans_of(telemetry.untraced)
    api, worker = "framehouse-api", "framehouse-worker"
    parents = {span.id: span.name for span in spans.values()}
    assert {name: (span.service, parents.get(span.parent, "")) for name, span in spans.items()} == {
        "create_task": (api, ""),
        "accept": (api, "create_task"),
        "batch": (worker, "create_task"),
        "load": (worker, "batch"),
        "generate": (worker, "batch"),
        "finish": (worker, "generate"),
        "save": (worker, "generate"),
        "callback": (worker, "create_task"),
    }
    assert spans["create_task"].attributes["framehouse.task_id"] == telemetry.untraced
    assert spans["generate"].attributes["framehouse.route"] == "openai_images"
    assert spans["batch"].length_ns > spans["generate"].length_ns > spans["finish"].length_ns > 0
    assert [name for name, span in spans.items() if span.failed] == []


async def test_a_model_server_gets_the_span_of_its_call(telemetry: Telemetry) -> None:
    generate = telemetry.collector.spans_of(telemetry.untraced)["generate"]
    assert telemetry.model_server_headers["traceparent"] == f"00-{UUID(telemetry.untraced).hex}-{generate.id}-01"


async def test_the_trace_of_a_caller_contains_the_request_and_a_link_to_the_task(telemetry: Telemetry) -> None:
    root = telemetry.collector.spans_of(telemetry.traced)["create_task"]
    (request,) = [span for span in telemetry.collector.spans if span.trace == CALLER[0]]
    assert (request.parent, request.links) == (CALLER[1], ((root.trace, root.id),))
    assert root.links == ((request.trace, CALLER[1]),)
    assert request.attributes["framehouse.request_id"] == "from-outside"


async def test_the_span_of_a_refused_generation_is_marked_as_failed(telemetry: Telemetry) -> None:
    spans = telemetry.collector.spans_of(telemetry.declined)
    assert {name for name, span in spans.items() if span.failed} == {"generate"}


async def test_traces_contain_no_prompts_keys_or_urls(telemetry: Telemetry) -> None:
    assert telemetry.untraced.encode() in telemetry.collector.raw
    for secret in (SECRET, telemetry.key, "http://", "/hook"):
        assert secret.encode() not in telemetry.collector.raw


async def test_each_line_of_the_log_is_json_and_has_the_ids_of_its_task_and_batch(telemetry: Telemetry) -> None:
    lines = [json.loads(line) for line in telemetry.log.splitlines()]
    assert all({"time", "level", "logger", "message"} <= set(line) for line in lines)
    (failed,) = [line for line in lines if line["message"] == f"task {telemetry.declined} failed"]
    assert failed["task_id"] == telemetry.declined
    assert failed["batch_id"].isdecimal()
    assert SECRET not in telemetry.log
    assert any(line["message"].startswith("Stopping") for line in lines)


async def test_serve_exposes_the_merged_metrics_of_all_its_processes(telemetry: Telemetry) -> None:
    lines = dict(line.rsplit(" ", 1) for line in telemetry.metrics.splitlines() if not line.startswith("#"))
    calls = '{model="kling-v3-omni",process="worker",route="openai_images"}'
    errors = '{kind="declined",model="kling-v3-omni",process="worker",route="openai_images"}'
    for name, value in {
        "framehouse_workers": "1.0",
        'framehouse_accepts_total{outcome="accepted",process="api"}': "3.0",
        'framehouse_requests_total{code="0",operation="create_task",process="api"}': "3.0",
        'framehouse_requests_total{code="1202",operation="other",process="api"}': "1.0",
        f"framehouse_generation_seconds_count{calls}": "2.0",
        f"framehouse_images_total{calls}": "2.0",
        f"framehouse_engine_errors_total{errors}": "1.0",
        'framehouse_storage_seconds_count{operation="put",process="worker"}': "4.0",
        'framehouse_batch_failures_total{model="kling-v3-omni",outcome="failed",process="worker"}': "1.0",
    }.items():
        assert lines[name] == value, name
    assert float(lines['framehouse_deliveries_total{outcome="again",process="worker"}']) >= 3
    assert SECRET not in telemetry.metrics


async def test_promtool_accepts_the_metrics(telemetry: Telemetry) -> None:
    promtool("check", "metrics", input=telemetry.metrics)


@pytest.mark.parametrize("answers", [False, True], ids=["refuses", "hangs"])
async def test_a_dead_collector_neither_delays_nor_fails_tasks(tmp_path: Path, answers: bool) -> None:
    with socket.create_server(("127.0.0.1", free_port())) as dead:
        url = f"http://127.0.0.1:{dead.getsockname()[1]}"
        if not answers:
            dead.close()
        slow = {"OTEL_EXPORTER_OTLP_TIMEOUT": "120"} if answers else {}  # seconds
        with serve(tmp_path / "data", OTEL_EXPORTER_OTLP_ENDPOINT=url, **slow) as server:
            with client(server.url, server.key) as http:
                for _ in range(3):
                    began = time.monotonic()
                    task_id = http.post(PATH, json=BODY | {"callback_url": ""}).json()["data"]["task_id"]
                    assert time.monotonic() - began < 30
                    assert http.get(f"{PATH}/{task_id}?wait=30").json()["data"]["task_status"] == "succeed"
                if not answers:
                    await eventually(lambda: _log_contains(tmp_path, "the collector did not accept traces"))
            began = time.monotonic()
            assert server.stop() == 0
            assert time.monotonic() - began < 25, "a process waited for the collector, at most 30 seconds"
    log = (tmp_path / "data.log").read_text()
    assert log.count("the collector did not accept traces") <= 2, "a process logged the error more than once"
    assert "opentelemetry" not in log


async def _log_contains(tmp_path: Path, words: str) -> bool:
    return words in (tmp_path / "data.log").read_text()


async def test_otlp_endpoint_without_the_opentelemetry_packages_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "opentelemetry").mkdir()
    (tmp_path / "opentelemetry" / "__init__.py").write_text("raise ImportError('not installed')")
    path = environment()["PYTHONPATH"]
    extra = {"PYTHONPATH": f"{tmp_path}:{path}", "FRAMEHOUSE_OTLP_ENDPOINT": "http://127.0.0.1:9"}
    errors = run("worker", "--data-dir", tmp_path / "data", code=1, **extra).stderr
    assert 'otlp_endpoint: traces require additional packages: pip install "framehouse[otel]"' in errors


async def test_a_worker_exposes_its_metrics_at_its_port(tmp_path: Path) -> None:
    prepare(tmp_path / "data")
    port = free_port()
    command = ["worker", "--data-dir", str(tmp_path / "data")]
    extra = {"FRAMEHOUSE_WORKER_METRICS_PORT": str(port)}
    quiet = asyncio.subprocess.DEVNULL
    worker = await asyncio.create_subprocess_exec(
        *FRAMEHOUSE, *command, env=environment(**extra), stderr=quiet, stdout=quiet
    )
    url = f"http://127.0.0.1:{port}"
    try:
        async with httpx.AsyncClient(base_url=url, timeout=60) as http:

            async def worker_metrics() -> str:
                try:
                    text = (await http.get("/metrics")).text
                except httpx.TransportError:
                    return ""
                return text if 'framehouse_claims_total{model="kling-v3-omni",process="worker"} 0.0' in text else ""

            assert await eventually(worker_metrics, seconds=60)
            assert (await http.get("/")).status_code == 404
            assert (await http.post("/metrics")).status_code == 405
            with socket.create_connection(("127.0.0.1", port)) as slow:
                slow.sendall(b"GET /metrics HTTP/1.1\r\n" + b"x" * 100_000)
                assert await worker_metrics()
    finally:
        worker.terminate()
        assert await asyncio.wait_for(worker.wait(), 30) == 0
