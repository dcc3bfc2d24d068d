"""Other people's packages, each in an environment of its own under .cache/bench, and programs that run in them."""

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

_PLACE = BENCH.parent / ".cache" / "bench"
PACKAGES = {
    "sqlalchemy": ("sqlalchemy[asyncio]", "asyncpg", "fastapi", "uvicorn[standard]"),
    "litellm": ("litellm[proxy]",),
    "bentoml": ("bentoml", "numpy", "pillow"),
    "celery": ("celery[redis]", "fastapi", "uvicorn[standard]", "numpy", "pillow"),
}


def environment_of(name: str) -> Path:
    """The folder of programs of an environment with these packages; the first time it is made, which takes a minute."""
    folder = _PLACE / name
    done = folder / ".installed"
    if not done.exists():
        print(f"    installing {', '.join(PACKAGES[name])} into {folder.relative_to(BENCH.parent)}", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        venv.create(folder, with_pip=True)
        pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        subprocess.run([*pip, *PACKAGES[name]], check=True)
        done.touch()
    return folder / "bin"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


@contextmanager
def program(command: Sequence[object], *, port: int = 0, log: Path, env: Mapping[str, str] = {}) -> Iterator[int]:
    """A program that runs until the context ends, from when it listens on `port`; its pid."""
    process = subprocess.Popen(
        [str(word) for word in command], stdout=log.open("w"), stderr=subprocess.STDOUT, env=os.environ | env
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
