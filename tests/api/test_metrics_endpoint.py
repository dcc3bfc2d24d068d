"""The metrics of an API process: the queue's, which all share, and its own."""

import asyncio
import re
import time
from typing import Any

import pytest

from framehouse.adapters.storage import StorageUnavailable, open_storage
from framehouse.adapters.storage.measured import MeasuredStorage
from framehouse.adapters.telemetry import logs
from framehouse.domain.model import Model
from framehouse.engines.registry import Registry, open_registry
from framehouse.entrypoints.api.metrics_endpoint import fetch_worker_metrics, shared_families
from tests.support.api_server import PATH, Api, serving
from tests.support.eventually import eventually
from tests.support.in_process_deployment import Deployment, MakeDeployment
from tests.support.sockets import listening

OMNI, O1 = (
    f'model="{name}",route="framehouse.testing.misbehaving:Misbehaving"' for name in ("kling-v3-omni", "kling-image-o1")
)


async def figures(api: Api) -> dict[str, float]:
    text = (await api.anonymous.get("/metrics")).text
    return {
        name: float(value)
        for name, value in (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    }


def risen(before: dict[str, float], after: dict[str, float], start: str) -> dict[str, float]:
    """By what the series that start so have risen, without those that have not."""
    grown = {name: after[name] - before.get(name, 0) for name in after if name.startswith(start)}
    return {name: by for name, by in grown.items() if by}


async def test_the_queue_is_told_by_model_even_where_it_is_empty(api: Api) -> None:
    for model in ("kling-v3-omni", "kling-v3-omni", "kling-image-o1"):
        await api.create(model_name=model, n=2)
    await api.deployment.db.row("update batches set run_at = now() - interval '90 s' where model = 'kling-v3-omni'")
    told = await figures(api)
    assert told[f'framehouse_queue_batches{{{OMNI},state="waiting"}}'] == 4
    assert told[f'framehouse_queue_batches{{{OMNI},state="running"}}'] == 0
    assert told[f'framehouse_queue_batches{{{O1},state="waiting"}}'] == 2
    assert told['framehouse_tasks_in_flight{model="kling-v3-omni"}'] == 2
    assert 90 <= told[f"framehouse_queue_oldest_seconds{{{OMNI}}}"] < 100
    assert told[f"framehouse_queue_oldest_seconds{{{O1}}}"] < 10
    await api.deployment.db.row("delete from batches")
    told = await figures(api)
    assert told[f'framehouse_queue_batches{{{OMNI},state="waiting"}}'] == 0
    assert told[f"framehouse_queue_oldest_seconds{{{OMNI}}}"] == 0


async def test_what_is_running_and_what_is_pinned_to_a_route(api: Api) -> None:
    await api.create("slow 30", n=2)
    api.deployment.start_worker(concurrency=1, stop_s=0)
    running = f'framehouse_queue_batches{{{OMNI},state="running"}}'

    async def painting() -> dict[str, float] | None:
        told = await figures(api)
        return told if told[running] == 1 else None

    told: dict[str, float] = await eventually(painting)
    assert told["framehouse_workers"] == 1
    assert not any(name.startswith("framehouse_queue_pinned") for name in told)
    await api.deployment.db.row(
        """update batches set notes = '{"gate\\"way": {"note": {"id": 1}}, "b": {"given_up": "x"}}'"""
    )
    told = await figures(api)
    assert told['framehouse_queue_pinned_batches{model="kling-v3-omni",route="gate\\"way"}'] == 2
    assert len([name for name in told if name.startswith("framehouse_queue_pinned")]) == 1


async def test_requests_are_counted_by_operation_and_code_and_tasks_by_outcome(make_deployment: MakeDeployment) -> None:
    async with serving(await make_deployment(concurrency=3)) as api:
        before = await figures(api)
        task = await api.create(n=3)
        assert (await api.alice.post(PATH, json={"model_name": "kling-v3-omni", "prompt": "x"})).status_code == 429
        assert (await api.alice.post(PATH, json={"model_name": "kling-v3-omni", "n": 99})).status_code == 400
        assert (await api.anonymous.post(PATH, json={})).status_code == 401
        for path in (f"{PATH}/{task['task_id']}", f"{PATH}/{task['task_id']}?wait=1", f"{PATH}/none", PATH, "/none/x"):
            await api.alice.get(path)
        after = await figures(api)
    requests = risen(before, after, "framehouse_requests_total")
    assert {tuple(re.findall('="([^"]*)"', name)[:2]): by for name, by in requests.items()} == {
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
    assert risen(before, after, "framehouse_accepts_total") == {
        'framehouse_accepts_total{outcome="accepted",process="api"}': 1,
        'framehouse_accepts_total{outcome="over_concurrency",process="api"}': 1,
    }
    times = risen(before, after, 'framehouse_request_seconds_count{operation="create_task"')
    assert sum(times.values()) == 4


async def test_engines_are_counted_by_what_became_of_their_calls(api: Api) -> None:
    before = await figures(api)
    api.deployment.start_worker()
    for prompt in ("slow 0.2", "decline", "break", "unknown", "unavailable 1", "raise"):
        task = await api.create(prompt)
        if prompt != "raise":
            await api.wait_for_task(task["task_id"])
    internal = 'framehouse_internal_errors_total{process="api"}'

    async def broke() -> bool:
        return (await figures(api))[internal] > before[internal]

    await eventually(broke)
    after = await figures(api)
    errors = risen(before, after, "framehouse_engine_errors_total")
    assert {re.findall('kind="([^"]*)"', name)[0] for name in errors} == {
        "declined",
        "broken",
        "unknown",
        "unavailable",
    }
    (calls,) = risen(before, after, "framehouse_generation_seconds_count").values()
    assert calls == 2
    (took,) = risen(before, after, "framehouse_generation_seconds_sum").values()
    assert 0.2 <= took < 2
    (images,) = risen(before, after, "framehouse_images_total").values()
    assert images == 2
    fates = risen(before, after, "framehouse_batch_failures_total")
    assert {re.findall('outcome="([^"]*)"', name)[0]: by for name, by in fates.items()} == {
        "failed": 3,
        "retry": 2,
    }


async def test_a_database_that_is_away_is_told_and_costs_the_other_figures_nothing(
    make_deployment: MakeDeployment,
) -> None:
    async with serving(await make_deployment()) as api:
        await api.create()
        await api.deployment.db.close()
        began = time.monotonic()
        told = await figures(api)
        assert time.monotonic() - began < 10
        await api.deployment.db.open()
    assert told["framehouse_database_up"] == 0
    assert told["framehouse_storage_up"] == 1
    assert not any(name.startswith("framehouse_queue") for name in told)
    assert told['framehouse_accepts_total{outcome="accepted",process="api"}'] >= 1


async def test_names_of_the_configuration_are_escaped(make_deployment: MakeDeployment) -> None:
    deployment = await make_deployment()
    name = 'a"b\\c\nd'
    registry = open_registry([(Model(name), [{"engine": "previz", "name": name}])])
    odd = Deployment(deployment.db, deployment.storage, registry, deployment.caller, deployment.accept_queue)
    async with serving(odd) as api:
        odd.worker()
        text = (await api.anonymous.get("/metrics")).text
    assert 'framehouse_queue_batches{model="a\\"b\\\\c\\nd",route="a\\"b\\\\c\\nd",state="waiting"} 0.0' in text
    assert 'framehouse_images_total{model="a\\"b\\\\c\\nd",process="api",route="a\\"b\\\\c\\nd"} 0.0' in text


async def test_a_storage_is_watched(tmp_path: Any, api: Api) -> None:
    storage = MeasuredStorage(open_storage((tmp_path / "watched").as_uri()))
    before = await figures(api)
    await storage.put("a/b", b"x")
    assert await storage.get("a/none") is None
    with pytest.raises(FileNotFoundError):
        await storage.get_range("a/none", 0, 1)
    (tmp_path / "watched" / "file").write_text("")
    with pytest.raises(StorageUnavailable):
        await storage.put("file/b", b"x")
    after = await figures(api)
    counted = risen(before, after, "framehouse_storage_seconds_count")
    assert {re.findall('operation="([^"]*)"', name)[0]: by for name, by in counted.items()} == {
        "put": 1,
        "get": 1,
    }
    assert list(risen(before, after, "framehouse_storage_errors_total").values()) == [1]


async def test_a_request_that_shares_a_statement_is_not_what_its_lines_are_about(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[object] = []
    offer = api.deployment.db.rows

    async def rows(*values: Any, **named: Any) -> Any:
        seen.append(logs.log_context.get().get("request_id"))
        return await offer(*values, **named)

    monkeypatch.setattr(api.deployment.db, "rows", rows)
    await asyncio.gather(*(api.create() for _ in range(4)))
    assert seen
    assert set(seen) == {None}


def test_away_is_all_that_is_told_of_a_database_that_is() -> None:
    names = [family.name for family in shared_families(None, True, Registry({}, []))]
    assert names == ["framehouse_build", "framehouse_database_up", "framehouse_storage_up"]


async def test_a_worker_that_dies_while_it_tells_its_figures_leaves_those_of_the_api() -> None:
    async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        writer.close()

    async with listening(half) as url:
        assert await fetch_worker_metrics(f"{url}/metrics") == ""
