"""The processes of a chaos test: two APIs, three workers, an upstream and receivers, with their configuration."""

import asyncio
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from framehouse.adapters.postgres.pool import DATABASE_ERRORS, Database
from tests.support.chaos.processes import ProcessSet
from tests.support.command_line import FRAMEHOUSE, environment, run, run_json
from tests.support.eventually import eventually
from tests.support.sockets import free_port

CONCURRENCY, UPSTREAM_CONCURRENCY = 60, 20

LEASE_S = 5

RECORDING_ENGINE = "tests.support.chaos.recording_engine:RecordingEngine"
UPSTREAM_MODEL = "upstream-model"


async def supervise(processes: ProcessSet) -> None:
    """Restart and resume processes until cancelled."""
    while True:
        processes.restart_and_resume()
        await asyncio.sleep(0.1)


async def open_with_retries(db: Database) -> None:
    async def opened() -> bool:
        try:
            await db.open()
        except (OSError, *DATABASE_ERRORS):
            return False
        return True

    await eventually(opened, seconds=60)


def start_upstream(
    folder: Path, processes: ProcessSet, *, prefix: Sequence[str] = (), address: str = "127.0.0.1"
) -> tuple[int, str]:
    """Start a second Framehouse, the upstream of the first one. Returns its port and an API key.

    `prefix` is the beginning of the command, such as `ip netns exec NAME`.
    """
    home = folder / "upstream"
    home.mkdir()
    route = f'{{ engine = "{RECORDING_ENGINE}", notes = "{folder / "upstream.notes"}", seconds = 0.2 }}'
    (home / "framehouse.toml").write_text(f'[models."{UPSTREAM_MODEL}"]\nroutes = [{route}]\n')
    settings = {"FRAMEHOUSE_LEASE_S": str(LEASE_S), "FRAMEHOUSE_ATTEMPTS": "100"}
    words: list[str | Path] = ["--data-dir", home]
    run("account", "create", "relay", "--concurrency", str(UPSTREAM_CONCURRENCY), *words, code=0, **settings)
    key = run_json("key", "create", "relay", *words, code=0, **settings)["key"]
    port = free_port()
    command = [*prefix, *FRAMEHOUSE, "serve", "--host", address, "--port", str(port), "--data-dir", str(home)]
    processes.add("upstream", command, environment(**settings))
    return port, key


def start_receiver(
    folder: Path, processes: ProcessSet, number: int, *, prefix: Sequence[str] = (), address: str = "127.0.0.1"
) -> str:
    """Start a receiver of callbacks. Returns its URL. `prefix` is the beginning of the command."""
    port = free_port()
    log = folder / f"callbacks{number}"
    command = [*prefix, FRAMEHOUSE[0], "-m", "tests.support.chaos.receiver", str(port), str(log), address]
    processes.add("receiver", command, environment())
    return f"http://{address}:{port}"


def configure(folder: Path, upstream: str, key: str, *, lease_s: int, worker_concurrency: int) -> Path:
    """Write the settings file of a deployment with three models: a local engine, the upstream, and previz."""
    account = f'{{ api_key = "{key}", concurrency = {UPSTREAM_CONCURRENCY} }}'
    relay = (
        f'engine = "kling", base_url = "{upstream}/kling", model = "{UPSTREAM_MODEL}", accounts = [{account}], '
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
routes = [{{ engine = "{RECORDING_ENGINE}", notes = "{folder / "notes"}", seconds = 0.3 }}]
[models.relay]
routes = [{{ {relay} }}]
[models.previz]
routes = [{{ engine = "previz" }}]
"""
    )
    return config


def start_deployment(processes: ProcessSet, words: list[str | Path], settings: dict[str, str]) -> list[int]:
    """Start two APIs and three workers that share one embedded database. Returns the ports of the APIs."""
    ports = [free_port(), free_port()]
    command = [*map(str, words)]
    for port in ports:
        processes.add("api", [*FRAMEHOUSE, "api", "--port", str(port), *command], environment(**settings))
    for _ in range(3):
        processes.add("worker", [*FRAMEHOUSE, "worker", *command], environment(**settings))
    return ports


def save_logs(folder: Path) -> None:
    """Copy the logs of a test to the folder in CHAOS_LOGS, if that variable is set."""
    if to := os.environ.get("CHAOS_LOGS"):
        Path(to).mkdir(parents=True, exist_ok=True)
        for pattern in ("*.log", "notes", "upstream.notes", "callbacks*", "disk/data/postgres.log"):
            for path in folder.glob(pattern):
                shutil.copy(path, to)
