"""The child processes and descendants of a process, as the operating system lists them."""

import os
import signal
import subprocess
from collections.abc import Iterable
from contextlib import suppress


def children(pid: int) -> list[int]:
    """The running processes that this process started itself."""
    return _children_of_all().get(pid, [])


def descendants(pid: int) -> list[int]:
    """The children of a process, their children and so on. Parents come before their children."""
    children_by_parent, tree = _children_of_all(), [pid]
    for parent in tree:
        tree += children_by_parent.get(parent, [])
    return tree[1:]


def kill(pids: Iterable[int]) -> None:
    """Kill each process with SIGKILL. Some of them may have exited already."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _children_of_all() -> dict[int, list[int]]:
    listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True)
    children_by_parent: dict[int, list[int]] = {}
    for line in listed.stdout.splitlines():
        pid, parent = map(int, line.split())
        children_by_parent.setdefault(parent, []).append(pid)
    return children_by_parent
