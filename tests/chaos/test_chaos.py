"""Many faults at the same time, while tasks of all kinds arrive.

Three workers, two APIs, PostgreSQL, receivers and a relay's upstream are killed or stopped at random. Connections are
cut, the disk is filled, the storage refuses writes, and the clock is set forward and back. A greedy account and a
hostile account send as many tasks as they can. Afterwards no task is lost, generated or charged twice, no quota is
leaked, and every callback has arrived. `make chaos` is the long form; each run has another seed unless CHAOS_SEED sets
one.
"""

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
    open_with_retries,
    save_logs,
    start_deployment,
    start_receiver,
    start_upstream,
    supervise,
)
from tests.support.chaos.disturbers import ACCOUNTS, DISTURBING_IMAGES, Disturbers, cancel_disturbing_tasks
from tests.support.chaos.processes import ChaosProcess, ProcessSet, running
from tests.support.chaos.proxy import cutting_proxy
from tests.support.chaos.verify import verify, wait_for_all_work
from tests.support.command_line import environment, run, run_json
from tests.support.disks import FILLING, fill, small_disk

LONG = "CHAOS_TASKS" in os.environ
TASKS = int(os.environ.get("CHAOS_TASKS", "60"))
SEED = int(os.environ.get("CHAOS_SEED") or (random.randrange(10**6) if LONG else 1))
CLIENTS, SUBMIT_PAUSE_S = (24, 0.3) if LONG else (6, 3.0)
PAUSE_S = 1.2 if LONG else 0.8
"""The mean pause between two faults."""
JUMPS_S = (-1700, -90, -20, 0, 20, 90, 1700) if LONG else (-20, 20)
"""The short form never sets the clock far back, because work could then wait for minutes."""
DISK_BYTES = 700_000_000


@dataclass
class Chaos:
    """The deployment under test. `faults` counts the injected faults by name."""

    folder: Path
    processes: ProcessSet
    clock: Clock
    db: Database
    data_dir: Path
    mounted: bool
    rng: random.Random
    faults: Counter[str] = field(default_factory=Counter)

    async def inject_faults(self, stop: asyncio.Event) -> None:
        """Inject faults until `stop` is set, and each fault at least once; then set the clock back to the true time."""
        deck: list[Callable[[], Awaitable[None] | None]] = []
        while deck or not stop.is_set() or not self.faults:
            if not deck:  # every fault is used before any fault is repeated, each time in another order
                deck = [self.kill_worker, self.kill_worker, self.kill_api, self.stop_worker, self.kill_postgres]
                deck += [self.cut_connections, self.cut_connections, self.kill_receiver, self.kill_upstream]
                deck += [self.refuse_storage] + ([self.fill_disk] if self.mounted else [])
                deck += [self.jump_clock, self.jump_clock] if self.clock.can_jump else []
                self.rng.shuffle(deck)
            fault = deck.pop()
            name = fault.__name__.replace("_", " ")
            self.faults[name] += 1
            with (self.folder / "faults.log").open("a") as log:
                log.write(f"{datetime.now(UTC)} {name}\n")
            awaitable = fault()
            if awaitable is not None:
                await awaitable
            await asyncio.sleep(self.rng.uniform(0.5, 1.5) * PAUSE_S)
        if self.clock.can_jump:
            self.clock.jump(0)

    def random_process(self, name: str) -> ChaosProcess:
        return self.rng.choice(self.processes.named(name))

    def kill_worker(self) -> None:
        self.processes.kill(self.random_process("worker"))

    def kill_api(self) -> None:
        self.processes.kill(self.random_process("api"))

    def kill_receiver(self) -> None:
        self.processes.kill(self.random_process("receiver"))

    def kill_upstream(self) -> None:
        self.processes.kill(self.random_process("upstream"), with_descendants=True)

    def stop_worker(self) -> None:
        """Stop a worker for longer than its lease, so that its batches belong to other workers when it resumes.

        After ten seconds, the watchdog of the worker would end the worker when it resumes.
        """
        self.processes.stop(self.random_process("worker"), LEASE_S + 4)

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
        """Replace the folder of the images by a file for 2.5 seconds.

        The folder is a symbolic link, and the link is replaced atomically. If the path were missing for a moment, a
        worker would create the folder again.
        """
        set_link(self.data_dir / "files" / "images", self.data_dir.parent / "no-folder")
        await asyncio.sleep(2.5)
        set_link(self.data_dir / "files" / "images", self.data_dir.parent / "images")

    def jump_clock(self) -> None:
        self.clock.jump(self.rng.choice(JUMPS_S))


def set_link(link: Path, target: Path) -> None:
    """Create a symbolic link to `target`, or atomically replace an existing link."""
    new_link = link.with_name(f"{link.name}.new")
    new_link.symlink_to(target)
    new_link.replace(link)


def link_images(data_dir: Path) -> None:
    """Create the storage's folder of images as a link, and the file that can replace it.

    This must happen before the first start of the server.
    """
    (data_dir.parent / "images").mkdir()
    (data_dir.parent / "no-folder").touch()
    (data_dir / "files").mkdir(parents=True)
    set_link(data_dir / "files" / "images", data_dir.parent / "images")


@pytest.mark.long
@pytest.mark.timeout(3600)
async def test_no_task_is_lost_or_doubled_during_many_faults(tmp_path: Path) -> None:
    random.seed(SEED)
    print(f"seed {SEED}, {TASKS} tasks")  # noqa: T201
    clock = Clock(tmp_path)
    began = time.monotonic()
    with small_disk(tmp_path / "disk", DISK_BYTES) as mounted, running(tmp_path) as processes:
        data_dir = tmp_path / "disk" / "data"
        link_images(data_dir)
        upstream = start_upstream(tmp_path, processes)
        receivers = [start_receiver(tmp_path, processes, number) for number in range(2)]
        async with cutting_proxy(upstream[0], cut_probability=0.01) as upstream_url:
            config = configure(tmp_path, upstream_url, upstream[1], lease_s=LEASE_S, worker_concurrency=6)
            path = f"{clock.path}{os.pathsep}{environment()['PYTHONPATH']}"
            settings = {"PYTHONPATH": path} if clock.can_jump else {}
            words: list[str | Path] = ["--data-dir", data_dir, "--config", config]
            run("account", "create", "alice", "--concurrency", str(CONCURRENCY), *words, code=0, **settings)
            key = run_json("key", "create", "alice", *words, code=0, **settings)["key"]
            keys = {}
            for name in ACCOUNTS:
                quota = str(DISTURBING_IMAGES)
                run("account", "create", name, "--concurrency", quota, *words, code=0, **settings)
                keys[name] = run_json("key", "create", name, *words, code=0, **settings)["key"]
            signing = run_json("key", "create", "alice", "--jwt", *words, code=0, **settings)
            ports = start_deployment(processes, words, settings)
            embedded = EmbeddedPostgres(data_dir)
            db = Database(embedded.url, size=2, retry_for_s=1.0)
            chaos = Chaos(tmp_path, processes, clock, db, data_dir, mounted, random.Random(SEED))
            async with (
                cutting_proxy(ports[0], cut_probability=0.01) as first_url,
                cutting_proxy(ports[1], cut_probability=0.01) as second_url,
            ):
                clients = Clients(
                    [first_url, second_url],
                    receivers,
                    key,
                    (signing["access_key"], signing["secret_key"]),
                    rng=random.Random(SEED),
                    pause_s=SUBMIT_PAUSE_S,
                )
                supervising = asyncio.create_task(supervise(processes))
                await open_with_retries(db)
                stop = asyncio.Event()
                injecting = asyncio.create_task(chaos.inject_faults(stop))
                disturbers = Disturbers([first_url, second_url], keys)
                disturbing = asyncio.create_task(disturbers.run())
                try:
                    await clients.run(TASKS, concurrency=CLIENTS)
                    stop.set()
                    await injecting
                    disturbing.cancel()
                    await asyncio.wait([disturbing])
                    chaos_s = time.monotonic() - began
                    await cancel_disturbing_tasks(db)
                    await wait_for_all_work(db)
                    servers = [f"http://127.0.0.1:{port}" for port in ports]
                    chaos.faults += await verify(tmp_path, processes, db, clients, servers)
                finally:
                    for task in (injecting, supervising, disturbing):
                        task.cancel()
                    await asyncio.gather(injecting, supervising, disturbing, return_exceptions=True)
                    await db.close()
                    save_logs(tmp_path)
    assert all(disturbers.accepted.values()), "each account has disturbed the clients"
    report(chaos, clients, chaos_s, time.monotonic() - began)
    print({name: len(ids) for name, ids in disturbers.accepted.items()})  # noqa: T201


def report(chaos: Chaos, clients: Clients, chaos_s: float, total_s: float) -> None:
    kinds = Counter(sent.kind for sent in clients.sent)
    images = sum(sent.images for sent in clients.sent)
    print(f"{len(clients.sent)} tasks, {images} images, {chaos_s:.0f} s of chaos, {total_s:.0f} s in total")  # noqa: T201
    for title, counter in (("kinds", kinds), ("faults", chaos.faults), ("answers", clients.answers)):
        print(f"{title}: " + ", ".join(f"{count} {name}" for name, count in counter.most_common()))  # noqa: T201
    if chaos.processes.deaths:
        print(f"died by themselves: {dict(Counter(chaos.processes.deaths))}")  # noqa: T201
