"""Fixtures that open the console of a real server in a real Chromium."""

import shutil
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, async_playwright, expect

from tests.support.api_server import Api, serving
from tests.support.browser import PREVIZ, Console, open_console
from tests.support.in_process_deployment import MakeDeployment
from tests.support.system_packages import skip_missing

FLAGS = """--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
    --disable-component-update --disable-sync""".split()
expect.set_options(timeout=60_000)


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    """Skips the test if Chromium is not installed; in CI it must be installed."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        skip_missing("Chromium", "chromium fonts-noto-cjk")
    async with async_playwright() as playwright:
        launched = await playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield launched
        await launched.close()


@pytest.fixture
async def served(make_deployment: MakeDeployment) -> AsyncIterator[Api]:
    """A served deployment with previz as its engine, a worker and an element worker."""
    deployment = await make_deployment(PREVIZ)
    async with serving(deployment) as api:
        deployment.start_worker()
        deployment.start_element_worker()
        yield api


@pytest.fixture
async def console(browser: Browser, served: Api) -> AsyncIterator[Console]:
    async with open_console(browser, served) as opened:
        yield opened
