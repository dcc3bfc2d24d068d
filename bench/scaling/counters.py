"""What PostgreSQL and processes have spent so far, and the difference of two looks."""

import os
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import asyncpg

from framehouse.adapters.postgres.embedded import EmbeddedPostgres
from framehouse.adapters.postgres.pool import Database
from measuring.framehouse_processes import folder

Spent = dict[str, float]
_SUMS = """
select (select xact_commit from pg_stat_database where datname = current_database()) as commits,
       pg_current_wal_insert_lsn() - '0/0'::pg_lsn as wal_bytes, wal.wal_records, wal.wal_fpi as page_images,
       (select coalesce(sum(fsyncs), 0) from pg_stat_io where object = 'wal') as fsyncs,
       t.*
from pg_stat_wal wal, (
    select sum(n_tup_ins) as inserted, sum(n_tup_upd) as updated, sum(n_tup_hot_upd) as updated_in_page,
           sum(n_tup_del) as deleted
    from pg_stat_user_tables
) t
"""


def postmaster(data_dir: Path) -> int:
    return int((data_dir / "postgres" / "postmaster.pid").read_text().split()[0])


def tree_cpu_s(pid: int) -> float:
    """CPU of a process and all its descendants, those that have ended too."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:  # it has ended, which its parent knows
        return 0.0
    own = sum(int(field) for field in fields[11:15]) / os.sysconf("SC_CLK_TCK")
    return own + sum(tree_cpu_s(int(child)) for child in children)


async def wal_bytes(url: str) -> float:
    """WAL that the server has written so far."""
    connection = await asyncpg.connect(url)
    try:
        return float(await connection.fetchval("select pg_current_wal_insert_lsn() - '0/0'::pg_lsn"))
    finally:
        await connection.close()


class Meter:
    """Measures what the server spends on what one session does, per piece."""

    def __init__(self, data_dir: Path, db: Database) -> None:
        """`db` has one connection and is the server's only user: others tell of their doing seconds later."""
        self.db = db
        self._pid = postmaster(data_dir)

    async def _look(self) -> Spent:
        await self.db.row("select pg_stat_force_next_flush()")
        row = await self.db.row(_SUMS)
        assert row is not None
        return {name: float(value or 0) for name, value in row.items()}

    async def per_piece(self, pieces: float, work: Callable[[], Awaitable[object]]) -> Spent:
        """Of the work, for each of so many pieces; CPU in seconds."""
        before, cpu = await self._look(), tree_cpu_s(self._pid)
        began = time.perf_counter()
        await work()
        took = time.perf_counter() - began
        spent = {"cpu_s": (tree_cpu_s(self._pid) - cpu) / pieces, "took_s": took / pieces}
        return spent | minus(await self._look(), before, pieces)


def minus(after: Mapping[str, float], before: Mapping[str, float], pieces: float) -> Spent:
    return {name: (value - before[name]) / pieces for name, value in after.items()}


@contextmanager
def database(**settings: str) -> Iterator[tuple[EmbeddedPostgres, Path]]:
    """An embedded server in a temporary folder, with settings of its own."""
    with folder() as place:
        data = place / "data"
        data.mkdir(mode=0o711)
        server = EmbeddedPostgres(data)
        server.start()
        try:
            if settings:
                server.stop()
                lines = "".join(f"{name} = '{value}'\n" for name, value in settings.items())
                with (data / "postgres" / "postgresql.conf").open("a") as file:
                    file.write(lines)
                server.start()
            yield server, data
        finally:
            server.stop()
