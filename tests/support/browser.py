"""A page of the console in a browser, and image files for its file inputs."""

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
    """A page of the console, the requests that it sent, and the errors that the browser logged."""

    api: Api
    page: Page
    context: BrowserContext
    requests: list[Request] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    @property
    def key(self) -> str:
        return str(self.api.alice.headers["Authorization"]).removeprefix("Bearer ")

    async def open(self, route: str = "") -> None:
        """Open a view, signed in as alice."""
        await self.context.add_init_script(f"sessionStorage.setItem('framehouse.key', '{self.key}')")
        await self.page.goto(f"/#/{route}")

    async def assert_accessible(self) -> None:
        """Check that axe finds no violation in the current view."""
        results = await Axe().run(self.page)
        assert results.violations_count == 0, results.generate_report()

    async def assert_no_horizontal_scrolling(self) -> None:
        """Check that the content is not wider than the window."""
        excess = await self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert excess == 0, f"{excess} px too wide"

    def record_events(self) -> None:
        self.page.on("request", lambda request: self.requests.append(request))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", lambda entry: self.errors.append(entry.text) if entry.type == "error" else None)

    def assert_no_errors(self) -> None:
        """Check that no request went to another host, and that every error is a failed response, which tests cause."""
        host = urlsplit(self.api.url).netloc
        to_other_hosts = {
            r.url for r in self.requests if urlsplit(r.url).netloc != host and not r.url.startswith(("blob:", "data:"))
        }
        assert not to_other_hosts
        expected = ("Failed to load resource",)
        assert not [text for text in self.errors if not text.startswith(expected)]


@asynccontextmanager
async def open_console(browser: Browser, api: Api, **options: Any) -> AsyncIterator[Console]:
    """Open a new browser context, and check at the end that the page had no errors."""
    settings: dict[str, Any] = {
        "locale": "en-US",
        "viewport": {"width": 1280, "height": 800},
        "reduced_motion": "reduce",
    }
    context = await browser.new_context(base_url=api.url, **(settings | options))
    context.set_default_timeout(120_000)
    console = Console(api, await context.new_page(), context)
    console.record_events()
    try:
        yield console
    except Exception as error:
        text = await console.page.locator("body").inner_text()
        error.add_note(f"The page shows {text!r}. The browser logged {console.errors}.")
        raise
    console.assert_no_errors()
    await context.close()


def image(name: str, width: int = 400, height: int = 300, format: str = "PNG") -> FilePayload:
    return {"name": name, "mimeType": "image/png", "buffer": image_file(width, height, format)}
