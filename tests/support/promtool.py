"""The tools that check what is deployed."""

import shutil
import subprocess

from tests.support.system_packages import skip_missing


def promtool(*words: str, input: str = "") -> str:
    """Run it; it must find nothing wrong. Skipped where there is none; but CI must have one."""
    found = shutil.which("promtool")
    if found is None:
        skip_missing("promtool", "prometheus")
    done = subprocess.run([found, *words], input=input, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr
