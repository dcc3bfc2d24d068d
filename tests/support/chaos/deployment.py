"""The processes of a chaos test: two APIs, three workers, an upstream and receivers, with their configuration."""

import asyncio
import os
import shutil
from pathlib import Path

from framehouse.adapters.postgres.pool import DATABASE_ERRORS, Database
from tests.support.chaos.processes import Parts
from tests.support.command_line import FRAMEHOUSE, environment, run, run_json
from tests.support.eventually import eventually
from tests.support.sockets import free_port

CONCURRENCY, UPSTREAM_CONCURRENCY = 60, 20

LEASE_S = 4

PAINTER = "tests.support.chaos.painter:Painter"


async def look(parts: Parts) -> None:
    while True:
        parts.look()
        await asyncio.sleep(0.1)


async def open_patiently(db: Database) -> None:
    async def opened() -> bool:
        try:
            await db.open()
        except (OSError, *DATABASE_ERRORS):
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
    parts.add("receiver", [FRAMEHOUSE[0], "-m", "tests.support.chaos.receiver", str(port), str(log)], environment())
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


def keep_logs(folder: Path) -> None:
    """Where somebody asks for them."""
    if to := os.environ.get("CHAOS_LOGS"):
        Path(to).mkdir(parents=True, exist_ok=True)
        for pattern in ("*.log", "notes", "upstream.notes", "told*", "disk/data/postgres.log"):
            for path in folder.glob(pattern):
                shutil.copy(path, to)
