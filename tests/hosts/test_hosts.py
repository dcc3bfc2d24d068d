"""One house on three hosts: two with an API and workers, one with PostgreSQL and the bucket; a fourth is the world
outside. One of the first two is cut off for longer than its leases and comes back, then the third. Afterwards nothing
is lost, doubled or untold, and work went on.

Clients, kinds of tasks and what must be true are those of the chaos. HOSTS_CUT_S is for how long a host is away, and
with HOSTS_LONG each is cut off in either way (`make hosts`).
"""

import asyncio
import os
import random
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx
import pytest

from framehouse.adapters.postgres.advisory_locks import WORKER_LOCKS
from framehouse.adapters.postgres.pool import DATABASE_ERRORS, Database
from tests.hosts.network import Host, network
from tests.support.chaos.clients import Clients, Sent
from tests.support.chaos.deployment import PAINTER, UPSTREAM_CONCURRENCY, configure, keep_logs, look, open_patiently
from tests.support.chaos.processes import Parts, running
from tests.support.chaos.verify import all_is_over, done_lines, verify
from tests.support.command_line import FRAMEHOUSE, PATH, environment, run, run_json
from tests.support.eventually import eventually
from tests.support.services import postgres, s3
from tests.support.sockets import free_port

CUT_S = float(os.environ.get("HOSTS_CUT_S", "12"))
WAYS = [("falls silent", "is unplugged")] + ([("is unplugged", "falls silent")] if os.environ.get("HOSTS_LONG") else [])
LEASE_S = 3
NOTICED_S, BACK_S = 20.0, 25.0
"""Within these an API says that its database is away, and works again when it is back: ten seconds each of silence and
of patience, and then of what a try to connect may last that was begun before."""
PORT = 8000
_AT_ONCE = 4
_ASK = """
import sys, time, urllib.error, urllib.request
began = time.monotonic()
try:
    urllib.request.urlopen(urllib.request.Request(sys.argv[1], headers={"Authorization": "Bearer " + sys.argv[2]}))
except urllib.error.HTTPError as error:
    print(error.code, time.monotonic() - began)
"""


@dataclass
class Trial:
    """What runs, and what was measured of it."""

    parts: Parts
    db: Database
    clients: Clients
    folder: Path
    servers: list[str]

    def say(self, what: str, seconds: float) -> None:
        print(f"{what}: {seconds:.1f} s")  # noqa: T201

    def workers(self, *hosts: Host) -> set[int]:
        """Their processes."""
        parts = [part for part in self.parts.named("worker") if any(host.name in part.command for host in hosts)]
        return {part.process.pid for part in parts if part.process}

    async def held_by(self, host: Host) -> set[tuple[int, str]]:
        """The batches that a host's workers have, each with its claim."""
        rows = await self.db.rows(
            "select b.id, b.claim from batches b join pg_locks l on l.objid = b.worker::oid and l.classid = $1 "
            "join pg_stat_activity a on a.pid = l.pid where a.client_addr = $2::text::inet and b.claim is not null",
            WORKER_LOCKS,
            host.address,
        )
        return {(row["id"], str(row["claim"])) for row in rows}

    async def ended(self) -> int:
        return int(await self.db.value("select count(*) from tasks where ended_at is not null"))


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("of_b", "of_c"), WAYS)
async def test_hosts_are_cut_off_and_return(tmp_path: Path, of_b: str, of_c: str) -> None:
    seed = random.randrange(10**6)
    random.seed(seed)
    print(f"seed {seed}: a worker's host {of_b}, then the database's {of_c}")  # noqa: T201
    with (
        network(["a", "b", "c", "d"]) as (a, b, c, d),
        postgres(c.address, port=5432, prefix=c.within) as server,
        s3(c.address, port=9000, prefix=c.within) as bucket,
        running(tmp_path) as parts,
    ):
        shared = {"FRAMEHOUSE_DATABASE_URL": server.url(), "FRAMEHOUSE_STORAGE_URL": bucket.url("house")}
        settings = bucket.variables | shared
        upstream = start_upstream(tmp_path, parts, d)
        receivers = [start_receiver(tmp_path, parts, d, number) for number in range(2)]
        config = configure(tmp_path, *upstream, lease_s=LEASE_S, worker_concurrency=4)
        words: list[str | Path] = ["--config", config]
        mine: list[str | Path] = [*words, "--data-dir", tmp_path / "tools"]
        run("account", "create", "alice", "--concurrency", "60", *mine, code=0, **settings)
        key = run_json("key", "create", "alice", *mine, code=0, **settings)["key"]
        signing = run_json("key", "create", "alice", "--jwt", *mine, code=0, **settings)
        for host in (a, b):
            start_house(tmp_path, parts, host, words, settings)
        db = Database(server.url(), size=2, retry_for_s=1.0)
        servers = [f"http://{host.address}:{PORT}" for host in (a, b)]
        clients = Clients(servers, receivers, key, (signing["access_key"], signing["secret_key"]))
        trial = Trial(parts, db, clients, tmp_path, servers)
        looking = asyncio.create_task(look(parts))
        working = None
        try:
            await open_patiently(db)
            await eventually(lambda: all_work(db, servers), seconds=60)
            working = asyncio.create_task(clients.run(10**6, at_once=_AT_ONCE))
            await asyncio.sleep(2)
            await cut_one_that_works(trial, a, b, of_b)
            await cut_the_one_that_all_need(trial, c, of_c)
            clients.left = 0
            await working
            await eventually(lambda: all_is_over(db), seconds=120)
            await verify(tmp_path, parts, db, clients, servers)
            check_ordered_once(trial)
            print(f"{len(clients.sent)} tasks, {sum(sent.images for sent in clients.sent)} pictures")  # noqa: T201
        finally:
            tasks = [looking, *([working] if working else [])]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await db.close()
            keep_logs(tmp_path)
        assert not parts.deaths, "a process that is cut off lives on"


async def all_work(db: Database, servers: Sequence[str]) -> bool:
    """Whether both APIs are ready and all four workers are there."""
    workers = await db.value("select count(*) from pg_locks where locktype = 'advisory' and classid = $1", WORKER_LOCKS)
    return bool(workers == 4 and all([await is_ready(server) for server in servers]))


async def is_ready(server: str) -> bool:
    async with httpx.AsyncClient(timeout=5) as client:
        with suppress(httpx.TransportError):
            return (await client.get(f"{server}/readyz")).status_code == 200
    return False


async def cut_one_that_works(trial: Trial, a: Host, b: Host, how: str) -> None:
    """Its work is the other's in time, and what is sent to the other ends as if nothing were."""
    clients = trial.clients
    for _ in range(12):  # slow enough to be held for sure, and quick enough for their pictures to come too late
        body = {"model_name": "direct", "prompt": "slow 4"}
        data = await clients.insist("POST", PATH, body, key=os.urandom(8).hex())
        clients.sent.append(Sent(data["task_id"], "slow", 1))
    async with asyncio.timeout(20):
        while len(held := await trial.held_by(b)) < 3:  # noqa: ASYNC110 - it lives in other processes
            await asyncio.sleep(0.05)
    asked = clients.sent[-1].id
    trial.parts.harmed.update(trial.workers(b))
    clients.servers = trial.servers[:1]  # as a balancer does, which looks at /readyz
    began = time.monotonic()
    cut(b, how)
    try:
        asking = asyncio.create_task(ask_within(b, f"{trial.servers[1]}{PATH}/{asked}", clients.key))
        claimed = "select id, claim from batches where claim is not null"
        while held & {(row["id"], str(row["claim"])) for row in await trial.db.rows(claimed)}:
            assert time.monotonic() - began < LEASE_S + 12, "its work is not given to others"
            await asyncio.sleep(0.1)
        trial.say("all that the lost host held is somebody else's after", time.monotonic() - began)
        first = len(clients.sent)

        async def accepted() -> list[str]:
            return [sent.id for sent in clients.sent[first:] if sent.kind in ("single", "several", "marked")]

        await asyncio.sleep(max(2.0, (began + CUT_S - time.monotonic()) / 2))
        meanwhile = await eventually(accepted)
        await asyncio.sleep(max(5.0, began + CUT_S - time.monotonic()))
        late = "select count(*) from tasks where id = any($1::text[]::uuid[]) and ended_at is null"
        assert await trial.db.value(late, meanwhile) == 0, "work went on"
        status, seconds = await asking
        assert (status, seconds < NOTICED_S) == (503, True), f"its own clients got {status} after {seconds:.1f} s"
        trial.say("the lost host's API answered 503 after", seconds)
        check_spared(trial, a, b)
    finally:
        b.come_back()
    began = time.monotonic()
    clients.servers = trial.servers
    await eventually(lambda: is_ready(trial.servers[1]), seconds=BACK_S)
    trial.say("the returned host's API is ready after", time.monotonic() - began)
    async with asyncio.timeout(max(1.0, began + BACK_S - time.monotonic())):
        while not await trial.held_by(b) - held:  # noqa: ASYNC110 - it lives in other processes
            await asyncio.sleep(0.05)
    trial.say("the returned host's workers work after", time.monotonic() - began)


async def cut_the_one_that_all_need(trial: Trial, c: Host, how: str) -> None:
    """Everybody waits, and goes on when it is back."""
    trial.parts.harmed.update(part.process.pid for part in trial.parts.named("worker") if part.process)
    cut(c, how)
    try:
        began = time.monotonic()
        async with asyncio.timeout(NOTICED_S):
            while await is_ready(trial.servers[0]):  # noqa: ASYNC110 - it lives in other processes
                await asyncio.sleep(0.1)
        await asyncio.sleep(max(0.0, began + CUT_S / 2 - time.monotonic()))
    finally:
        c.come_back()
    began = time.monotonic()
    before: int | None = None
    async with asyncio.timeout(BACK_S):
        while True:
            with suppress(*DATABASE_ERRORS):
                ended = await trial.ended()
                before = ended if before is None else before
                if ended > before:
                    break
            await asyncio.sleep(0.1)
    trial.say("tasks end again, once the database is back, after", time.monotonic() - began)
    for server in trial.servers:
        await eventually(partial(is_ready, server), seconds=max(1.0, began + BACK_S - time.monotonic()))
    trial.say("both APIs are ready after", time.monotonic() - began)


def cut(host: Host, how: str) -> None:
    if how == "falls silent":
        host.fall_silent()
    else:
        host.unplug()


async def ask_within(host: Host, url: str, key: str) -> tuple[int, float]:
    """What a client on the host itself is answered, and after how long."""
    process = await asyncio.create_subprocess_exec(
        *host.within, sys.executable, "-c", _ASK, url, key, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    status, seconds = out.split()
    return int(status), float(seconds)


def check_spared(trial: Trial, a: Host, b: Host) -> None:
    """While one was cut off the others painted each picture once, also what the lost one had painted in vain."""
    spared, lost = trial.workers(a), trial.workers(b)
    generated: dict[tuple[str, str], list[int]] = defaultdict(list)
    for task, index, pid in done_lines(trial.folder / "notes"):
        generated[task, index].append(int(pid))
    assert all(len(spared.intersection(pids)) == sum(pid in spared for pid in pids) <= 1 for pids in generated.values())
    assert any(spared & {*pids} and lost & {*pids} for pids in generated.values()), "none was painted by both"


def check_ordered_once(trial: Trial) -> None:
    """At the upstream, which was never cut off, no more was ordered, and paid for, than was asked of us."""
    ordered = len(done_lines(trial.folder / "upstream.notes"))
    assert ordered == sum(sent.images for sent in trial.clients.sent if sent.kind == "by relay")


def start_upstream(folder: Path, parts: Parts, host: Host) -> tuple[str, str]:
    """A second Framehouse, which the first one orders from: its URL, and a key."""
    home, port = folder / "upstream", free_port()
    home.mkdir()
    route = f'{{ engine = "{PAINTER}", notes = "{folder / "upstream.notes"}", seconds = 0.2 }}'
    (home / "framehouse.toml").write_text(f'[models."painter"]\nroutes = [{route}]\n')
    words: list[str | Path] = ["--data-dir", home]
    run("account", "create", "house", "--concurrency", str(UPSTREAM_CONCURRENCY), *words, code=0)
    key = run_json("key", "create", "house", *words, code=0)["key"]
    command = [*host.within, *FRAMEHOUSE, "serve", "--host", host.address, "--port", str(port), "--data-dir", str(home)]
    parts.add("upstream", command, environment())
    return f"http://{host.address}:{port}", key


def start_receiver(folder: Path, parts: Parts, host: Host, number: int) -> str:
    port = free_port()
    command = [
        *host.within,
        FRAMEHOUSE[0],
        "-m",
        "tests.support.chaos.receiver",
        str(port),
        str(folder / f"told{number}"),
        host.address,
    ]
    parts.add("receiver", command, environment())
    return f"http://{host.address}:{port}"


def start_house(folder: Path, parts: Parts, host: Host, words: list[str | Path], settings: dict[str, str]) -> None:
    """An API and two workers on a host."""
    api = ["api", "--host", host.address, "--port", str(PORT)]
    for number, command in enumerate((api, ["worker"], ["worker"])):
        data = ["--data-dir", str(folder / f"{host.name}-{number}")]
        whole = [*host.within, *FRAMEHOUSE, *command, *data, *map(str, words)]
        parts.add(command[0], whole, environment(**settings, FRAMEHOUSE_PUBLIC_URL=f"http://{host.address}:{PORT}"))
