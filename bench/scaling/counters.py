"""Counters of PostgreSQL and CPU times of processes, and the cost of work as their difference."""

import os
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import asyncpg

from framehouse.adapters.postgres.embedded import EmbeddedPostgres
from framehouse.adapters.postgres.pool import Database
from measuring.framehouse_processes import temporary_folder

Cost = dict[str, float]
_COUNTERS = """
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


def postmaster_pid(data_dir: Path) -> int:
    return int((data_dir / "postgres" / "postmaster.pid").read_text().split()[0])


def tree_cpu_s(pid: int) -> float:
    """Return the CPU time of a process and all its descendants, including those that have exited, in seconds."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:  # the process has exited, and its parent's counters include its time
        return 0.0
    own = sum(int(field) for field in fields[11:15]) / os.sysconf("SC_CLK_TCK")
    return own + sum(tree_cpu_s(int(child)) for child in children)


async def wal_bytes(url: str) -> float:
    """Return the bytes of WAL that the server has written."""
    connection = await asyncpg.connect(url)
    try:
        return float(await connection.fetchval("select pg_current_wal_insert_lsn() - '0/0'::pg_lsn"))
    finally:
        await connection.close()


class Meter:
    """Measures the cost of the work of one session for the database server."""

    def __init__(self, data_dir: Path, db: Database) -> None:
        """`db` must have one connection and be the server's only user: other sessions report their counters later."""
        self.db = db
        self._pid = postmaster_pid(data_dir)

    async def _read_counters(self) -> Cost:
        await self.db.row("select pg_stat_force_next_flush()")
        row = await self.db.row(_COUNTERS)
        assert row is not None
        return {name: float(value or 0) for name, value in row.items()}

    async def cost_per_unit(self, units: float, work: Callable[[], Awaitable[object]]) -> Cost:
        """Run `work`, which does `units` units of work. Returns the cost of one unit, with times in seconds."""
        before, cpu_before = await self._read_counters(), tree_cpu_s(self._pid)
        began = time.perf_counter()
        await work()
        seconds = time.perf_counter() - began
        times = {"cpu_s": (tree_cpu_s(self._pid) - cpu_before) / units, "time_s": seconds / units}
        return times | difference_per_unit(await self._read_counters(), before, units)


def difference_per_unit(after: Mapping[str, float], before: Mapping[str, float], units: float) -> Cost:
    return {name: (value - before[name]) / units for name, value in after.items()}


@contextmanager
def embedded_database(**settings: str) -> Iterator[tuple[EmbeddedPostgres, Path]]:
    """Run an embedded server with these settings. Yields the server and its temporary data folder."""
    with temporary_folder() as folder:
        data_dir = folder / "data"
        data_dir.mkdir(mode=0o711)
        server = EmbeddedPostgres(data_dir)
        server.start()
        try:
            if settings:
                server.stop()
                lines = "".join(f"{name} = '{value}'\n" for name, value in settings.items())
                with (data_dir / "postgres" / "postgresql.conf").open("a") as file:
                    file.write(lines)
                server.start()
            yield server, data_dir
        finally:
            server.stop()
