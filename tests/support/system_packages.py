"""Tests without the system packages that they need are skipped; in CI they fail. A summary names the packages."""

import os
import re
from collections.abc import Iterable
from typing import NoReturn

import pytest

_INSTALL = "Debian: apt-get install "
_EXTRA = "make diffusers"


def skip_missing(program: str, packages: str = "") -> NoReturn:
    """Skip the test because a program is not installed; in CI, fail it. `packages` are Debian packages to install."""
    message = f"there is no {program} on this machine" + (f" ({_INSTALL}{packages})" if packages else "")
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


def skip_missing_extra() -> NoReturn:
    """Skip the test because the extra `diffusers` is not installed; in CI, fail it."""
    message = f"the extra diffusers is not installed: {_EXTRA}"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


def summary(reasons: Iterable[str]) -> str:
    """Return one line with the number of tests skipped because of missing packages, and the commands to install them.

    The line is empty if no test was skipped for this reason.
    """
    packages: set[str] = set()
    count, extra = 0, False
    for reason in reasons:
        match = re.search(rf"{_INSTALL}([\w .+-]+)", reason)
        packages.update(match[1].split() if match else [])
        extra = extra or _EXTRA in reason
        count += bool(match) or _EXTRA in reason
    commands = [f"apt-get install {' '.join(sorted(packages))}"] if packages else []
    commands += [_EXTRA] if extra else []
    tests = "1 test was" if count == 1 else f"{count} tests were"
    return f"{tests} skipped because packages are missing. To run all: {' && '.join(commands)}" if count else ""
