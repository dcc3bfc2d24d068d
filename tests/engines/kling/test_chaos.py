"""Tasks through a relay whose processes are killed between any two steps and whose upstreams misbehave:
none is lost, none is painted twice, quota and units are exact."""

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

from framehouse.adapters.postgres import account_store
from framehouse.adapters.postgres.pool import Database
from framehouse.adapters.storage import Storage, open_storage
from framehouse.domain.account import Caller
from framehouse.domain.model import Model
from framehouse.engines.registry import open_registry
from framehouse.pipeline.accept import AcceptQueue
from tests.support.command_line import FRAMEHOUSE, environment
from tests.support.dying_kling import STEPS
from tests.support.eventually import eventually
from tests.support.in_process_deployment import Deployment
from tests.support.kling_upstream import Upstream, upstream

LONG = "CHAOS_TASKS" in os.environ
TASKS = 500 if LONG else 100
SEED = int(os.environ.get("CHAOS_SEED") or (random.randrange(10**6) if LONG else 1))
DEATHS = {"most": 3, "at": 0} if LONG else {"most": 1, "at": 3}
"""The short form dies at every step for certain, and once."""
WORKERS = 3
LOST = ["cut", "half", "delay", "html", "nonsense", "no id", "503 5001", "answered twice", "late"]
NEVER_CAME = ["before cut", "before html", "before 503 5001"]
REFUSED = ["before 429 1303", "before 429 1302", "before 200 1303"]
ASKING = ["cut", "half", "before html", "nonsense", "before 503 5001", "before 429 1302"]


def moody(chances: random.Random, *, doubles: bool) -> Any:
    """Something goes wrong with every fourth order and every tenth question; now and then all orders are too much."""
    began = time.monotonic()

    def fault(method: str, path: str) -> str:
        if path.endswith("/cancel"):
            return ""
        if method == "POST":
            if (time.monotonic() - began) % 12 > 10.5:
                return "before 429 1303"
            if chances.random() < 0.25:
                return chances.choice([*LOST, *NEVER_CAME, *REFUSED, *(["doubled"] if doubles else [])])
        elif chances.random() < 0.1:
            return chances.choice(ASKING)
        return ""

    return fault


@contextmanager
def workers(folder: Path, database_url: str, models: str, config: Path) -> Iterator[Any]:
    """Real worker processes; whoever dies is replaced when `look` is called."""
    running: list[subprocess.Popen[bytes]] = []
    variables = {
        "FRAMEHOUSE_DATABASE_URL": database_url,
        "FRAMEHOUSE_STORAGE_URL": (folder / "files").as_uri(),
        "FRAMEHOUSE_MODELS": models,
    }
    command = [*FRAMEHOUSE, "worker", "--config", str(config), "--data-dir", str(folder / "data")]
    with (folder / "workers.log").open("ab") as log:

        def look() -> None:
            running[:] = [process for process in running if process.poll() is None]
            while len(running) < WORKERS:
                running.append(subprocess.Popen(command, env=environment(**variables), stdout=log, stderr=log))

        look()
        try:
            yield look
        finally:
            for process in running:
                process.send_signal(signal.SIGTERM)
            for process in running:
                process.wait(timeout=60)


def configuration(folder: Path, strict: Upstream, deduping: Upstream) -> dict[str, Any]:
    """Two models: one by an upstream that would paint the same order twice, one by one that refuses to."""

    def route(served: Upstream, **options: Any) -> dict[str, Any]:
        keys = [{"api_key": key, "concurrency": images} for key, images in served.accounts.items()]
        dying = {"engine": "tests.support.dying_kling:Dying", "deaths": str(folder / "deaths")} | DEATHS
        return dying | {"base_url": served.base_url, "accounts": keys, "answer_s": 0.6, "lost_after_s": 2.5} | options

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
async def test_chaos(database_url: str, tmp_path: Path) -> None:
    print(f"seed {SEED}")  # noqa: T201 - shown where the test fails
    chances = random.Random(SEED)
    storage = open_storage((tmp_path / "files").as_uri())
    db = Database(database_url, size=8)
    await db.open()
    some = {"one": 12, "two": 20}
    async with (
        upstream(accounts=some, seconds=0.3, dedupes=False, delay_s=1.0, size_divisor=16) as strict,
        upstream(accounts=some, seconds=0.3, delay_s=1.0, size_divisor=16) as deduping,
    ):
        settings = configuration(tmp_path, strict, deduping)
        strict.fault, deduping.fault = moody(chances, doubles=False), moody(chances, doubles=True)
        config = tmp_path / "framehouse.toml"
        config.write_text(
            "\n".join(f"{key} = {settings[key]}" for key in ("worker_concurrency", "lease_s", "attempts"))
        )
        deployment = await open_deployment(db, storage, settings["models"])
        sent = await submit(deployment, chances)
        with workers(tmp_path, database_url, json.dumps(settings["models"]), config) as look:

            async def all_ended() -> bool:
                look()
                await asyncio.sleep(0.2)
                return not await db.value("select count(*) from tasks where ended_at is null")

            await eventually(all_ended, seconds=400)
        await verify(deployment, sent, strict, deduping)
    deaths = Counter((tmp_path / "deaths").read_text().splitlines())
    assert set(deaths) == set(STEPS), f"no process died {set(STEPS) - set(deaths)}"
    await deployment.registry.close()
    await db.close()


async def open_deployment(db: Database, storage: Storage, models: dict[str, Any]) -> Deployment:
    await account_store.create_account(db, "alice", concurrency=10_000)
    account = await account_store.find_account(db, "alice")
    assert account is not None
    registry = open_registry([(Model(name), model["routes"]) for name, model in models.items()])
    return Deployment(db, storage, registry, Caller(account.id, "alice"), AcceptQueue(db))


async def submit(deployment: Deployment, chances: random.Random) -> dict[str, str]:
    """All the tasks: what was sent, by task id."""
    sent = {}
    for number in range(TASKS):
        what = chances.choices(["fox", "refuse", "fail"], weights=[30, 1, 1])[0]
        fields: dict[str, Any] = {"n": chances.choices([1, 2, 4], weights=[8, 2, 1])[0]}
        if number % 25 == 0:
            fields = {"result_type": "series", "series_amount": 3}
        model = ("strict", "deduping")[number % 2]
        ticket = await deployment.submit(f"a {what}", model_name=model, **fields)
        sent[str(ticket.task_id)] = what
    return sent


async def verify(deployment: Deployment, sent: dict[str, str], strict: Upstream, deduping: Upstream) -> None:
    rows = await deployment.db.rows("select * from task_answers")
    assert {str(row["id"]) for row in rows} == set(sent), "none lost"
    fates: Counter[str] = Counter()
    used = 0
    for row in rows:
        what = sent[str(row["id"])]
        served = strict if row["model"] == "strict" else deduping
        ours = [made for made in served.tasks.values() if made.body["external_task_id"] in names_of(row)]
        assert len(ours) <= 1, "none painted twice"
        if row["status"] == "succeed":
            assert (what, len(ours)) == ("fox", 1)
            saved = json.loads(row["pictures"])
            assert [image["index"] for image in saved] == list(range(row["image_count"]))
            for image in saved:
                assert await deployment.storage.get(image["key"])
            assert row["units_charged"] == 8 * row["image_count"]
            used += row["units_charged"]
            fates["succeed"] += 1
            continue
        assert row["units_charged"] == 0
        if "not sent again" in row["status_message"]:
            assert row["model"] == "strict", "where doubles are refused, nothing needs to be given up"
            assert not ours, "what is given up was not painted"
            fates["never taken"] += 1
        else:
            assert {"refused content": "refuse", "it did not work out": "fail"}[row["status_message"]] == what
            fates[what] += 1
    assert max(strict.generated.values()) == max(deduping.generated.values()) == 1
    assert fates["succeed"] > 0.6 * TASKS, fates
    account = await deployment.account()
    assert (account["images_in_flight"], account["units_reserved"], account["units_used"]) == (0, 0, used)
    assert await deployment.db.value("select count(*) from batches") == 0
    for served in (strict, deduping):
        for key, images in served.accounts.items():
            assert served.max_in_flight[key] <= images
    print(f"{dict(fates)}; {len(strict.posts)} + {len(deduping.posts)} orders sent")  # noqa: T201


def names_of(row: Any) -> set[str]:
    """The external ids that a task's orders can have: of all its shots, for no account is too small for them."""
    from framehouse.domain.shot import Shot
    from framehouse.domain.sizes import Size
    from framehouse.engines.interface import Batch
    from framehouse.engines.kling.orders import plan_orders

    shots = tuple(Shot(index, "", "", 0) for index in range(row["image_count"]))
    batch = Batch(str(row["id"]), shots, len(shots), Size(1024, 1024), series=row["result_type"] == "series")
    return {order.external_id for order in plan_orders(batch, [], largest=9)}
