"""Tests that need system packages: they are skipped without them, and fail in CI. The summary names the packages."""

import os
import re
from collections.abc import Iterable
from typing import NoReturn

import pytest

_INSTALL = "Debian: apt-get install "
_EXTRA = "make diffusers"


def skip_missing(what: str, packages: str = "") -> NoReturn:
    """Skip the test because the machine has no `what`, which these Debian packages contain; in CI, fail it."""
    message = f"there is no {what} on this machine" + (f" ({_INSTALL}{packages})" if packages else "")
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
    """One line with the commands that install what skipped tests need, and how many those are; "" if none was skipped
    for that."""
    packages: set[str] = set()
    count, extra = 0, False
    for reason in reasons:
        found = re.search(rf"{_INSTALL}([\w .+-]+)", reason)
        packages.update(found[1].split() if found else [])
        extra = extra or _EXTRA in reason
        count += bool(found) or _EXTRA in reason
    commands = [f"apt-get install {' '.join(sorted(packages))}"] if packages else []
    commands += [_EXTRA] if extra else []
    tests = "1 test was" if count == 1 else f"{count} tests were"
    return f"{tests} skipped because packages are missing. To run all: {' && '.join(commands)}" if count else ""
