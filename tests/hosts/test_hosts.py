"""A deployment on three hosts survives the loss of a host.

Two hosts have an API and workers, and the third has PostgreSQL and the bucket. A fourth host has the upstream and the
receivers of callbacks. First one of the worker hosts is cut off for longer than its leases, then the host of the
database. Meanwhile, work continues if the database is available. Afterwards no task is lost or generated twice, and
every callback has arrived.

The clients, the kinds of tasks and the final checks are those of the chaos test. HOSTS_CUT_S sets how long a host is
cut off. With HOSTS_LONG, each host is cut off in both ways (`make hosts`).
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
from tests.support.chaos.clients import Clients, SentTask
from tests.support.chaos.deployment import (
    configure,
    open_with_retries,
    save_logs,
    start_receiver,
    start_upstream,
    supervise,
)
from tests.support.chaos.processes import ProcessSet, running
from tests.support.chaos.verify import all_work_ended, done_lines, verify
from tests.support.command_line import FRAMEHOUSE, PATH, environment, run, run_json
from tests.support.eventually import eventually
from tests.support.services import postgres, s3

CUT_S = float(os.environ.get("HOSTS_CUT_S", "12"))
CUTS = [("loses packets", "is unplugged")] + (
    [("is unplugged", "loses packets")] if os.environ.get("HOSTS_LONG") else []
)
LEASE_S = 5
NOTICED_S, RECOVERED_S = 20.0, 40.0
"""The maximum times until an API answers that its database is unavailable, and until it works again when the database
is reachable. The first time consists of ten seconds without an answer and ten seconds of retries. The second time also
includes an attempt to connect that started before."""
PORT = 8000
pytestmark = pytest.mark.xdist_group("hosts")  # one test process, because the hosts' network exists only once
_CLIENTS = 4
_REQUEST = """
import sys, time, urllib.error, urllib.request
began = time.monotonic()
try:
    urllib.request.urlopen(urllib.request.Request(sys.argv[1], headers={"Authorization": "Bearer " + sys.argv[2]}))
except urllib.error.HTTPError as error:
    print(error.code, time.monotonic() - began)
"""


@dataclass
class Trial:
    """The running deployment and its clients."""

    processes: ProcessSet
    db: Database
    clients: Clients
    folder: Path
    servers: list[str]

    def print_duration(self, event: str, seconds: float) -> None:
        print(f"{event}: {seconds:.1f} s")  # noqa: T201

    def workers(self, host: Host) -> set[int]:
        """The pids of the host's workers."""
        workers = [process for process in self.processes.named("worker") if host.name in process.command]
        return {worker.popen.pid for worker in workers if worker.popen}

    async def claimed_by(self, host: Host, *, tasks: Sequence[str] | None = None) -> set[tuple[int, str]]:
        """The ids and claims of the batches (only of these tasks, if given) that the host's workers have claimed."""
        rows = await self.db.rows(
            "select b.id, b.claim from batches b join pg_locks l on l.objid = b.worker::oid and l.classid = $1 "
            "join pg_stat_activity a on a.pid = l.pid where a.client_addr = $2::text::inet and b.claim is not null "
            "and ($3::text[] is null or b.task_id = any($3::text[]::uuid[]))",
            WORKER_LOCKS,
            host.address,
            tasks,
        )
        return {(row["id"], str(row["claim"])) for row in rows}

    async def ended(self) -> int:
        return int(await self.db.value("select count(*) from tasks where ended_at is not null"))


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("worker_cut", "database_cut"), CUTS)
async def test_no_task_is_lost_when_a_host_is_cut_off(tmp_path: Path, worker_cut: str, database_cut: str) -> None:
    seed = random.randrange(10**6)
    random.seed(seed)
    print(f"seed {seed}: a worker's host {worker_cut}, then the database's host {database_cut}")  # noqa: T201
    with (
        network(["a", "b", "c", "d"]) as (a, b, c, d),
        postgres(c.address, port=5432, prefix=c.within) as server,
        s3(c.address, port=9000, prefix=c.within) as bucket,
        running(tmp_path) as processes,
    ):
        shared = {"FRAMEHOUSE_DATABASE_URL": server.url(), "FRAMEHOUSE_STORAGE_URL": bucket.url("prefix")}
        settings = bucket.variables | shared
        port, upstream_key = start_upstream(tmp_path, processes, prefix=d.within, address=d.address)
        receivers = [
            start_receiver(tmp_path, processes, number, prefix=d.within, address=d.address) for number in range(2)
        ]
        upstream_url = f"http://{d.address}:{port}"
        config = configure(tmp_path, upstream_url, upstream_key, lease_s=LEASE_S, worker_concurrency=4)
        words: list[str | Path] = ["--config", config]
        options: list[str | Path] = [*words, "--data-dir", tmp_path / "tools"]
        run("account", "create", "alice", "--concurrency", "60", *options, code=0, **settings)
        key = run_json("key", "create", "alice", *options, code=0, **settings)["key"]
        signing = run_json("key", "create", "alice", "--jwt", *options, code=0, **settings)
        for host in (a, b):
            start_api_and_workers(tmp_path, processes, host, words, settings)
        db = Database(server.url(), size=2, retry_for_s=1.0)
        servers = [f"http://{host.address}:{PORT}" for host in (a, b)]
        clients = Clients(servers, receivers, key, (signing["access_key"], signing["secret_key"]))
        trial = Trial(processes, db, clients, tmp_path, servers)
        supervising = asyncio.create_task(supervise(processes))
        sending = None
        try:
            await open_with_retries(db)
            await eventually(lambda: all_ready(db, servers), seconds=60)
            sending = asyncio.create_task(clients.run(10**6, concurrency=_CLIENTS))
            await asyncio.sleep(2)
            await cut_off_worker_host(trial, a, b, worker_cut)
            await cut_off_database_host(trial, c, database_cut)
            clients.remaining = 0
            await sending
            await eventually(lambda: all_work_ended(db), seconds=120)
            await verify(tmp_path, processes, db, clients, servers)
            check_ordered_once(trial)
            print(f"{len(clients.sent)} tasks, {sum(sent.images for sent in clients.sent)} images")  # noqa: T201
        finally:
            tasks = [supervising, *([sending] if sending else [])]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await db.close()
            save_logs(tmp_path)
        assert not processes.deaths, "a process died because its host was cut off"


async def all_ready(db: Database, servers: Sequence[str]) -> bool:
    """Whether both APIs are ready and all four workers are connected to the database."""
    workers = await db.value("select count(*) from pg_locks where locktype = 'advisory' and classid = $1", WORKER_LOCKS)
    return bool(workers == 4 and all([await is_ready(server) for server in servers]))


async def is_ready(server: str) -> bool:
    async with httpx.AsyncClient(timeout=5) as client:
        with suppress(httpx.TransportError):
            return (await client.get(f"{server}/readyz")).status_code == 200
    return False


async def cut_off_worker_host(trial: Trial, a: Host, b: Host, cut: str) -> None:
    """Cut off host `b`. Its batches are requeued within a limited time, and new tasks on host `a` end normally.

    An API on host `b` answers 503 within `NOTICED_S`. After the reconnection, its API and its workers work again.
    """
    clients = trial.clients
    # slow tasks: they are still claimed when the host is cut off, and their images are finished before it returns
    body = {"model_name": "direct", "prompt": "slow 6"}
    requests = (clients.request_until_answered("POST", PATH, body, key=os.urandom(8).hex()) for _ in range(12))
    slow = [data["task_id"] for data in await asyncio.gather(*requests)]
    clients.sent += [SentTask(task, "slow", 1) for task in slow]
    async with asyncio.timeout(20):
        while len(claimed := await trial.claimed_by(b, tasks=slow)) < 3:  # noqa: ASYNC110 - the state is in other processes
            await asyncio.sleep(0.05)
    last_task = clients.sent[-1].id
    trial.processes.disturbed.update(trial.workers(b))
    clients.servers = trial.servers[:1]  # like a load balancer that checks /readyz
    began = time.monotonic()
    cut_off(b, cut)
    try:
        requesting = asyncio.create_task(request_on_host(b, f"{trial.servers[1]}{PATH}/{last_task}", clients.key))
        query = "select id, claim from batches where claim is not null"
        while claimed & {(row["id"], str(row["claim"])) for row in await trial.db.rows(query)}:
            assert time.monotonic() - began < LEASE_S + 14, "the batches of the lost host were not requeued"
            await asyncio.sleep(0.1)
        trial.print_duration("all batches of the lost host are requeued after", time.monotonic() - began)
        first = len(clients.sent)

        async def accepted() -> list[str]:
            return [sent.id for sent in clients.sent[first:] if sent.kind in ("single", "several", "watermarked")]

        await asyncio.sleep(max(2.0, (began + CUT_S - time.monotonic()) / 2))
        meanwhile = await eventually(accepted)
        late = "select count(*) from tasks where id = any($1::text[]::uuid[]) and ended_at is null"

        async def all_ended() -> bool:
            return bool(await trial.db.value(late, meanwhile) == 0)

        await asyncio.sleep(max(0.0, began + CUT_S - time.monotonic()))
        await eventually(all_ended)  # while host `b` is cut off
        status, seconds = await requesting
        assert (status, seconds < NOTICED_S) == (503, True), (
            f"the lost host's API answered {status} after {seconds:.1f} s"
        )
        trial.print_duration("the lost host's API answered 503 after", seconds)
        await eventually(partial(generated_by_both, trial, a, b))
        check_no_repetition(trial, a)
    finally:
        b.reconnect()
    began = time.monotonic()
    clients.servers = trial.servers
    await eventually(lambda: is_ready(trial.servers[1]), seconds=RECOVERED_S)
    trial.print_duration("the reconnected host's API is ready after", time.monotonic() - began)
    async with asyncio.timeout(max(1.0, began + RECOVERED_S - time.monotonic())):
        while not await trial.claimed_by(b) - claimed:  # noqa: ASYNC110 - the state is in other processes
            await asyncio.sleep(0.05)
    trial.print_duration("the reconnected host's workers claim batches after", time.monotonic() - began)


async def cut_off_database_host(trial: Trial, c: Host, cut: str) -> None:
    """Cut off the host of the database. All processes wait, and continue after the reconnection."""
    workers = trial.processes.named("worker")
    trial.processes.disturbed.update(worker.popen.pid for worker in workers if worker.popen)
    cut_off(c, cut)
    try:
        began = time.monotonic()
        async with asyncio.timeout(NOTICED_S):
            while await is_ready(trial.servers[0]):  # noqa: ASYNC110 - the state is in other processes
                await asyncio.sleep(0.1)
        await asyncio.sleep(max(0.0, began + CUT_S / 2 - time.monotonic()))
    finally:
        c.reconnect()
    began = time.monotonic()
    before: int | None = None
    async with asyncio.timeout(RECOVERED_S):
        while True:
            with suppress(*DATABASE_ERRORS):
                ended = await trial.ended()
                before = ended if before is None else before
                if ended > before:
                    break
            await asyncio.sleep(0.1)
    trial.print_duration("the database is reconnected, and tasks end again after", time.monotonic() - began)
    for server in trial.servers:
        await eventually(partial(is_ready, server), seconds=max(1.0, began + RECOVERED_S - time.monotonic()))
    trial.print_duration("both APIs are ready after", time.monotonic() - began)


def cut_off(host: Host, cut: str) -> None:
    if cut == "loses packets":
        host.drop_packets()
    else:
        host.unplug()


async def request_on_host(host: Host, url: str, key: str) -> tuple[int, float]:
    """Send a GET request from a client on the host itself. Returns the status of the answer and its time in seconds."""
    process = await asyncio.create_subprocess_exec(
        *host.within, sys.executable, "-c", _REQUEST, url, key, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    status, seconds = out.split()
    return int(status), float(seconds)


def generations(trial: Trial) -> list[list[int]]:
    """For each image, the worker processes that generated it."""
    generated: dict[tuple[str, str], list[int]] = defaultdict(list)
    for task, index, pid in done_lines(trial.folder / "notes"):
        generated[task, index].append(int(pid))
    return list(generated.values())


async def generated_by_both(trial: Trial, a: Host, b: Host) -> bool:
    """Whether host `a` has generated an image that the lost host `b` had finished but could not save."""
    others, lost = trial.workers(a), trial.workers(b)
    return any(others & {*pids} and lost & {*pids} for pids in generations(trial))


def check_no_repetition(trial: Trial, host: Host) -> None:
    """Check that the workers of a host generated no image twice."""
    workers = trial.workers(host)
    assert all(sum(pid in workers for pid in pids) <= 1 for pids in generations(trial))


def check_ordered_once(trial: Trial) -> None:
    """Check that the upstream, which was never cut off, generated exactly the images of the relayed tasks."""
    ordered = len(done_lines(trial.folder / "upstream.notes"))
    assert ordered == sum(sent.images for sent in trial.clients.sent if sent.relayed)


def start_api_and_workers(
    folder: Path, processes: ProcessSet, host: Host, words: list[str | Path], settings: dict[str, str]
) -> None:
    """Start an API and two workers on a host."""
    api = ["api", "--host", host.address, "--port", str(PORT)]
    for number, command in enumerate((api, ["worker"], ["worker"])):
        data = ["--data-dir", str(folder / f"{host.name}-{number}")]
        prefixed = [*host.within, *FRAMEHOUSE, *command, *data, *map(str, words)]
        variables = environment(**settings, FRAMEHOUSE_PUBLIC_URL=f"http://{host.address}:{PORT}")
        processes.add(command[0], prefixed, variables)
