"""Processes that a chaos test kills and stops, and that are restarted and resumed."""

import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.support import process_tree
from tests.support.command_line import ROOT


@dataclass
class ChaosProcess:
    """A process that must run. If it dies, `ProcessSet.restart_and_resume` starts it again."""

    name: str
    command: list[str]
    environment: dict[str, str]
    popen: subprocess.Popen[bytes] | None = None
    stopped_until: float = 0.0
    due_at: float = 0.0


@dataclass
class ProcessSet:
    """All processes of a test, and what the test did to them.

    `disturbed` contains the pids of all processes that were killed or stopped, or that died by themselves. `stopped`
    contains the pids of the stopped ones. `deaths` lists the names and exit codes of those that died by themselves.
    """

    folder: Path
    processes: list[ChaosProcess] = field(default_factory=list)
    disturbed: set[int] = field(default_factory=set)
    stopped: set[int] = field(default_factory=set)
    deaths: list[str] = field(default_factory=list)

    def add(self, name: str, command: list[str], environment: dict[str, str]) -> ChaosProcess:
        self.processes.append(ChaosProcess(name, command, environment))
        return self.processes[-1]

    def named(self, name: str) -> list[ChaosProcess]:
        return [process for process in self.processes if process.name == name]

    def restart_and_resume(self) -> None:
        """Start the processes that do not run, and resume the processes whose stop time is over."""
        now = time.monotonic()
        for process in self.processes:
            if process.popen and (code := process.popen.poll()) is not None:
                if process.popen.pid not in self.disturbed:
                    self.deaths.append(f"{process.name}: {code}")
                    self.disturbed.add(process.popen.pid)
                    process.due_at = now + 0.5
                process.popen = None
            if process.popen is None and now >= process.due_at:
                self._start(process)
            elif process.popen and process.stopped_until and now >= process.stopped_until:
                process.popen.send_signal(signal.SIGCONT)
                process.stopped_until = 0.0

    def _start(self, process: ChaosProcess) -> None:
        process.stopped_until = 0.0
        number = self.processes.index(process)
        with (self.folder / f"{process.name}{number}.log").open("ab") as log:
            process.popen = subprocess.Popen(
                process.command, env=process.environment, stdout=log, stderr=log, start_new_session=True, cwd=ROOT
            )
            log.write(f"--- process {process.popen.pid}\n".encode())

    def kill(self, process: ChaosProcess, *, with_descendants: bool = False) -> None:
        """Kill a process with SIGKILL; a `framehouse serve` is killed with its descendants."""
        if process.popen:
            descendants = process_tree.descendants(process.popen.pid) if with_descendants else []
            pids = [process.popen.pid, *descendants]
            self.disturbed.update(pids)
            process_tree.kill(pids)
            process.popen.wait()

    def stop(self, process: ChaosProcess, seconds: float) -> None:
        """Stop a process with SIGSTOP for `seconds`. When it resumes, it does not know that time has passed."""
        if process.popen:
            self.disturbed.add(process.popen.pid)
            self.stopped.add(process.popen.pid)
            process.popen.send_signal(signal.SIGSTOP)
            process.stopped_until = time.monotonic() + seconds


@contextmanager
def running(folder: Path) -> Iterator[ProcessSet]:
    """An empty set of processes. At the end, all its processes are resumed and terminated."""
    processes = ProcessSet(folder)
    try:
        yield processes
    finally:
        for process in processes.processes:
            if process.popen and process.popen.poll() is None:
                process.popen.send_signal(signal.SIGCONT)
                process.popen.terminate()
        for process in processes.processes:
            if process.popen:
                process.popen.wait(timeout=60)
