"""Supervise processes: start them, restart processes that exit, kill processes that hang, and stop all processes."""

import contextlib
import logging
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from framehouse.runtime.restart_policy import Restart, Silence, is_hung, measure_silence, plan_restart
from framehouse.runtime.stop_signals import StopSignals

log = logging.getLogger("framehouse.serve")
CHECK_S = 0.25
_STOP_EXTRA_S = 5.0


@dataclass(slots=True)
class SupervisedProcess:
    """A process that must run until it is stopped.

    The supervisor adds the `--heartbeat-fd` option to the command. The value of this option is the file descriptor of
    the pipe to which the process sends its heartbeats.
    """

    name: str
    command: Sequence[str]
    pass_fds: tuple[int, ...]
    environment: dict[str, str]
    hung_after_s: float
    process: subprocess.Popen[bytes] | None = None
    _heartbeats: int = -1
    _started_at: float = 0.0
    _silence: Silence = field(default=Silence(0.0))
    _restart: Restart = field(default=Restart())

    def check(self) -> None:
        """Start the process if a start is due. Plan a restart if the process has exited.

        Kill the process if it is hung.
        """
        now = time.monotonic()
        if self.process is None:
            if now >= self._restart.due_at:
                self._start(now)
            return
        code = self.process.poll()
        if code is None:
            self._kill_if_hung(self.process, now)
            return
        os.close(self._heartbeats)
        self._restart = plan_restart(self._restart, now=now, ran_s=now - self._started_at)
        pause_s = self._restart.pause_s
        log.error("the %s process exited with code %s; restarting it in %.1f s", self.name, code, pause_s)
        self.process = None

    def _start(self, now: float) -> None:
        self._heartbeats, child_end = os.pipe()
        os.set_blocking(self._heartbeats, False)
        self.process = subprocess.Popen(  # noqa: S603
            [*self.command, "--heartbeat-fd", str(child_end)],
            pass_fds=(*self.pass_fds, child_end),
            start_new_session=True,
            env=os.environ | self.environment,
        )
        os.close(child_end)
        self._started_at, self._silence = now, Silence(now)

    def _kill_if_hung(self, process: subprocess.Popen[bytes], now: float) -> None:
        heartbeat = False
        with contextlib.suppress(BlockingIOError):
            heartbeat = bool(os.read(self._heartbeats, 4096))
        self._silence = measure_silence(self._silence, now=now, heartbeat=heartbeat)
        if is_hung(self._silence, hung_after_s=self.hung_after_s):
            log.error("the %s process is hung; killing it", self.name)
            process.kill()
            self._silence = Silence(now)  # do not kill the process again while it exits


def keep_running(
    processes: Sequence[SupervisedProcess],
    signals: StopSignals,
    *,
    until: Callable[[], bool] = lambda: False,
    limit_s: float = float("inf"),
    check_s: float = CHECK_S,
) -> bool:
    """Keep the processes running until a signal arrives or `until` returns true.

    Returns False if `limit_s` seconds pass before either event. Otherwise, returns True.
    """
    deadline = time.monotonic() + limit_s
    while not signals.stop:
        for process in processes:
            process.check()
        if until():
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(check_s)
    return True


def stop_processes(processes: Sequence[SupervisedProcess], signals: StopSignals, *, stop_s: float) -> None:
    """Send SIGTERM to all processes and wait until they have exited.

    Processes that are still running after `stop_s` plus five seconds are killed. If a second stop signal arrives, the
    processes are killed immediately.
    """
    running = [
        supervised.process for supervised in processes if supervised.process and supervised.process.poll() is None
    ]
    for process in running:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + stop_s + _STOP_EXTRA_S
    while any(process.poll() is None for process in running):
        if time.monotonic() >= deadline or signals.stop_immediately:
            break
        time.sleep(0.02)
    for process in running:
        if process.poll() is None:
            process.kill()
        process.wait()
