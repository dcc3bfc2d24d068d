"""The metrics endpoint of an API process: the shared metrics of the queue, and the metrics of the process."""

import asyncio
import re
import time
from typing import Any

import pytest

from framehouse.adapters.storage import StorageUnavailable, open_storage
from framehouse.adapters.storage.measured import MeasuredStorage
from framehouse.adapters.telemetry import logs
from framehouse.domain.model import Catalog, Model
from framehouse.engines.registry import Registry, open_registry
from framehouse.entrypoints.api.metrics_endpoint import fetch_worker_metrics, shared_families
from tests.support.api_server import PATH, Api, serving
from tests.support.eventually import eventually
from tests.support.in_process_deployment import Deployment, MakeDeployment
from tests.support.sockets import listening

OMNI, O1 = (
    f'model="{name}",route="framehouse.testing.misbehaving:Misbehaving"' for name in ("kling-v3-omni", "kling-image-o1")
)


@pytest.fixture(autouse=True)
def _patient_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine, the storage and the queries may need longer than the usual six seconds."""
    monkeypatch.setattr("framehouse.entrypoints.api.dependency_checks._STORAGE_TIMEOUT_S", 60.0)
    monkeypatch.setattr("framehouse.entrypoints.api.metrics_endpoint._QUERIES_TIMEOUT_S", 60.0)


async def read_metrics(api: Api) -> dict[str, float]:
    """The value of each series. Keys have the form `name{label="value"}`."""
    text = (await api.anonymous.get("/metrics")).text
    return {
        name: float(value)
        for name, value in (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    }


def increases(before: dict[str, float], after: dict[str, float], prefix: str) -> dict[str, float]:
    """The increase of each series that starts with `prefix`, without the unchanged series."""
    changes = {name: after[name] - before.get(name, 0) for name in after if name.startswith(prefix)}
    return {name: change for name, change in changes.items() if change}


async def test_the_queue_is_exposed_by_model_even_if_it_is_empty(api: Api) -> None:
    for model in ("kling-v3-omni", "kling-v3-omni", "kling-image-o1"):
        await api.create(model_name=model, n=2)
    await api.deployment.db.row("update batches set run_at = now() - interval '90 s' where model = 'kling-v3-omni'")
    values = await read_metrics(api)
    assert values[f'framehouse_queue_batches{{{OMNI},state="waiting"}}'] == 4
    assert values[f'framehouse_queue_batches{{{OMNI},state="running"}}'] == 0
    assert values[f'framehouse_queue_batches{{{O1},state="waiting"}}'] == 2
    assert values['framehouse_tasks_in_flight{model="kling-v3-omni"}'] == 2
    assert 90 <= values[f"framehouse_queue_oldest_seconds{{{OMNI}}}"] < 150
    assert values[f"framehouse_queue_oldest_seconds{{{O1}}}"] < 60
    await api.deployment.db.row("delete from batches")
    values = await read_metrics(api)
    assert values[f'framehouse_queue_batches{{{OMNI},state="waiting"}}'] == 0
    assert values[f"framehouse_queue_oldest_seconds{{{OMNI}}}"] == 0


async def test_running_batches_and_batches_with_open_orders_are_exposed(api: Api) -> None:
    await api.create("slow 30", n=2)
    api.deployment.start_worker(concurrency=1, stop_s=0)
    running = f'framehouse_queue_batches{{{OMNI},state="running"}}'

    async def generating() -> dict[str, float] | None:
        values = await read_metrics(api)
        # a worker may claim a batch before its second connection holds the lock by which workers are counted
        return values if values[running] == values["framehouse_workers"] == 1 else None

    values: dict[str, float] = await eventually(generating)
    assert not any(name.startswith("framehouse_queue_pinned") for name in values)
    await api.deployment.db.row(
        """update batches set notes = '{"gate\\"way": {"note": {"id": 1}}, "b": {"given_up": "x"}}'"""
    )
    values = await read_metrics(api)
    assert values['framehouse_queue_pinned_batches{model="kling-v3-omni",route="gate\\"way"}'] == 2
    assert len([name for name in values if name.startswith("framehouse_queue_pinned")]) == 1


async def test_requests_are_counted_by_operation_and_code_and_tasks_by_outcome(make_deployment: MakeDeployment) -> None:
    async with serving(await make_deployment(concurrency=3)) as api:
        before = await read_metrics(api)
        task = await api.create(n=3)
        assert (await api.alice.post(PATH, json={"model_name": "kling-v3-omni", "prompt": "x"})).status_code == 429
        assert (await api.alice.post(PATH, json={"model_name": "kling-v3-omni", "n": 99})).status_code == 400
        assert (await api.anonymous.post(PATH, json={})).status_code == 401
        for path in (f"{PATH}/{task['task_id']}", f"{PATH}/{task['task_id']}?wait=1", f"{PATH}/none", PATH, "/none/x"):
            await api.alice.get(path)
        after = await read_metrics(api)
    requests = increases(before, after, "framehouse_requests_total")
    assert {tuple(re.findall('="([^"]*)"', name)[:2]): count for name, count in requests.items()} == {
        ("0", "create_task"): 1,
        ("1303", "create_task"): 1,
        ("1201", "create_task"): 1,
        ("1001", "create_task"): 1,
        ("0", "get_task"): 1,
        ("1201", "get_task"): 1,
        ("0", "wait_task"): 1,
        ("0", "list_tasks"): 1,
        ("1202", "other"): 1,
        ("0", "metrics"): 1,
    }
    assert increases(before, after, "framehouse_accepts_total") == {
        'framehouse_accepts_total{outcome="accepted",process="api"}': 1,
        'framehouse_accepts_total{outcome="over_concurrency",process="api"}': 1,
    }
    times = increases(before, after, 'framehouse_request_seconds_count{operation="create_task"')
    assert sum(times.values()) == 4


async def test_engine_calls_are_counted_by_their_outcome(api: Api) -> None:
    before = await read_metrics(api)
    api.deployment.start_worker()
    for prompt in ("slow 0.2", "decline", "break", "unknown", "unavailable 1", "raise"):
        task = await api.create(prompt)
        if prompt != "raise":
            await api.wait_for_task(task["task_id"])
    internal_errors = 'framehouse_internal_errors_total{process="api"}'

    async def error_counted() -> dict[str, float] | None:
        values = await read_metrics(api)
        return values if values[internal_errors] > before[internal_errors] else None

    after: dict[str, float] = await eventually(error_counted)
    errors = increases(before, after, "framehouse_engine_errors_total")
    assert {re.findall('kind="([^"]*)"', name)[0] for name in errors} == {
        "declined",
        "broken",
        "unknown",
        "unavailable",
    }
    (calls,) = increases(before, after, "framehouse_generation_seconds_count").values()
    assert calls == 2
    (seconds,) = increases(before, after, "framehouse_generation_seconds_sum").values()
    assert 0.2 <= seconds < 60
    (images,) = increases(before, after, "framehouse_images_total").values()
    assert images == 2
    failures = increases(before, after, "framehouse_batch_failures_total")
    assert {re.findall('outcome="([^"]*)"', name)[0]: count for name, count in failures.items()} == {
        "failed": 3,
        "retry": 2,
    }


async def test_other_metrics_are_exposed_while_the_database_is_unavailable(
    make_deployment: MakeDeployment,
) -> None:
    async with serving(await make_deployment()) as api:
        await api.create()
        await api.deployment.db.close()
        began = time.monotonic()
        values = await read_metrics(api)
        assert time.monotonic() - began < 10
        await api.deployment.db.open()
    assert values["framehouse_database_up"] == 0
    assert values["framehouse_storage_up"] == 1
    assert not any(name.startswith("framehouse_queue") for name in values)
    assert values['framehouse_accepts_total{outcome="accepted",process="api"}'] >= 1


async def test_names_from_the_configuration_are_escaped(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment()
    name = 'a"b\\c\nd'
    registry = open_registry([(Model(name), [{"engine": "previz", "name": name}])])
    deployment = Deployment(deployment.db, deployment.storage, registry, deployment.caller, deployment.accept_queue)
    async with serving(deployment) as api:
        deployment.worker()
        text = (await api.anonymous.get("/metrics")).text
    assert 'framehouse_queue_batches{model="a\\"b\\\\c\\nd",route="a\\"b\\\\c\\nd",state="waiting"} 0.0' in text
    assert 'framehouse_images_total{model="a\\"b\\\\c\\nd",process="api",route="a\\"b\\\\c\\nd"} 0.0' in text


async def test_storage_calls_and_errors_are_counted(tmp_path: Any, api: Api) -> None:
    storage = MeasuredStorage(open_storage((tmp_path / "measured").as_uri()))
    before = await read_metrics(api)
    await storage.put("a/b", b"x")
    assert await storage.get("a/none") is None
    with pytest.raises(FileNotFoundError):
        await storage.get_range("a/none", 0, 1)
    (tmp_path / "measured" / "file").write_text("")
    with pytest.raises(StorageUnavailable):
        await storage.put("file/b", b"x")
    after = await read_metrics(api)
    calls = increases(before, after, "framehouse_storage_seconds_count")
    assert {re.findall('operation="([^"]*)"', name)[0]: count for name, count in calls.items()} == {
        "put": 1,
        "get": 1,
    }
    assert list(increases(before, after, "framehouse_storage_errors_total").values()) == [1]


async def test_a_shared_statement_has_no_request_id_in_its_log_context(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    request_ids: list[object] = []
    original_rows = api.deployment.db.rows

    async def rows(*values: Any, **named: Any) -> Any:
        request_ids.append(logs.log_context.get().get("request_id"))
        return await original_rows(*values, **named)

    monkeypatch.setattr(api.deployment.db, "rows", rows)
    await asyncio.gather(*(api.create() for _ in range(4)))
    assert request_ids
    assert set(request_ids) == {None}


def test_without_the_database_only_the_version_and_states_are_exposed() -> None:
    names = [family.name for family in shared_families(None, True, Registry({}, Catalog([])))]
    assert names == ["framehouse_build", "framehouse_database_up", "framehouse_storage_up"]


async def test_an_incomplete_response_of_the_worker_is_ignored() -> None:
    async def send_half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        writer.close()

    async with listening(send_half) as url:
        assert await fetch_worker_metrics(f"{url}/metrics") == ""
