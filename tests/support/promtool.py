"""Prometheus' own checker for metrics, alert rules and configuration."""

import shutil
import subprocess

from tests.support.system_packages import skip_missing


def promtool(*words: str, input: str = "") -> str:
    """Run promtool, check that it finds no error, and return its output.

    Without promtool, the test is skipped; in CI it fails.
    """
    program = shutil.which("promtool")
    if program is None:
        skip_missing("promtool", "prometheus")
    done = subprocess.run([program, *words], input=input, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr
