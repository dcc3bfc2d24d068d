"""One house on three hosts: two with an API and workers, one with PostgreSQL and the bucket. One of them is cut off for
longer than its leases and comes back, then the third; afterwards nothing is lost, doubled or untold, and work went on.

Clients, kinds of tasks and what must be true are those of the chaos.
"""

import asyncio
import os
import random
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from framehouse.adapters.postgres.pool import Database
from framehouse.entrypoints.worker import WORKER_LOCKS
from tests.chaos.clients import Clients
from tests.chaos.clock import Clock
from tests.chaos.processes import Parts, running
from tests.chaos.test_chaos import PAINTER, UPSTREAM_CONCURRENCY, Chaos, all_is_over, keep_logs, look, open_patiently
from tests.chaos.test_chaos import verify as verify_all
from tests.cli.running import FRAMEHOUSE, environment, run, run_json
from tests.conftest import eventually
from tests.hosts.network import Host, network
from tests.services import postgres, s3
from tests.sockets import free_port

TASKS = int(os.environ.get("HOSTS_TASKS", "90"))
LEASE_S = 3
CUT_S = 12.0
PORT = 8000


@pytest.mark.timeout(600)
async def test_a_host_is_cut_off_and_returns(tmp_path: Path) -> None:
    seed = random.randrange(10**6)
    random.seed(seed)
    print(f"seed {seed}, {TASKS} tasks")  # noqa: T201
    with network(["a", "b", "c"]) as (here, (a, b, c)), running(tmp_path) as parts:
        with (
            postgres(c.address, port=5432, prefix=c.within) as server,
            s3(c.address, port=9000, prefix=c.within) as bucket,
        ):
            shared = {"FRAMEHOUSE_DATABASE_URL": server.url(), "FRAMEHOUSE_STORAGE_URL": bucket.url("house")}
            settings = bucket.variables | shared
            upstream = start_upstream(tmp_path, parts, here)
            receivers = [start_receiver(tmp_path, parts, here, number) for number in range(2)]
            config = configure(tmp_path, *upstream)
            words: list[str | Path] = ["--config", config]
            mine: list[str | Path] = [*words, "--data-dir", tmp_path / "tools"]
            run("account", "create", "alice", "--concurrency", "60", *mine, code=0, **settings)
            key = run_json("key", "create", "alice", *mine, code=0, **settings)["key"]
            signing = run_json("key", "create", "alice", "--jwt", *mine, code=0, **settings)
            for host in (a, b):
                start_house(tmp_path, parts, host, words, settings)
            db = Database(server.url(), size=2, patience_s=1.0)
            chaos = Chaos(tmp_path, parts, Clock(tmp_path), db, tmp_path, mounted=False)
            servers = [f"http://{host.address}:{PORT}" for host in (a, b)]
            clients = Clients(servers, receivers, key, (signing["access_key"], signing["secret_key"]))
            looking = asyncio.create_task(look(parts))
            try:
                await open_patiently(db)
                await eventually(lambda: all_work(db, servers), seconds=60)
                working = asyncio.create_task(clients.run(TASKS, at_once=12))
                await asyncio.sleep(3)
                clients.servers = servers[:1]  # as a balancer does, which looks at /readyz
                ended_meanwhile = await cut(b, parts, db)
                clients.servers = servers
                assert ended_meanwhile > 5, "work went on"
                await asyncio.sleep(3)
                await cut(c, parts, db)
                await working
                began = time.monotonic()
                await eventually(lambda: all_is_over(db), seconds=120)
                print(f"all is over {time.monotonic() - began:.1f} s after the last answer")  # noqa: T201
                await verify_all(chaos, clients, servers)
            finally:
                looking.cancel()
                await asyncio.gather(looking, return_exceptions=True)
                await db.close()
                keep_logs(tmp_path)
        assert not parts.deaths, "a process that is cut off lives on"


async def all_work(db: Database, servers: Sequence[str]) -> bool:
    """Whether both APIs are ready and all four workers are there."""
    workers = await db.value("select count(*) from pg_locks where locktype = 'advisory' and classid = $1", WORKER_LOCKS)
    async with httpx.AsyncClient(timeout=5) as client:
        with suppress(httpx.TransportError):
            ready = [(await client.get(f"{server}/readyz")).status_code == 200 for server in servers]
            return all(ready) and workers == 4
    return False


async def cut(host: Host, parts: Parts, db: Database) -> int:
    """Cut a host off for a while; how many tasks ended meanwhile, as far as the database can be asked. Whoever works
    there, or with it, may have to paint anew what it could not hand in."""
    parts.harmed.update(part.process.pid for part in parts.named("worker") if part.process)
    count = "select count(*) from tasks where ended_at is not null"
    host.cut_off()
    try:
        if host.name.endswith("-c"):
            await asyncio.sleep(CUT_S)
            return 0
        before = await db.value(count)
        await asyncio.sleep(CUT_S)
        return int(await db.value(count) - before)
    finally:
        host.return_to_others()


def start_upstream(folder: Path, parts: Parts, here: str) -> tuple[str, str]:
    """A second Framehouse, which the first one orders from: its URL, and a key."""
    home, port = folder / "upstream", free_port()
    home.mkdir()
    route = f'{{ engine = "{PAINTER}", notes = "{folder / "upstream.notes"}", seconds = 0.2 }}'
    (home / "framehouse.toml").write_text(f'[models."painter"]\nroutes = [{route}]\n')
    words: list[str | Path] = ["--data-dir", home]
    run("account", "create", "house", "--concurrency", str(UPSTREAM_CONCURRENCY), *words, code=0)
    key = run_json("key", "create", "house", *words, code=0)["key"]
    command = [*FRAMEHOUSE, "serve", "--host", here, "--port", str(port), "--data-dir", str(home)]
    parts.add("upstream", command, environment())
    return f"http://{here}:{port}", key


def start_receiver(folder: Path, parts: Parts, here: str, number: int) -> str:
    port = free_port()
    command = [FRAMEHOUSE[0], "-m", "tests.chaos.receiver", str(port), str(folder / f"told{number}"), here]
    parts.add("receiver", command, environment())
    return f"http://{here}:{port}"


def configure(folder: Path, upstream: str, key: str) -> Path:
    """The settings file of the house: what each host has for itself is its data folder alone."""
    account = f'{{ api_key = "{key}", concurrency = {UPSTREAM_CONCURRENCY} }}'
    relay = (
        f'engine = "kling", base_url = "{upstream}/kling", model = "painter", accounts = [{account}], '
        "resubmit = true, answer_s = 3, lost_after_s = 8"
    )
    config = folder / "framehouse.toml"
    config.write_text(
        f"""
worker_concurrency = 4
lease_s = {LEASE_S}
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


def start_house(folder: Path, parts: Parts, host: Host, words: list[str | Path], settings: dict[str, str]) -> None:
    """An API and two workers on a host."""
    api = ["api", "--host", host.address, "--port", str(PORT)]
    for number, command in enumerate((api, ["worker"], ["worker"])):
        data = ["--data-dir", str(folder / f"{host.name}-{number}")]
        whole = [*host.within, *FRAMEHOUSE, *command, *data, *map(str, words)]
        parts.add(command[0], whole, environment(**settings, FRAMEHOUSE_PUBLIC_URL=f"http://{host.address}:{PORT}"))
