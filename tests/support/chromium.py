"""Fixtures for tests with a real Chromium."""

import re
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, async_playwright

from tests.support.system_packages import skip_missing

FLAGS = """--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
    --disable-component-update --disable-sync --disable-background-timer-throttling --disable-renderer-backgrounding
    --disable-backgrounding-occluded-windows --hide-scrollbars --remote-debugging-port=0""".split()


@pytest.fixture(scope="session")
def chromium_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The debugging URL of a Chromium process for all tests: its start takes a second of CPU time.

    Skips the test if Chromium is not installed; in CI it must be installed.
    """
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        skip_missing("Chromium", "chromium fonts-noto-cjk")
    profile = tmp_path_factory.mktemp("chromium")
    command = [chromium, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
    with (profile / "stderr").open("wb") as errors, subprocess.Popen(command, stderr=errors) as process:
        try:
            yield _debugging_url(process, profile / "stderr")
        finally:
            process.terminate()


def _debugging_url(process: subprocess.Popen[bytes], errors: Path) -> str:
    end = time.monotonic() + 90
    while not (url := re.search(r"DevTools listening on (\S+)\n", errors.read_text(errors="replace"))):
        assert process.poll() is None and time.monotonic() < end, errors.read_text(errors="replace")
        time.sleep(0.05)
    return url[1]


@pytest.fixture
async def browser(chromium_url: str) -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        connected = await playwright.chromium.connect_over_cdp(chromium_url, timeout=120_000)
        yield connected
        await connected.close()
