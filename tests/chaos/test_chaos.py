"""Everything at once: three workers, two APIs, PostgreSQL, receivers and a relay's upstream are killed and stopped at
random, connections cut, the disk filled, the storage refused, the clock put forward and back, while tasks of all kinds
come in. Afterwards nothing is lost, doubled, leaked or untold. `make chaos` is the long form."""

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
from framehouse.adapters.postgres.pool import TROUBLE, Database
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

TASKS = int(os.environ.get("CHAOS_TASKS", "220"))
PAUSE_S = 1.2
"""Between two blows."""
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
    pictures = sum(sent.images for sent in clients.sent)
    print(f"{len(clients.sent)} tasks, {pictures} pictures, {chaos_s:.0f} s of chaos, {whole_s:.0f} s in all")  # noqa: T201
    for name, counted in (("kinds", kinds), ("blows", chaos.blows), ("answers", clients.answers)):
        print(f"{name}: " + ", ".join(f"{count} {what}" for what, count in counted.most_common()))  # noqa: T201
    if chaos.parts.deaths:
        print(f"ended by themselves: {dict(Counter(chaos.parts.deaths))}")  # noqa: T201
