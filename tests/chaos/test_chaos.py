"""Everything at once: three workers, two APIs, PostgreSQL, receivers and a relay's upstream are killed and stopped at
random, connections cut, the disk filled, the storage refused, the clock put forward and back, while tasks of all kinds
come in. Afterwards nothing is lost, doubled, leaked or untold. `make chaos` is the long form, with another seed each
time; CHAOS_SEED chooses it."""

import asyncio
import os
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from framehouse.adapters.postgres.embedded import EmbeddedPostgres
from framehouse.adapters.postgres.pool import DATABASE_ERRORS, Database
from tests.support.chaos.clients import Clients
from tests.support.chaos.clock import Clock
from tests.support.chaos.deployment import (
    CONCURRENCY,
    LEASE_S,
    configure,
    keep_logs,
    look,
    open_patiently,
    start_house,
    start_receiver,
    start_upstream,
)
from tests.support.chaos.processes import Part, Parts, running
from tests.support.chaos.proxy import cutting
from tests.support.chaos.verify import (
    end_of_all,
    verify,
)
from tests.support.command_line import environment, run, run_json
from tests.support.disks import FILLING, fill, small_disk

LONG = "CHAOS_TASKS" in os.environ
TASKS = int(os.environ.get("CHAOS_TASKS", "60"))
SEED = int(os.environ.get("CHAOS_SEED") or (random.randrange(10**6) if LONG else 1))
AT_ONCE, SUBMIT_PAUSE_S = (24, 0.3) if LONG else (6, 3.0)
PAUSE_S = 1.2 if LONG else 0.8
"""Between two blows."""
JUMPS_S = (-1700, -90, -20, 0, 20, 90, 1700) if LONG else (-20, 20)
"""The short form never sets the clock far back, for then work may wait for minutes."""
DISK_BYTES = 700_000_000


@dataclass
class Chaos:
    """The house under test, and the blows that it gets."""

    folder: Path
    parts: Parts
    clock: Clock
    db: Database
    data_dir: Path
    mounted: bool
    dice: random.Random
    blows: Counter[str] = field(default_factory=Counter)

    async def strike(self, over: asyncio.Event) -> None:
        """Blow after blow until it is over, and each at least once; then all is made good again."""
        deck: list[Callable[[], Awaitable[None] | None]] = []
        while deck or not over.is_set() or not self.blows:
            if not deck:  # each of them in turn, in another order each time
                deck = [self.kill_worker, self.kill_worker, self.kill_api, self.stop_worker, self.kill_postgres]
                deck += [self.cut_connections, self.cut_connections, self.kill_receiver, self.kill_upstream]
                deck += [self.refuse_storage] + ([self.fill_disk] if self.mounted else [])
                deck += [self.jump_clock, self.jump_clock] if self.clock.can_jump else []
                self.dice.shuffle(deck)
            blow = deck.pop()
            name = blow.__name__.replace("_", " ")
            self.blows[name] += 1
            with (self.folder / "blows.log").open("a") as log:
                log.write(f"{datetime.now(UTC)} {name}\n")
            done = blow()
            if done is not None:
                await done
            await asyncio.sleep(self.dice.uniform(0.5, 1.5) * PAUSE_S)
        if self.clock.can_jump:
            self.clock.jump(0)

    def one(self, name: str) -> Part:
        return self.dice.choice(self.parts.named(name))

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
        with suppress(*DATABASE_ERRORS):
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
        """Put a file where the folder of the images is. The folder is a link, which is replaced in one step: a worker
        never finds nothing there, for then it would create the folder again."""
        point(self.data_dir / "files" / "images", self.data_dir.parent / "no-folder")
        await asyncio.sleep(2.5)
        point(self.data_dir / "files" / "images", self.data_dir.parent / "images")

    def jump_clock(self) -> None:
        self.clock.jump(self.dice.choice(JUMPS_S))


def point(link: Path, to: Path) -> None:
    """Make `link` a symbolic link to `to`, or replace the link that it is."""
    fresh = link.with_name(f"{link.name}.new")
    fresh.symlink_to(to)
    fresh.replace(link)


def link_images(data_dir: Path) -> None:
    """Before the first start: the storage's folder of images as a link, and the file that can take its place."""
    (data_dir.parent / "images").mkdir()
    (data_dir.parent / "no-folder").touch()
    (data_dir / "files").mkdir(parents=True)
    point(data_dir / "files" / "images", data_dir.parent / "images")


@pytest.mark.long
@pytest.mark.timeout(3600)
async def test_chaos(tmp_path: Path) -> None:
    random.seed(SEED)
    print(f"seed {SEED}, {TASKS} tasks")  # noqa: T201
    clock = Clock(tmp_path)
    began = time.monotonic()
    with small_disk(tmp_path / "disk", DISK_BYTES) as mounted, running(tmp_path) as parts:
        data_dir = tmp_path / "disk" / "data"
        link_images(data_dir)
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
            db = Database(embedded.url, size=2, retry_for_s=1.0)
            chaos = Chaos(tmp_path, parts, clock, db, data_dir, mounted, random.Random(SEED))
            async with cutting(ports[0], share=0.01) as one, cutting(ports[1], share=0.01) as two:
                keys = (signing["access_key"], signing["secret_key"])
                clients = Clients([one, two], receivers, key, keys, dice=random.Random(SEED), pause_s=SUBMIT_PAUSE_S)
                looking = asyncio.create_task(look(parts))
                await open_patiently(db)
                over = asyncio.Event()
                striking = asyncio.create_task(chaos.strike(over))
                try:
                    await clients.run(TASKS, at_once=AT_ONCE)
                    over.set()
                    await striking
                    chaos_s = time.monotonic() - began
                    await end_of_all(db)
                    servers = [f"http://127.0.0.1:{port}" for port in ports]
                    chaos.blows += await verify(tmp_path, parts, db, clients, servers)
                finally:
                    for task in (striking, looking):
                        task.cancel()
                    await asyncio.gather(striking, looking, return_exceptions=True)
                    await db.close()
                    keep_logs(tmp_path)
    report(chaos, clients, chaos_s, time.monotonic() - began)


def report(chaos: Chaos, clients: Clients, chaos_s: float, whole_s: float) -> None:
    kinds = Counter(sent.kind for sent in clients.sent)
    images = sum(sent.images for sent in clients.sent)
    print(f"{len(clients.sent)} tasks, {images} pictures, {chaos_s:.0f} s of chaos, {whole_s:.0f} s in all")  # noqa: T201
    for name, counted in (("kinds", kinds), ("blows", chaos.blows), ("answers", clients.answers)):
        print(f"{name}: " + ", ".join(f"{count} {what}" for what, count in counted.most_common()))  # noqa: T201
    if chaos.parts.deaths:
        print(f"ended by themselves: {dict(Counter(chaos.parts.deaths))}")  # noqa: T201
