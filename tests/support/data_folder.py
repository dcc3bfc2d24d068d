"""Data folders for fast starts: copies of a template, whose migrated, empty database does not wait for the disk."""

import asyncio
import fcntl
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from framehouse.adapters.postgres.embedded import EmbeddedPostgres
from framehouse.adapters.postgres.migrate import migrate
from tests.support.database import execute

NO_SYNC = "alter system set fsync = off; alter system set full_page_writes = off"
"""SQL statements for tests. A killed server loses no data because of them; only a power failure of the machine does."""


class DataFolders:
    """`shared` is a folder of the whole test run; each test process sets it before its first test."""

    shared: Path | None = None


def prepare(data_dir: Path) -> None:
    """Create a data folder as after a first start, but without an account. An existing folder is left unchanged."""
    if data_dir.exists() or DataFolders.shared is None:
        return
    template = DataFolders.shared / "data-template"
    with (DataFolders.shared / "data-template.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not template.exists():
            with ThreadPoolExecutor(1) as thread:  # the caller may run an event loop
                thread.submit(_create, template).result()
    _copy(template, data_dir)


def _create(template: Path) -> None:
    unfinished = template.with_suffix(".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    server = EmbeddedPostgres(unfinished)
    server.start()
    try:
        asyncio.run(migrate(server.url))
        for statement in NO_SYNC.split(";"):
            asyncio.run(execute(server.url, statement))
    finally:
        server.stop()
    unfinished.rename(template)


def _copy(template: Path, to: Path) -> None:
    """Copy the folder without its log and lock files. Owners are kept: as root, PostgreSQL runs as another user."""
    to.parent.mkdir(parents=True, exist_ok=True)
    flags = ["-a", "--reflink=auto"] if sys.platform == "linux" else ["-a"]
    subprocess.run(["cp", *flags, str(template), str(to)], check=True)
    for name in ("postgres.log", "postgres.users", "postgres.turn"):
        (to / name).unlink(missing_ok=True)
