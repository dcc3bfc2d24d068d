"""Run commands and servers by the real command line, as a user does."""

import atexit
import json
import os
import pkgutil
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import httpx

import framehouse.cli
from tests.support import process_tree
from tests.support.data_folder import prepare
from tests.support.fork_server import fork_server

FRAMEHOUSE = [sys.executable, "-m", "framehouse"]
ROOT = Path(__file__).parents[2]
PATH = "/kling/v1/images/omni-image"
_IMPORTED_LATE = ["framehouse.wiring", "framehouse.engines.previz.previz_engine"]


def environment(**extra: str) -> dict[str, str]:
    """The environment without the developer's own settings. The engines of the tests can be imported."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("FRAMEHOUSE_")}
    return clean | {"PYTHONPATH": str(ROOT), "COLUMNS": "120"} | extra


@cache
def _quick_command() -> list[str]:
    """The command line, started by a fork server, because Python's imports take most of the time of a short command."""
    if sys.platform != "linux":
        return FRAMEHOUSE
    open_server = ExitStack()
    atexit.register(open_server.close)
    folder = Path(open_server.enter_context(tempfile.TemporaryDirectory(prefix="fh-")))
    modules = [f"framehouse.cli.{module.name}" for module in pkgutil.iter_modules(framehouse.cli.__path__)]
    server = open_server.enter_context(fork_server(folder, [*modules, *_IMPORTED_LATE], environment()))
    return server.command("framehouse")


def run(*words: str | Path, code: int = 0, **extra: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, and check its exit code and that it printed no traceback."""
    command = FRAMEHOUSE if "PYTHONPATH" in extra else _quick_command()  # that path must apply to all imports
    done = subprocess.run(
        [*command, *map(str, words)],
        capture_output=True,
        text=True,
        env=environment(**extra),
        timeout=180,
        check=False,
    )
    assert done.returncode == code, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    return done


def run_json(*words: str | Path, code: int = 0, **extra: str) -> Any:
    return json.loads(run(*words, "--json", code=code, **extra).stdout)


@dataclass
class Server:
    """A running `framehouse serve`. `out` is the output until it was ready."""

    process: subprocess.Popen[bytes]
    url: str
    out: str
    data_dir: Path

    @property
    def key(self) -> str:
        match = re.search(r"^\s+(fh_\S+)$", self.out, re.MULTILINE)
        assert match, self.out
        return match[1]

    def children(self) -> list[int]:
        return process_tree.children(self.process.pid)

    def kill(self) -> None:
        """Kill all processes of the server at the same time, like a power failure."""
        process_tree.kill([*self.children(), self.process.pid])
        self.process.wait()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=120)


@contextmanager
def serve(data_dir: Path, *words: str | Path, **extra: str) -> Iterator[Server]:
    """Run a server. A new data folder is copied from a template that contains a migrated database."""
    prepare(data_dir)
    with serve_unprepared(data_dir, *words, **extra) as server:
        yield server


@contextmanager
def serve_unprepared(data_dir: Path, *words: str | Path, **extra: str) -> Iterator[Server]:
    """Run a server. Its very first start creates the data folder and the database."""
    out, log = (data_dir.parent / f"{data_dir.name}.{kind}" for kind in ("out", "log"))
    with out.open("w") as stdout, log.open("a") as stderr:
        process = subprocess.Popen(
            [*FRAMEHOUSE, "serve", "--port", "0", "--data-dir", str(data_dir), *map(str, words)],
            stdout=stdout,
            stderr=stderr,
            env=environment(**extra),
        )
    try:
        end = time.monotonic() + 120
        while not (ready := re.search(r"is ready at (\S+)", out.read_text())):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.02)
        yield Server(process, ready[1], out.read_text(), data_dir)
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(timeout=120)


def client(url: str, key: str) -> httpx.Client:
    return httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=90)
