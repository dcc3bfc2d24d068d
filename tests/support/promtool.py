"""The tools that check what is deployed."""

import os
import shutil
import subprocess

import pytest


def promtool(*words: str, input: str = "") -> str:
    """Run it; it must find nothing wrong. Skipped where there is none; but CI must have one."""
    found = shutil.which("promtool")
    if found is None:
        message = "there is no promtool on this machine (Debian: apt-get install prometheus)"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    done = subprocess.run([found, *words], input=input, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr
