"""A process and all that descend from it, as the operating system lists them."""

import os
import signal
import subprocess
from collections.abc import Iterable
from contextlib import suppress


def children(pid: int) -> list[int]:
    """The processes that this one started itself and that still run."""
    return _children_of_all().get(pid, [])


def descendants(pid: int) -> list[int]:
    """The children of a process, and theirs; parents come before their children."""
    known, found = _children_of_all(), [pid]
    for parent in found:
        found += known.get(parent, [])
    return found[1:]


def kill(pids: Iterable[int]) -> None:
    """End each of them without a word; some may have ended already."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _children_of_all() -> dict[int, list[int]]:
    listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True)
    found: dict[int, list[int]] = {}
    for line in listed.stdout.splitlines():
        pid, parent = map(int, line.split())
        found.setdefault(parent, []).append(pid)
    return found
