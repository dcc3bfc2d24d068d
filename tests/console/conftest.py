"""The console in a real Chromium, on real pages of a real server."""

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, BrowserContext, Page, Request, async_playwright, expect

from tests.support.api_server import Api, serving
from tests.support.house import MakeHouse

FLAGS = """--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
    --disable-component-update --disable-sync""".split()
expect.set_options(timeout=20_000)
PREVIZ: dict[str, object] = {"engine": "previz"}


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    """Skipped where there is no Chromium; but CI must have one."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        message = "there is no Chromium on this machine (Debian: apt-get install chromium)"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    async with async_playwright() as playwright:
        launched = await playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield launched
        await launched.close()


@dataclass
class Console:
    """A page of the console and what it did: requests, and what the browser complained about."""

    api: Api
    page: Page
    context: BrowserContext
    requests: list[Request] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    @property
    def key(self) -> str:
        return str(self.api.alice.headers["Authorization"]).removeprefix("Bearer ")

    async def open(self, route: str = "") -> None:
        """A view, signed in as alice."""
        await self.context.add_init_script(f"sessionStorage.setItem('framehouse.key', '{self.key}')")
        await self.page.goto(f"/#/{route}")

    async def is_accessible(self) -> None:
        """No axe violation in what is shown now."""
        results = await Axe().run(self.page)
        assert results.violations_count == 0, results.generate_report()

    async def fits(self) -> None:
        """Nothing stands out to the side."""
        wide = await self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide == 0, f"{wide} px too wide"

    def watch(self) -> None:
        self.page.on("request", lambda request: self.requests.append(request))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", lambda said: self.complaints.append(said.text) if said.type == "error" else None)

    def check(self) -> None:
        """Whatever a test did: no request left the host, and there was no error but answers that were meant to be."""
        host = urlsplit(self.api.url).netloc
        away = {
            r.url for r in self.requests if urlsplit(r.url).netloc != host and not r.url.startswith(("blob:", "data:"))
        }
        assert not away
        meant = ("Failed to load resource",)
        assert not [text for text in self.complaints if not text.startswith(meant)]


@asynccontextmanager
async def looking_at(browser: Browser, api: Api, **options: Any) -> AsyncIterator[Console]:
    settings: dict[str, Any] = {
        "locale": "en-US",
        "viewport": {"width": 1280, "height": 800},
        "reduced_motion": "reduce",
    }
    context = await browser.new_context(base_url=api.url, **(settings | options))
    context.set_default_timeout(20_000)
    console = Console(api, await context.new_page(), context)
    console.watch()
    yield console
    console.check()
    await context.close()


@pytest.fixture
async def served(make_house: MakeHouse) -> AsyncIterator[Api]:
    """A house that previz paints for, with a worker and a element_worker."""
    house = await make_house(PREVIZ)
    async with serving(house) as api:
        house.start_worker()
        house.start_element_worker()
        yield api


@pytest.fixture
async def console(browser: Browser, served: Api) -> AsyncIterator[Console]:
    async with looking_at(browser, served) as looked_at:
        yield looked_at
