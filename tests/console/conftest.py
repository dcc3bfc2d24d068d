"""Fixtures that open the console of a real server in a real Chromium."""

from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, expect

from tests.support.api_server import Api, serving
from tests.support.browser import PREVIZ, Console, open_console
from tests.support.chromium import browser, chromium_url
from tests.support.in_process_deployment import MakeDeployment

__all__ = ["browser", "chromium_url"]
expect.set_options(timeout=120_000)


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
