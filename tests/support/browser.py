"""A page of the console in a browser, and files to choose there."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, BrowserContext, FilePayload, Page, Request

from tests.support.api_server import Api
from tests.support.image_files import image_file

PREVIZ: dict[str, object] = {"engine": "previz"}


@dataclass
class Console:
    """A page of the console and what it did: requests, and what the browser complained about."""

    api: Api
    page: Page
    context: BrowserContext
    requests: list[Request] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    @property
    def key(self) -> str:
        return str(self.api.alice.headers["Authorization"]).removeprefix("Bearer ")

    async def open(self, route: str = "") -> None:
        """A view, signed in as alice."""
        await self.context.add_init_script(f"sessionStorage.setItem('framehouse.key', '{self.key}')")
        await self.page.goto(f"/#/{route}")

    async def assert_accessible(self) -> None:
        """No axe violation in what is shown now."""
        results = await Axe().run(self.page)
        assert results.violations_count == 0, results.generate_report()

    async def assert_no_horizontal_scrolling(self) -> None:
        """Nothing stands out to the side."""
        wide = await self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide == 0, f"{wide} px too wide"

    def watch(self) -> None:
        self.page.on("request", lambda request: self.requests.append(request))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", lambda said: self.errors.append(said.text) if said.type == "error" else None)

    def check(self) -> None:
        """Whatever a test did: no request left the host, and there was no error but answers that were meant to be."""
        host = urlsplit(self.api.url).netloc
        away = {
            r.url for r in self.requests if urlsplit(r.url).netloc != host and not r.url.startswith(("blob:", "data:"))
        }
        assert not away
        meant = ("Failed to load resource",)
        assert not [text for text in self.errors if not text.startswith(meant)]


@asynccontextmanager
async def open_console(browser: Browser, api: Api, **options: Any) -> AsyncIterator[Console]:
    settings: dict[str, Any] = {
        "locale": "en-US",
        "viewport": {"width": 1280, "height": 800},
        "reduced_motion": "reduce",
    }
    context = await browser.new_context(base_url=api.url, **(settings | options))
    context.set_default_timeout(60_000)
    console = Console(api, await context.new_page(), context)
    console.watch()
    yield console
    console.check()
    await context.close()


def image(name: str, width: int = 400, height: int = 300, format: str = "PNG") -> FilePayload:
    return {"name": name, "mimeType": "image/png", "buffer": image_file(width, height, format)}
