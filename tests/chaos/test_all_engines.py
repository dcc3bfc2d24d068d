"""Tasks for all engines at the same time lose and double nothing, while workers die and each upstream misbehaves.

Each of six models uses the routes to all six upstreams, in a different order. Workers are killed, stopped or suspended
at random. Afterwards, each task has ended. A successful task has all of its images, and exactly these images were
ordered from paid upstreams. A failed task has not ordered more images than the client requested, and names the reason.
"""

import asyncio
import json
import os
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from framehouse.adapters.postgres.pool import Database
from framehouse.adapters.postgres.route_costs import list_costs
from framehouse.adapters.storage import open_storage
from framehouse.domain.model import Model
from framehouse.domain.outcome import MAY_BE_PAID
from tests.support.chaos.all_upstreams import PAID_ENGINES, AllUpstreams, all_upstreams
from tests.support.chaos.deployment import supervise
from tests.support.chaos.processes import ProcessSet, running
from tests.support.command_line import FRAMEHOUSE, environment
from tests.support.eventually import eventually
from tests.support.image_files import image_base64
from tests.support.in_process_deployment import Deployment, deploy_models

LONG = "CHAOS_TASKS" in os.environ
TASKS = 500 if LONG else 90
SEED = int(os.environ.get("CHAOS_SEED") or (random.randrange(10**6) if LONG else 1))
WORKERS = 3
LEASE_S = 5
SETTINGS = f"worker_concurrency = 16\nlease_s = {LEASE_S}\nattempts = 100\nstop_s = 3\nupscaling = 'lanczos'\n"
REFERENCE = {"image_list": [{"image": image_base64(400, 400)}]}


@dataclass
class Disturbances:
    """What the test does to the workers and to the upstreams."""

    upstreams: AllUpstreams
    processes: ProcessSet
    rng: random.Random
    done: Counter[str] = field(default_factory=Counter)

    async def inject_faults(self) -> None:
        while True:
            self.upstreams.inject_fault(self.rng)
            await asyncio.sleep(self.rng.uniform(0.2, 0.4))

    async def disturb_workers(self) -> None:
        """Kill, stop or suspend a worker every two seconds, each equally often."""
        while True:
            for action in self.rng.sample(["kill", "kill", "stop", "suspend"], 4):
                await asyncio.sleep(self.rng.uniform(1.5, 2.5))
                worker = self.rng.choice(self.processes.named("worker"))
                if worker.popen is None:
                    continue
                if action == "kill":
                    self.processes.kill(worker)
                elif action == "stop":
                    self.processes.disturbed.add(worker.popen.pid)
                    worker.popen.terminate()
                else:
                    self.processes.stop(worker, LEASE_S + 3)
                self.done[action] += 1


@pytest.mark.long
@pytest.mark.timeout(900)
async def test_no_task_of_any_engine_is_lost_or_doubled(database_url: str, tmp_path: Path) -> None:
    print(f"seed {SEED}")  # noqa: T201 - pytest shows it if the test fails
    storage_url = (tmp_path / "files").as_uri()
    db = Database(database_url, size=4)
    await db.open()

    async def all_ended() -> bool:
        return not await db.value("select count(*) from tasks where ended_at is null")

    async with all_upstreams() as upstreams:
        routes = upstreams.routes()
        models = {f"model-{n}": {"routes": routes[n:] + routes[:n]} for n in range(len(routes))}
        deployment = await deploy_models(
            db,
            open_storage(storage_url),
            [(Model(name), model["routes"]) for name, model in models.items()],
            concurrency=10_000,
        )
        with running(tmp_path) as processes:
            start_workers(tmp_path, processes, database_url, storage_url, models)
            disturbances = Disturbances(upstreams, processes, random.Random(SEED))
            supervising = asyncio.create_task(supervise(processes))
            subjects = await submit(deployment, range(len(models)), random.Random(SEED))
            await eventually(all_ended, seconds=60)  # each engine generates a task before anything fails
            disturbing = [
                asyncio.create_task(disturbances.inject_faults()),
                asyncio.create_task(disturbances.disturb_workers()),
            ]
            try:
                subjects |= await submit(deployment, range(len(models), TASKS), random.Random(SEED))
                for task in disturbing:
                    task.cancel()
                upstreams.stop_faults()
                began = time.monotonic()
                await eventually(all_ended, seconds=400)
                print(f"{time.monotonic() - began:.0f} s after the last fault")  # noqa: T201
            finally:
                for task in (*disturbing, supervising):
                    task.cancel()
                await asyncio.gather(*disturbing, supervising, return_exceptions=True)
        assert not processes.deaths, "a worker ended by itself"
        await verify(deployment, subjects, upstreams)
        print(dict(disturbances.done), dict(upstreams.injected))  # noqa: T201
    await deployment.registry.close()
    await db.close()


def start_workers(
    folder: Path, processes: ProcessSet, database_url: str, storage_url: str, models: dict[str, Any]
) -> None:
    config = folder / "framehouse.toml"
    config.write_text(SETTINGS)
    variables = {
        "FRAMEHOUSE_DATABASE_URL": database_url,
        "FRAMEHOUSE_STORAGE_URL": storage_url,
        "FRAMEHOUSE_MODELS": json.dumps(models),
    }
    command = [*FRAMEHOUSE, "worker", "--config", str(config), "--data-dir", str(folder / "data")]
    for _ in range(WORKERS):
        processes.add("worker", command, environment(**variables))


async def submit(deployment: Deployment, numbers: range, rng: random.Random) -> dict[str, str]:
    """Submit the tasks with these numbers, about six per second. Returns the numbers in their prompts by task id."""
    models = deployment.registry.models
    subjects = {}
    for number in numbers:
        fields: dict[str, Any] = {"n": rng.choices([1, 2, 4], weights=[6, 3, 1])[0]}
        if number % 7 == 3:
            fields = {"result_type": "series", "series_amount": 3}
        elif number % 5 == 2:
            fields |= REFERENCE
        subject = f"{number:04}"
        ticket = await deployment.submit(
            f"fox number {subject}", model_name=models[number % len(models)].name, **fields
        )
        subjects[str(ticket.task_id)] = subject
        await asyncio.sleep(rng.uniform(0.1, 0.25))
    return subjects


async def verify(deployment: Deployment, subjects: dict[str, str], upstreams: AllUpstreams) -> None:
    db = deployment.db
    rows = await db.rows("select * from task_answers")
    assert {str(row["id"]) for row in rows} == set(subjects), "a task was lost or duplicated"
    engines = await db.rows("select task_id, engine from shots where painted_at is not null")
    engines_of: dict[str, Counter[str]] = {task_id: Counter() for task_id in subjects}
    for row in engines:
        engines_of[str(row["task_id"])][row["engine"]] += 1
    paid, jobs = upstreams.paid_images(), upstreams.remembered_jobs()
    outcomes: Counter[str] = Counter()
    charged = 0
    for row in rows:
        subject, saved = subjects[str(row["id"])], engines_of[str(row["id"])]
        ordered = Counter({engine: paid[engine][subject] for engine in PAID_ENGINES if paid[engine][subject]})
        assert ordered.total() <= row["image_count"], f"task {subject} was paid for twice: {ordered}"
        assert jobs[subject] <= row["image_count"], f"ComfyUI generated an image of task {subject} twice"
        charged += row["units_charged"]
        if row["status"] == "succeed":
            images = json.loads(row["pictures"])
            assert [image["index"] for image in images] == list(range(row["image_count"]))
            for image in images:
                assert await deployment.storage.get(image["key"])
            assert row["units_charged"] == 8 * row["image_count"]
            bought = Counter({engine: images for engine, images in saved.items() if engine != "comfyui"})
            assert ordered == bought, f"task {subject}: {ordered} images were ordered, and {bought} were saved"
            outcomes["succeed"] += 1
            continue
        assert row["status"] == "failed"
        assert row["units_charged"] == 0
        assert MAY_BE_PAID in row["status_message"], row["status_message"]
        outcomes["response lost"] += 1
    used = sum(engines_of.values(), Counter[str]())
    print(dict(outcomes), dict(used))  # noqa: T201
    assert set(used) == {*PAID_ENGINES, "comfyui"}, f"an engine was not used: {used}"
    assert outcomes["succeed"] > 0.5 * TASKS, outcomes
    account = await deployment.account()
    assert (account["images_in_flight"], account["units_reserved"], account["units_used"]) == (0, 0, charged)
    assert await db.value("select count(*) from batches") == 0
    costs = await list_costs(db)
    for engine in PAID_ENGINES:
        priced = [cost for cost in costs if cost.route == engine]
        assert sum(cost.images for cost in priced) == used[engine]
        assert sum(cost.amount for cost in priced) == Decimal("0.25") * used[engine]
