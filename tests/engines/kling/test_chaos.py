"""A relay loses no task, generates no task twice, and counts quota and units exactly.

Meanwhile its worker processes are killed between any two steps, and its upstreams misbehave.
"""

import asyncio
import json
import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from framehouse.adapters.postgres.pool import Database
from framehouse.adapters.storage import open_storage
from framehouse.domain.model import Model
from framehouse.domain.task_kind import TaskKind
from tests.support.command_line import FRAMEHOUSE, environment
from tests.support.crashing_kling import STEPS
from tests.support.eventually import eventually
from tests.support.image_files import image_base64
from tests.support.in_process_deployment import Deployment, deploy_models
from tests.support.kling_upstream import Upstream, upstream

LONG = "CHAOS_TASKS" in os.environ
TASKS = 500 if LONG else 100
SEED = int(os.environ.get("CHAOS_SEED") or (random.randrange(10**6) if LONG else 1))
CRASHES = {"max_crashes": 3, "at_visit": 0} if LONG else {"max_crashes": 1, "at_visit": 3}
"""In the short form, a process dies at every step exactly once."""
WORKERS = 3
PHOTO = image_base64(400, 400)
FIELDS: dict[TaskKind, dict[str, Any]] = {
    "omni-image": {},
    "generations": {"negative_prompt": "snow", "image": PHOTO},
    "multi-image2image": {"subject_image_list": [{"subject_image": PHOTO}], "style_image": PHOTO},
    "expand": {"image": PHOTO, "left_expansion_ratio": 0.5},
    "try-on": {"human_image": PHOTO, "cloth_image": PHOTO},
}
"""The fields of each kind of task, in addition to its prompt and its number of images."""
LOST_ANSWERS = ["cut", "half", "delay", "html", "nonsense", "no id", "503 5001", "answered twice", "late"]
LOST_ORDERS = ["before cut", "before html", "before 503 5001"]
REFUSED_ORDERS = ["before 429 1303", "before 429 1302", "before 200 1303"]
FAILED_QUERIES = ["cut", "half", "before html", "nonsense", "before 503 5001", "before 429 1302"]


def random_faults(random_source: random.Random, *, doubles: bool) -> Any:
    """Return a fault function for `Upstream`: every fourth order and every tenth query fails.

    In 1.5 of every 12 seconds, the upstream refuses all orders because the account is full. `doubles` adds the fault
    that a proxy sends a request twice.
    """
    began = time.monotonic()

    def fault(method: str, path: str) -> str:
        if path.endswith("/cancel"):
            return ""
        if method == "POST":
            if (time.monotonic() - began) % 12 > 10.5:
                return "before 429 1303"
            if random_source.random() < 0.25:
                doubled = ["doubled"] if doubles else []
                return random_source.choice([*LOST_ANSWERS, *LOST_ORDERS, *REFUSED_ORDERS, *doubled])
        elif random_source.random() < 0.1:
            return random_source.choice(FAILED_QUERIES)
        return ""

    return fault


@contextmanager
def workers(folder: Path, database_url: str, models: str, config: Path) -> Iterator[Any]:
    """Start real worker processes. Yields a function that replaces the processes that died."""
    running: list[subprocess.Popen[bytes]] = []
    variables = {
        "FRAMEHOUSE_DATABASE_URL": database_url,
        "FRAMEHOUSE_STORAGE_URL": (folder / "files").as_uri(),
        "FRAMEHOUSE_MODELS": models,
    }
    command = [*FRAMEHOUSE, "worker", "--config", str(config), "--data-dir", str(folder / "data")]
    with (folder / "workers.log").open("ab") as log:

        def replace_dead() -> None:
            running[:] = [process for process in running if process.poll() is None]
            while len(running) < WORKERS:
                running.append(subprocess.Popen(command, env=environment(**variables), stdout=log, stderr=log))

        replace_dead()
        try:
            yield replace_dead
        finally:
            for process in running:
                process.send_signal(signal.SIGTERM)
            for process in running:
                process.wait(timeout=60)


def configuration(folder: Path, strict: Upstream, deduping: Upstream) -> dict[str, Any]:
    """Return the settings of two models, one per upstream.

    `strict` would generate the same order twice; `deduping` rejects an order that it already has.
    """

    def route(served: Upstream, **options: Any) -> dict[str, Any]:
        accounts = [{"api_key": key, "concurrency": images} for key, images in served.accounts.items()]
        dying = {"engine": "tests.support.crashing_kling:CrashingKling", "crashes": str(folder / "crashes")} | CRASHES
        upstream_options = {"base_url": served.base_url, "accounts": accounts, "answer_s": 0.6, "lost_after_s": 2.5}
        return dying | upstream_options | options

    return {
        "worker_concurrency": 16,
        "lease_s": 5,
        "attempts": 100,
        "models": {
            "strict": {"routes": [route(strict)]},
            "deduping": {"routes": [route(deduping, resubmit=True)]},
        },
    }


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_a_relay_loses_and_duplicates_no_task(database_url: str, tmp_path: Path) -> None:
    print(f"seed {SEED}")  # noqa: T201 - pytest shows it if the test fails
    random_source = random.Random(SEED)
    storage = open_storage((tmp_path / "files").as_uri())
    db = Database(database_url, size=8)
    await db.open()
    accounts = {"one": 12, "two": 20}
    async with (
        upstream(accounts=accounts, seconds=0.3, dedupes=False, delay_s=1.0, size_divisor=16) as strict,
        upstream(accounts=accounts, seconds=0.3, delay_s=1.0, size_divisor=16) as deduping,
    ):
        settings = configuration(tmp_path, strict, deduping)
        strict.fault = random_faults(random_source, doubles=False)
        deduping.fault = random_faults(random_source, doubles=True)
        config = tmp_path / "framehouse.toml"
        config.write_text(
            "\n".join(f"{key} = {settings[key]}" for key in ("worker_concurrency", "lease_s", "attempts"))
        )
        deployment = await deploy_models(
            db,
            storage,
            [(Model(name), model["routes"]) for name, model in settings["models"].items()],
            concurrency=10_000,
        )
        subjects = await submit(deployment, random_source)
        with workers(tmp_path, database_url, json.dumps(settings["models"]), config) as replace_dead:

            async def all_ended() -> bool:
                replace_dead()
                await asyncio.sleep(0.2)
                return not await db.value("select count(*) from tasks where ended_at is null")

            await eventually(all_ended, seconds=400)
        await verify(deployment, subjects, strict, deduping)
    deaths = Counter((tmp_path / "crashes").read_text().splitlines())
    assert set(deaths) == set(STEPS), f"no process died at these steps: {set(STEPS) - set(deaths)}"
    await deployment.registry.close()
    await db.close()


async def submit(deployment: Deployment, random_source: random.Random) -> dict[str, str]:
    """Submit all tasks. Returns the subject of each task's prompt, "fox", "refuse" or "fail", by task id."""
    subjects = {}
    for number in range(TASKS):
        subject = random_source.choices(["fox", "refuse", "fail"], weights=[30, 1, 1])[0]
        kind: TaskKind = random_source.choices(list(FIELDS), weights=[8, 2, 2, 2, 2])[0]
        fields: dict[str, Any] = {"n": random_source.choices([1, 2, 4], weights=[8, 2, 1])[0]} | FIELDS[kind]
        if kind == "omni-image" and number % 12 == 0:
            fields = {"result_type": "series", "series_amount": 3}
        if kind == "try-on":
            subject = "fox"  # the request has no prompt, so it cannot ask for another result
        model = ("strict", "deduping")[number % 2]
        ticket = await deployment.submit(f"a {subject}", kind=kind, model_name=model, **fields)
        subjects[str(ticket.task_id)] = subject
    return subjects


async def verify(deployment: Deployment, subjects: dict[str, str], strict: Upstream, deduping: Upstream) -> None:
    rows = await deployment.db.rows("select * from task_answers")
    assert {str(row["id"]) for row in rows} == set(subjects), "a task was lost or duplicated"
    outcomes: Counter[str] = Counter()
    used = 0
    for row in rows:
        subject = subjects[str(row["id"])]
        served = strict if row["model"] == "strict" else deduping
        ids = external_ids(row)
        orders = [order for order in served.tasks.values() if order.body["external_task_id"] in ids]
        assert len(orders) <= 1, "a task was generated twice"
        assert all(order.kind == row["kind"] for order in orders), "an order was sent to another endpoint"
        if row["status"] == "succeed":
            assert (subject, len(orders)) == ("fox", 1)
            saved = json.loads(row["pictures"])
            assert [image["index"] for image in saved] == list(range(row["image_count"]))
            for image in saved:
                assert await deployment.storage.get(image["key"])
            assert row["units_charged"] == 8 * row["image_count"]
            used += row["units_charged"]
            outcomes["succeed"] += 1
            continue
        assert row["units_charged"] == 0
        if "not sent again" in row["status_message"]:
            assert row["model"] == "strict", "an order was given up although the upstream rejects duplicates"
            assert not orders, "an order was given up but generated"
            outcomes["given up"] += 1
        else:
            assert {"refused content": "refuse", "it did not work out": "fail"}[row["status_message"]] == subject
            outcomes[subject] += 1
    assert max(strict.generated.values()) == max(deduping.generated.values()) == 1
    assert outcomes["succeed"] > 0.6 * TASKS, outcomes
    account = await deployment.account()
    assert (account["images_in_flight"], account["units_reserved"], account["units_used"]) == (0, 0, used)
    assert await deployment.db.value("select count(*) from batches") == 0
    for served in (strict, deduping):
        for key, images in served.accounts.items():
            assert served.max_in_flight[key] <= images
    print(f"{dict(outcomes)}; {len(strict.posts)} + {len(deduping.posts)} orders sent")  # noqa: T201


def external_ids(row: Any) -> set[str]:
    """Return the external ids that the orders of a task can have.

    An order always has all shots of its task, because no account is too small for a whole task.
    """
    from framehouse.domain.shot import Shot
    from framehouse.domain.sizes import Size
    from framehouse.engines.interface import Batch
    from framehouse.engines.kling.orders import plan_orders

    shots = tuple(Shot(index, "", "", 0) for index in range(row["image_count"]))
    batch = Batch(str(row["id"]), shots, len(shots), Size(1024, 1024), series=row["result_type"] == "series")
    return {order.external_id for order in plan_orders(batch, [], largest=9)}
