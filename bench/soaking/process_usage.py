"""The resources that the processes of a server use, read from /proc (Linux), and the connections of PostgreSQL."""

import os
import re
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg

GROUPS = ("supervisor", "api", "worker", "checkers", "postgres")
_CONNECTIONS = """
select coalesce(state, 'none') as state, count(*) as number from pg_stat_activity
where datname = current_database() and backend_type = 'client backend' and pid <> pg_backend_pid() group by 1
"""


@dataclass
class Usage:
    """The resources of one group of processes.

    Memory is anonymous memory, which the programs have allocated. Pages that are mapped from files do not count: the
    kernel can reclaim them, and /proc divides them among all processes that map them. The shared memory of PostgreSQL
    does not count either, because its size is fixed.
    """

    processes: int = 0
    memory_mb: float = 0.0
    threads: int = 0
    files: Counter[str] = field(default_factory=Counter)
    cpu_s: float = 0.0


@dataclass
class Sample:
    """A measurement of the usage of all groups at a time.

    `left_over` are the temporary files that have a name. `other_cpu_s` is the CPU time of all programs of the machine
    except the server and the soak test.
    """

    at: float
    other_cpu_s: float
    usage: dict[str, Usage]
    connections: dict[str, int]
    left_over: list[str]
    pids: dict[str, int]


def measure_usage(supervisor: int, folder: Path) -> Sample:
    """Measure all processes of the server whose data are in `folder`. Its connections are not measured."""
    usage = {name: Usage() for name in GROUPS}
    pids = {}
    for pid, name in _processes(supervisor, folder / "data"):
        with suppress(OSError):  # the process has exited meanwhile
            _add(usage[name], pid)
            if name in ("api", "worker"):
                pids[name] = pid
    partial_files = [path for path in (folder / "data" / "files").rglob("*") if "#" in path.name]
    left_over = [path.name for path in (*partial_files, *(folder / "tmp").iterdir())]
    ticks = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    idle = int(ticks[3]) + int(ticks[4])
    busy_s = (sum(map(int, ticks[:8])) - idle) / os.sysconf("SC_CLK_TCK")
    other_cpu_s = busy_s - sum(use.cpu_s for use in usage.values()) - time.process_time()
    return Sample(time.monotonic(), other_cpu_s, usage, {}, left_over, pids)


async def count_connections(connection: "asyncpg.Connection[asyncpg.Record]") -> dict[str, int]:
    """Return the number of PostgreSQL's connections by state, without `connection`."""
    return {row["state"]: row["number"] for row in await connection.fetch(_CONNECTIONS)}


def _processes(supervisor: int, data_dir: Path) -> Iterable[tuple[int, str]]:
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            children.setdefault(parent, []).append(int(entry.name))
    yield supervisor, "supervisor"
    for pid in children.get(supervisor, []):
        arguments = _command(pid)
        name = next((name for name in ("api", "worker") if name in arguments), "checkers")
        yield pid, name
        for descendant in _descendants(pid, children):
            yield descendant, "checkers"
    try:
        postmaster = int((data_dir / "postgres" / "postmaster.pid").read_text().split("\n", 1)[0])
    except (OSError, ValueError):
        return
    yield postmaster, "postgres"
    for pid in children.get(postmaster, []):
        yield pid, "postgres"


def _descendants(pid: int, children: dict[int, list[int]]) -> Iterable[int]:
    for child in children.get(pid, []):
        yield child
        yield from _descendants(child, children)


def _command(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except OSError:
        return []


def _add(usage: Usage, pid: int) -> None:
    folder = Path(f"/proc/{pid}")
    kb: dict[str, str] = dict(re.findall(r"^(\w+):\s+(\d+) kB", (folder / "smaps_rollup").read_text(), re.MULTILINE))
    ticks = (folder / "stat").read_text().rpartition(")")[2].split()
    threads = re.search(r"^Threads:\s+(\d+)", (folder / "status").read_text(), re.MULTILINE)
    usage.processes += 1
    usage.memory_mb += int(kb["Pss_Anon"]) / 1000
    usage.threads += int(threads[1]) if threads else 0
    usage.cpu_s += (int(ticks[11]) + int(ticks[12])) / os.sysconf("SC_CLK_TCK")
    for file in (folder / "fd").iterdir():
        with suppress(OSError):  # the file has been closed meanwhile
            usage.files[_kind(str(file.readlink()))] += 1


def _kind(target: str) -> str:
    if target.startswith(("socket:", "pipe:", "anon_inode:")):
        return target.split(":", 1)[0]
    return "unnamed file" if target.endswith("(deleted)") else "file"
