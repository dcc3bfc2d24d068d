"""What the processes of a server have in use, read from /proc (Linux), and what Postgres knows of its connections."""

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
select coalesce(state, 'none') as state, count(*) as many from pg_stat_activity
where datname = current_database() and backend_type = 'client backend' and pid <> pg_backend_pid() group by 1
"""


@dataclass
class Use:
    """Of one group of processes. Memory is anonymous memory: what a program asked for. What is mapped from files is the
    system's to take back and is counted among the processes that happen to share it, strangers included; what Postgres
    shares among its processes is set aside once."""

    processes: int = 0
    memory_mb: float = 0.0
    threads: int = 0
    files: Counter[str] = field(default_factory=Counter)
    cpu_s: float = 0.0


@dataclass
class Sample:
    """One look. `left_over` are temporary files that have a name; `others_s` is the processors' time that neither the
    server nor the soak itself has had, but strangers."""

    at: float
    others_s: float
    uses: dict[str, Use]
    connections: dict[str, int]
    left_over: list[str]
    pids: dict[str, int]


def look(supervisor: int, folder: Path) -> Sample:
    """All processes of the server whose data are in `folder`."""
    uses = {name: Use() for name in GROUPS}
    pids = {}
    for pid, name in _processes(supervisor, folder / "data"):
        with suppress(OSError):  # it has ended meanwhile
            _add(uses[name], pid)
            if name in ("api", "worker"):
                pids[name] = pid
    named = [path for path in (folder / "data" / "files").rglob("*") if "#" in path.name]
    left_over = [path.name for path in (*named, *(folder / "tmp").iterdir())]
    busy = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    idle = int(busy[3]) + int(busy[4])
    all_s = (sum(map(int, busy[:8])) - idle) / os.sysconf("SC_CLK_TCK")
    others_s = all_s - sum(use.cpu_s for use in uses.values()) - time.process_time()
    return Sample(time.monotonic(), others_s, uses, {}, left_over, pids)


async def connections(connection: "asyncpg.Connection[asyncpg.Record]") -> dict[str, int]:
    """Postgres' connections by state, without the asking one."""
    return {row["state"]: row["many"] for row in await connection.fetch(_CONNECTIONS)}


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
        words = _command(pid)
        name = next((name for name in ("api", "worker") if name in words), "checkers")
        yield pid, name
        for below in _below(pid, children):
            yield below, "checkers"
    try:
        postmaster = int((data_dir / "postgres" / "postmaster.pid").read_text().split("\n", 1)[0])
    except (OSError, ValueError):
        return
    yield postmaster, "postgres"
    for pid in children.get(postmaster, []):
        yield pid, "postgres"


def _below(pid: int, children: dict[int, list[int]]) -> Iterable[int]:
    for child in children.get(pid, []):
        yield child
        yield from _below(child, children)


def _command(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except OSError:
        return []


def _add(use: Use, pid: int) -> None:
    folder = Path(f"/proc/{pid}")
    kb: dict[str, str] = dict(re.findall(r"^(\w+):\s+(\d+) kB", (folder / "smaps_rollup").read_text(), re.MULTILINE))
    ticks = (folder / "stat").read_text().rpartition(")")[2].split()
    found = re.search(r"^Threads:\s+(\d+)", (folder / "status").read_text(), re.MULTILINE)
    use.processes += 1
    use.memory_mb += int(kb["Pss_Anon"]) / 1000
    use.threads += int(found[1]) if found else 0
    use.cpu_s += (int(ticks[11]) + int(ticks[12])) / os.sysconf("SC_CLK_TCK")
    for file in (folder / "fd").iterdir():
        with suppress(OSError):  # closed meanwhile
            use.files[_kind(str(file.readlink()))] += 1


def _kind(target: str) -> str:
    if target.startswith(("socket:", "pipe:", "anon_inode:")):
        return target.split(":", 1)[0]
    return "unnamed file" if target.endswith("(deleted)") else "file"
