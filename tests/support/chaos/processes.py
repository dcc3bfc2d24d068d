"""Processes that are killed, stopped and started again by the chaos, and what became of each."""

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
class Part:
    """One process that is to run; who dies is replaced by `Parts.look`."""

    name: str
    command: list[str]
    environment: dict[str, str]
    process: subprocess.Popen[bytes] | None = None
    stopped_until: float = 0.0
    due_at: float = 0.0


@dataclass
class Parts:
    """`harmed` are the processes that were killed or stopped, of which the latter are `stopped`; `deaths` counts the
    others, which ended by themselves."""

    folder: Path
    parts: list[Part] = field(default_factory=list)
    harmed: set[int] = field(default_factory=set)
    stopped: set[int] = field(default_factory=set)
    deaths: list[str] = field(default_factory=list)

    def add(self, name: str, command: list[str], environment: dict[str, str]) -> Part:
        self.parts.append(Part(name, command, environment))
        return self.parts[-1]

    def named(self, name: str) -> list[Part]:
        return [part for part in self.parts if part.name == name]

    def look(self) -> None:
        """Start who is not there, wake who was stopped for long enough."""
        now = time.monotonic()
        for part in self.parts:
            if part.process and (code := part.process.poll()) is not None:
                if part.process.pid not in self.harmed:
                    self.deaths.append(f"{part.name}: {code}")
                    self.harmed.add(part.process.pid)
                    part.due_at = now + 0.5
                part.process = None
            if part.process is None and now >= part.due_at:
                self._start(part)
            elif part.process and part.stopped_until and now >= part.stopped_until:
                part.process.send_signal(signal.SIGCONT)
                part.stopped_until = 0.0

    def _start(self, part: Part) -> None:
        part.stopped_until = 0.0
        number = self.parts.index(part)
        with (self.folder / f"{part.name}{number}.log").open("ab") as log:
            part.process = subprocess.Popen(
                part.command, env=part.environment, stdout=log, stderr=log, start_new_session=True, cwd=ROOT
            )
            log.write(f"--- process {part.process.pid}\n".encode())

    def kill(self, part: Part, *, family: bool = False) -> None:
        """End it without a word, with all its children where it is a whole house."""
        if part.process:
            pids = [part.process.pid, *(process_tree.descendants(part.process.pid) if family else [])]
            self.harmed.update(pids)
            process_tree.kill(pids)
            part.process.wait()

    def stop(self, part: Part, seconds: float) -> None:
        """Let it hang for so long: then it goes on, and believes that no time has passed."""
        if part.process:
            self.harmed.add(part.process.pid)
            self.stopped.add(part.process.pid)
            part.process.send_signal(signal.SIGSTOP)
            part.stopped_until = time.monotonic() + seconds


@contextmanager
def running(folder: Path) -> Iterator[Parts]:
    parts = Parts(folder)
    try:
        yield parts
    finally:
        for part in parts.parts:
            if part.process and part.process.poll() is None:
                part.process.send_signal(signal.SIGCONT)
                part.process.terminate()
        for part in parts.parts:
            if part.process:
                part.process.wait(timeout=60)
