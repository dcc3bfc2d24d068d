"""Alternatives to Framehouse: their packages, each in a separate environment under .cache/bench, and their programs."""

import os
import shutil
import socket
import subprocess
import time
import venv
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from measuring.framehouse_processes import BENCH

_ENVIRONMENTS = BENCH.parent / ".cache" / "bench"
PACKAGES = {
    "sqlalchemy": ("sqlalchemy[asyncio]", "asyncpg", "fastapi", "uvicorn[standard]"),
    "litellm": ("litellm[proxy]",),
    "bentoml": ("bentoml", "numpy", "pillow"),
    "celery": ("celery[redis]", "fastapi", "uvicorn[standard]", "numpy", "pillow"),
}


def environment_programs(name: str) -> Path:
    """Return the folder of the programs of an environment. The first call installs it, which takes a minute."""
    folder = _ENVIRONMENTS / name
    installed = folder / ".installed"
    if not installed.exists():
        print(f"    installing {', '.join(PACKAGES[name])} into {folder.relative_to(BENCH.parent)}", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        venv.create(folder, with_pip=True)
        pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        subprocess.run([*pip, *PACKAGES[name]], check=True)
        installed.touch()
    return folder / "bin"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@contextmanager
def running_program(
    command: Sequence[object], *, port: int = 0, log: Path, env: Mapping[str, str] = {}
) -> Iterator[int]:
    """Run a program until the context ends. Yields its pid; if `port` is not 0, after the program listens on it."""
    process = subprocess.Popen(
        [str(argument) for argument in command], stdout=log.open("w"), stderr=subprocess.STDOUT, env=os.environ | env
    )
    try:
        end = time.monotonic() + 90
        while port:
            if process.poll() is not None or time.monotonic() > end:
                raise SystemExit(f"{command[0]} did not start:\n{log.read_text()[-3000:]}")
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            time.sleep(0.1)
        yield process.pid
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=20)
        process.kill()
