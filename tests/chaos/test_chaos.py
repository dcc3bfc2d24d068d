"""Everything at once: three workers, two APIs, PostgreSQL, receivers and a relay's upstream are killed and stopped at
random, connections cut, the disk filled, the storage refused, the clock put forward and back, while tasks of all kinds
come in. Afterwards nothing is lost, doubled, leaked or untold. `make chaos` is the long form."""

import asyncio
import json
import os
import random
import shutil
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from framehouse.adapters.postgres.embedded import EmbeddedPostgres
from framehouse.adapters.postgres.pool import TROUBLE, Database
from tests.chaos.clients import Clients, Sent
from tests.chaos.clock import Clock
from tests.chaos.processes import Part, Parts, running
from tests.chaos.proxy import cutting
from tests.support.command_line import FRAMEHOUSE, environment, run, run_json
from tests.support.disks import FILLING, fill, small_disk
from tests.support.eventually import eventually
from tests.support.sockets import free_port

TASKS = int(os.environ.get("CHAOS_TASKS", "220"))
PAUSE_S = 1.2
"""Between two blows."""
CONCURRENCY, UPSTREAM_CONCURRENCY = 60, 20
LEASE_S = 4
UNITS = {"direct": 8, "relay": 8, "previz": 8}
DISK_BYTES = 700_000_000
PAINTER = "tests.chaos.painter:Painter"


@dataclass
class Chaos:
    """The house under test, and the blows that it gets."""

    folder: Path
    parts: Parts
    clock: Clock
    db: Database
    data_dir: Path
    mounted: bool
    blows: Counter[str] = field(default_factory=Counter)

    async def strike(self, over: asyncio.Event) -> None:
        """Blow after blow, until it is over; then all is made good again."""
        deck: list[Callable[[], Awaitable[None] | None]] = []
        while not over.is_set():
            if not deck:  # each of them in turn, in another order each time
                deck = [self.kill_worker, self.kill_worker, self.kill_api, self.stop_worker, self.kill_postgres]
                deck += [self.cut_connections, self.cut_connections, self.kill_receiver, self.kill_upstream]
                deck += [self.refuse_storage] + ([self.fill_disk] if self.mounted else [])
                deck += [self.jump_clock, self.jump_clock] if self.clock.can_jump else []
                random.shuffle(deck)
            blow = deck.pop()
            name = blow.__name__.replace("_", " ")
            self.blows[name] += 1
            with (self.folder / "blows.log").open("a") as log:
                log.write(f"{datetime.now(UTC)} {name}\n")
            done = blow()
            if done is not None:
                await done
            await asyncio.sleep(random.uniform(0.5, 1.5) * PAUSE_S)
        if self.clock.can_jump:
            self.clock.jump(0)

    def one(self, name: str) -> Part:
        return random.choice(self.parts.named(name))

    def kill_worker(self) -> None:
        self.parts.kill(self.one("worker"))

    def kill_api(self) -> None:
        self.parts.kill(self.one("api"))

    def kill_receiver(self) -> None:
        self.parts.kill(self.one("receiver"))

    def kill_upstream(self) -> None:
        self.parts.kill(self.one("upstream"), family=True)

    def stop_worker(self) -> None:
        """Longer than its lease, so that its work is somebody else's when it goes on."""
        self.parts.stop(self.one("worker"), 2 * LEASE_S)

    def kill_postgres(self) -> None:
        with suppress(OSError, ValueError):
            os.kill(int((self.data_dir / "postgres" / "postmaster.pid").read_text().split()[0]), 9)

    async def cut_connections(self) -> None:
        with suppress(*TROUBLE):
            await self.db.value(
                "select count(pg_terminate_backend(pid)) from pg_stat_activity "
                "where backend_type = 'client backend' and pid <> pg_backend_pid() and random() < 0.5"
            )

    async def fill_disk(self) -> None:
        disk = self.data_dir.parent
        await asyncio.to_thread(fill, disk)
        await asyncio.sleep(2.5)
        (disk / FILLING).unlink()

    async def refuse_storage(self) -> None:
        """A file where the folder of the pictures was."""
        pictures = self.data_dir / "files" / "images"
        if pictures.is_dir():
            away = pictures.with_name("away")
            pictures.rename(away)
            pictures.touch()
            await asyncio.sleep(2.5)
            pictures.unlink()
            away.rename(pictures)

    def jump_clock(self) -> None:
        self.clock.jump(random.choice([-1700, -90, -20, 0, 20, 90, 1700]))


@pytest.mark.timeout(3600)
async def test_chaos(tmp_path: Path) -> None:
    seed = random.randrange(10**6)
    random.seed(seed)
    print(f"seed {seed}, {TASKS} tasks")  # noqa: T201
    clock = Clock(tmp_path)
    began = time.monotonic()
    with small_disk(tmp_path / "disk", DISK_BYTES) as mounted, running(tmp_path) as parts:
        data_dir = tmp_path / "disk" / "data"
        upstream = start_upstream(tmp_path, parts)
        receivers = [start_receiver(tmp_path, parts, number) for number in range(2)]
        async with cutting(upstream[0], share=0.01) as relayed:
            config = configure(tmp_path, relayed, upstream[1], lease_s=LEASE_S, worker_concurrency=6)
            path = f"{clock.path}{os.pathsep}{environment()['PYTHONPATH']}"
            settings = {"PYTHONPATH": path} if clock.can_jump else {}
            words: list[str | Path] = ["--data-dir", data_dir, "--config", config]
            run("account", "create", "alice", "--concurrency", str(CONCURRENCY), *words, code=0, **settings)
            key = run_json("key", "create", "alice", *words, code=0, **settings)["key"]
            signing = run_json("key", "create", "alice", "--jwt", *words, code=0, **settings)
            ports = start_house(parts, words, settings)
            embedded = EmbeddedPostgres(data_dir)
            db = Database(embedded.url, size=2, patience_s=1.0)
            chaos = Chaos(tmp_path, parts, clock, db, data_dir, mounted)
            async with cutting(ports[0], share=0.01) as one, cutting(ports[1], share=0.01) as two:
                keys = (signing["access_key"], signing["secret_key"])
                clients = Clients([one, two], receivers, key, keys)
                looking = asyncio.create_task(look(parts))
                await open_patiently(db)
                over = asyncio.Event()
                striking = asyncio.create_task(chaos.strike(over))
                try:
                    await clients.run(TASKS, at_once=24)
                    over.set()
                    await striking
                    chaos_s = time.monotonic() - began
                    await end_of_all(db)
                    await verify(chaos, clients, [f"http://127.0.0.1:{port}" for port in ports])
                finally:
                    for task in (striking, looking):
                        task.cancel()
                    await asyncio.gather(striking, looking, return_exceptions=True)
                    await db.close()
                    keep_logs(tmp_path)
    report(chaos, clients, chaos_s, time.monotonic() - began)


async def look(parts: Parts) -> None:
    while True:
        parts.look()
        await asyncio.sleep(0.1)


async def open_patiently(db: Database) -> None:
    async def opened() -> bool:
        try:
            await db.open()
        except (OSError, *TROUBLE):
            return False
        return True

    await eventually(opened, seconds=60)


def start_upstream(folder: Path, parts: Parts) -> tuple[int, str]:
    """A second Framehouse, which the first one orders from: its port, and a key."""
    home = folder / "upstream"
    home.mkdir()
    route = f'{{ engine = "{PAINTER}", notes = "{folder / "upstream.notes"}", seconds = 0.2 }}'
    (home / "framehouse.toml").write_text(f'[models."painter"]\nroutes = [{route}]\n')
    settings = {"FRAMEHOUSE_LEASE_S": str(LEASE_S), "FRAMEHOUSE_ATTEMPTS": "100"}
    words: list[str | Path] = ["--data-dir", home]
    run("account", "create", "house", "--concurrency", str(UPSTREAM_CONCURRENCY), *words, code=0, **settings)
    key = run_json("key", "create", "house", *words, code=0, **settings)["key"]
    port = free_port()
    command = [*FRAMEHOUSE, "serve", "--port", str(port), "--data-dir", str(home)]
    parts.add("upstream", command, environment(**settings))
    return port, key


def start_receiver(folder: Path, parts: Parts, number: int) -> str:
    port = free_port()
    log = folder / f"told{number}"
    parts.add("receiver", [FRAMEHOUSE[0], "-m", "tests.chaos.receiver", str(port), str(log)], environment())
    return f"http://127.0.0.1:{port}"


def configure(folder: Path, upstream: str, key: str, *, lease_s: int, worker_concurrency: int) -> Path:
    """The settings file of a house that paints, orders from the upstream and draws."""
    account = f'{{ api_key = "{key}", concurrency = {UPSTREAM_CONCURRENCY} }}'
    relay = (
        f'engine = "kling", base_url = "{upstream}/kling", model = "painter", accounts = [{account}], '
        "resubmit = true, answer_s = 3, lost_after_s = 8"
    )
    config = folder / "framehouse.toml"
    config.write_text(
        f"""
worker_concurrency = {worker_concurrency}
lease_s = {lease_s}
stop_s = 5
attempts = 100
give_up_after_s = 86400
allow_private_addresses = true
[models.direct]
routes = [{{ engine = "{PAINTER}", notes = "{folder / "notes"}", seconds = 0.3 }}]
[models.relay]
routes = [{{ {relay} }}]
[models.previz]
routes = [{{ engine = "previz" }}]
"""
    )
    return config


def start_house(parts: Parts, words: list[str | Path], settings: dict[str, str]) -> list[int]:
    """Two APIs, whose ports these are, and three workers, on one embedded database that they all look after."""
    ports = [free_port(), free_port()]
    command = [*map(str, words)]
    for port in ports:
        parts.add("api", [*FRAMEHOUSE, "api", "--port", str(port), *command], environment(**settings))
    for _ in range(3):
        parts.add("worker", [*FRAMEHOUSE, "worker", *command], environment(**settings))
    return ports


async def all_is_over(db: Database) -> bool:
    try:
        left = await db.row(
            "select (select count(*) from tasks where ended_at is null) as tasks, "
            "(select count(*) from elements where status in ('submitted', 'processing')) as elements, "
            "(select count(*) from callback_messages where state = 'waiting') as messages"
        )
    except TROUBLE:
        return False
    await asyncio.sleep(0.2)
    return left is not None and not any(left.values())


async def end_of_all(db: Database) -> None:
    """Wait until all is over; what is not by then is told, with what it waits for. A clock that went back puts off
    work for a minute until that is noticed, two more where it was to wait; a try that fails then is a minute more."""
    try:
        await eventually(lambda: all_is_over(db), seconds=480)
    except TimeoutError:
        left: list[str] = []
        for what, condition in (
            ("batches", "true"),
            ("elements", "status in ('submitted', 'processing')"),
            ("callback_messages", "state = 'waiting'"),
        ):
            rows = await db.rows(f"select to_jsonb(x) - 'body' as row, now() from {what} x where {condition} limit 10")
            left += [f"{what} at {row['now']}: {row['row']}" for row in rows]
        raise AssertionError("\n".join(left) or "tasks that nobody will end") from None


async def verify(chaos: Chaos, clients: Clients, servers: list[str]) -> None:
    """What must be true, whatever happened."""
    rows = {str(row["id"]): row for row in await chaos.db.rows("select * from task_answers")}
    assert set(rows) == {sent.id for sent in clients.sent}, "each accepted task is there, and none twice"
    assert len(rows) == len(clients.sent)
    units = 0
    for sent in clients.sent:
        row = rows[sent.id]
        check_fate(sent, row)
        if row["status"] == "succeed":
            assert row["units_charged"] == UNITS[row["model"]] * sent.images
            units += row["units_charged"]
        else:
            assert row["units_charged"] == 0
    account = await chaos.db.row("select * from accounts where name = 'alice'")
    assert account is not None
    assert (account["images_in_flight"], account["units_reserved"], account["units_used"]) == (0, 0, units)
    assert await chaos.db.value("select count(*) from batches") == 0
    await check_pictures(clients, servers)
    check_painted_once(chaos, rows)
    await check_told(chaos, clients, rows)


def check_fate(sent: Sent, row: Any) -> None:
    """It ended as its kind must."""
    fates = {"cancelled": {"Canceled"}, "refused": {"the engine will not paint this"}}
    fates["failing"] = {"misbehaving: the engine returned nonsense", "the engine returned nonsense"}
    if sent.kind == "cancelled" and row["status"] == "succeed":
        return  # it was faster
    if sent.kind in fates:
        assert row["status"] == "failed", (sent, row["status"])
        assert any(fate in row["status_message"] for fate in fates[sent.kind]), row["status_message"]
    else:
        assert row["status"] == "succeed", (sent, row["status_message"])
        assert row["image_count"] == sent.images


async def check_pictures(clients: Clients, servers: list[str]) -> None:
    """Every picture of every success can be had, whole, under the link that the API gives."""
    checked = 0
    async with httpx.AsyncClient(timeout=30, headers={"Authorization": f"Bearer {clients.key}"}) as http:
        for sent in clients.sent:
            answer = await http.get(f"{random.choice(servers)}/kling/v1/images/omni-image/{sent.id}")
            data = answer.json()["data"]
            if data["task_status"] != "succeed":
                continue
            found = data["task_result"]["images"] + data["task_result"]["series_images"]
            assert [image["index"] for image in found] == list(range(sent.images))
            for image in found:
                assert ("watermark_url" in image) == sent.marked
                for url in filter(None, (image["url"], image.get("watermark_url"))):
                    content = (await http.get(url)).content
                    assert content[:8] == b"\x89PNG\r\n\x1a\n", content[:200]
                    assert content[-8:-4] == b"IEND", "whole"
                    checked += 1
    assert checked


def check_painted_once(chaos: Chaos, rows: dict[str, Any]) -> None:
    """A picture was painted again only where the process that had painted it was killed or stopped. Who was stopped for
    longer than its lease goes on with its brush in hand, and may end after who took its place: that is not again."""
    for name in ("notes", "upstream.notes"):
        painted: dict[tuple[str, str], list[int]] = defaultdict(list)
        for task, index, pid in done_lines(chaos.folder / name):
            painted[task, index].append(int(pid))
        for (task, index), pids in painted.items():
            others = pids[:-1] if pids[-1] in chaos.parts.stopped else pids
            spared = [pid for pid in others[:-1] if pid not in chaos.parts.harmed]
            why = f"{name}: picture {index} of {task} was painted by {pids}, of which {spared} lived on"
            assert not spared, f"{why}\n{told_of(chaos.folder, task)}"
        chaos.blows[f"painted again ({name})"] = sum(len(pids) - 1 for pids in painted.values())
    direct = {task for task, row in rows.items() if row["model"] == "direct"}
    assert direct >= {task for task, _, _ in done_lines(chaos.folder / "notes")}


def told_of(folder: Path, task: str) -> str:
    """What the house's processes logged of a task and of leases, and the blows, by their time."""
    lines: list[str] = []
    for path in [*folder.glob("worker*.log"), *folder.glob("api*.log"), folder / "blows.log"]:
        words = (task, "lease", "free again", "---") if path.stem != "blows" else ("",)
        found = path.read_text(errors="replace").splitlines()
        lines += [f"{line[:300]} ({path.stem})" for line in found if any(word in line for word in words)]
    return "\n".join(sorted(lines))


def done_lines(notes: Path) -> list[list[str]]:
    """Task, index and process of each picture that was painted."""
    return [line.split()[1:] for line in notes.read_text().splitlines() if line.startswith("done ")]


async def check_told(chaos: Chaos, clients: Clients, rows: dict[str, Any]) -> None:
    """Every change of status arrived, in order, under one id however often."""
    told: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for path in sorted(chaos.folder.glob("told*")):
        for line in path.read_text().splitlines():
            note = json.loads(line)
            told[note["task"]].append((note["id"], note["status"]))
    for sent in clients.sent:
        notes = told.get(sent.id, [])
        if not sent.told:
            assert not notes
            continue
        ids = dict(notes)
        order = list(dict.fromkeys(status for _, status in notes))
        assert order[-1:] == [rows[sent.id]["status"]], (sent, notes)
        assert order in (["processing", "succeed"], ["processing", "failed"], ["failed"]), (sent, notes)
        assert len(ids) == len(order), "one message per change"
    states = await chaos.db.rows("select distinct state from callback_messages")
    assert [row["state"] for row in states] == ["delivered"]


def keep_logs(folder: Path) -> None:
    """Where somebody asks for them."""
    if to := os.environ.get("CHAOS_LOGS"):
        Path(to).mkdir(parents=True, exist_ok=True)
        for pattern in ("*.log", "notes", "upstream.notes", "told*", "disk/data/postgres.log"):
            for path in folder.glob(pattern):
                shutil.copy(path, to)


def report(chaos: Chaos, clients: Clients, chaos_s: float, whole_s: float) -> None:
    kinds = Counter(sent.kind for sent in clients.sent)
    pictures = sum(sent.images for sent in clients.sent)
    print(f"{len(clients.sent)} tasks, {pictures} pictures, {chaos_s:.0f} s of chaos, {whole_s:.0f} s in all")  # noqa: T201
    for name, counted in (("kinds", kinds), ("blows", chaos.blows), ("answers", clients.answers)):
        print(f"{name}: " + ", ".join(f"{count} {what}" for what, count in counted.most_common()))  # noqa: T201
    if chaos.parts.deaths:
        print(f"ended by themselves: {dict(Counter(chaos.parts.deaths))}")  # noqa: T201
