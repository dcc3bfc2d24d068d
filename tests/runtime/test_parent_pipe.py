"""A child process stops when its parent process exits."""

import os
import signal
import subprocess
import sys

import pytest

from framehouse.runtime.parent_pipe import parent_pipe

_CHILD = """
import sys, time
from framehouse.runtime.parent_pipe import stop_with_parent
stop_with_parent(int(sys.argv[1]), gracefully=sys.argv[2] == "gracefully")
time.sleep(60)
"""


@pytest.mark.parametrize(("how", "code"), [("gracefully", -signal.SIGTERM), ("immediately", 1)])
def test_a_child_stops_with_its_parent(how: str, code: int) -> None:
    with parent_pipe() as pipe:
        child = subprocess.Popen([sys.executable, "-c", _CHILD, str(pipe), how], pass_fds=[pipe])
        assert child.poll() is None
        assert os.get_inheritable(pipe) is False
    assert child.wait(timeout=50) == code
