"""The supervisor with real, small processes."""

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from framehouse.runtime.stop_signals import StopSignals
from framehouse.runtime.supervisor import SupervisedProcess, keep_running, stop_processes

HEARTBEAT = "import os, sys\nos.write(int(sys.argv[sys.argv.index('--heartbeat-fd') + 1]), b'.')\n"
SLEEP = "import os, pathlib, time\npathlib.Path(os.environ['READY']).touch()\ntime.sleep(60)\n"
HANGS = HEARTBEAT + SLEEP
IGNORES_SIGTERM = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + SLEEP
STOPS_WITH_7 = "import signal, sys\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(7))\n" + SLEEP
ENDS = "raise SystemExit(3)"
Make = Callable[..., SupervisedProcess]


@pytest.fixture
def ready(tmp_path: Path) -> Path:
    """The path of a file that the process creates when it runs and has installed its signal handlers."""
    return tmp_path / "ready"


@pytest.fixture
def make(ready: Path) -> Iterator[Make]:
    processes = []

    def make(code: str, *, hung_after_s: float = 60.0) -> SupervisedProcess:
        process = SupervisedProcess("worker", [sys.executable, "-c", code], (), {"READY": str(ready)}, hung_after_s)
        processes.append(process)
        return process

    yield make
    for process in processes:
        if process.process and process.process.poll() is None:
            process.process.kill()
            process.process.wait()


def run(process: SupervisedProcess, until: Callable[[], bool]) -> None:
    assert keep_running([process], StopSignals(), until=until, limit_s=20, check_s=0.01)


def test_a_process_that_exits_is_restarted(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    run(make(ENDS), until=lambda: len(caplog.messages) == 2)
    assert caplog.messages == [
        "the worker process exited with code 3; restarting it in 0.0 s",
        "the worker process exited with code 3; restarting it in 0.5 s",
    ]


def test_a_process_without_heartbeats_is_killed_and_restarted(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    process = make(HANGS, hung_after_s=0.2)
    run(process, until=lambda: len(caplog.messages) >= 2 and process.process is not None)
    assert caplog.messages[:2] == [
        "the worker process is hung; killing it",
        "the worker process exited with code -9; restarting it in 0.0 s",
    ]


def test_a_hung_process_is_killed_only_once_while_it_exits(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    process = make(HANGS, hung_after_s=0.2)
    run(process, until=lambda: len(caplog.messages) == 1)
    assert process.process
    process.process.poll = lambda: None  # type: ignore[method-assign]
    for _ in range(30):
        process.check()
        time.sleep(0.01)
    assert caplog.messages == ["the worker process is hung; killing it"]


def test_keep_running_returns_true_after_a_signal_and_false_after_its_limit(make: Make) -> None:
    assert keep_running([make(HANGS)], StopSignals(count=1))
    assert not keep_running([], StopSignals(), limit_s=0.0, check_s=0.0)


def test_a_second_signal_kills_processes_that_do_not_stop(make: Make, ready: Path) -> None:
    process = make(IGNORES_SIGTERM)
    run(process, until=ready.exists)
    began = time.monotonic()
    stop_processes([process], StopSignals(count=2), stop_s=60)
    assert process.process
    assert process.process.returncode == -9
    assert time.monotonic() - began < 10


def test_a_process_has_time_to_stop_by_itself(make: Make, ready: Path) -> None:
    process = make(STOPS_WITH_7)
    run(process, until=ready.exists)
    stop_processes([process], StopSignals(count=1), stop_s=60)
    assert process.process
    assert process.process.returncode == 7
