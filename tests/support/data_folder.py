"""Data folders that start fast: copies of one with an empty, migrated database that does not wait for the disk."""

import asyncio
import fcntl
import shutil
import subprocess
import sys
from pathlib import Path

from framehouse.adapters.postgres.embedded import EmbeddedPostgres
from framehouse.adapters.postgres.migrate import migrate
from tests.support.database import execute

NO_SYNC = "alter system set fsync = off; alter system set full_page_writes = off"
"""For tests: a killed server loses nothing by this, only a machine that loses power does."""


class DataFolders:
    """`shared` is a folder of the whole run, which each process of it sets before the first test."""

    shared: Path | None = None


def prepare(data_dir: Path) -> None:
    """Make a data folder as a first start leaves it, but for its account; one that is there already stays."""
    if data_dir.exists() or DataFolders.shared is None:
        return
    template = DataFolders.shared / "data-template"
    with (DataFolders.shared / "data-template.turn").open("ab") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        if not template.exists():
            _create(template)
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
    """With owners: as root, PostgreSQL's files belong to somebody else. The log and locks are left out."""
    to.parent.mkdir(parents=True, exist_ok=True)
    flags = ["-a", "--reflink=auto"] if sys.platform == "linux" else ["-a"]
    subprocess.run(["cp", *flags, str(template), str(to)], check=True)
    for name in ("postgres.log", "postgres.users", "postgres.turn"):
        (to / name).unlink(missing_ok=True)
