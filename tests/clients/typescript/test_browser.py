"""The TypeScript client works in a browser on a page of the server's own origin. The server offers no CORS."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
from playwright.async_api import Browser, Page, Route

from tests.support.command_line import Server, serve
from tests.support.node_packages import CLIENT, built_client

pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("typescript")]

GENERATE = """
async ([url, key]) => {
  const { Client } = await import("/app/dist/index.js");
  const client = new Client({ url, key });
  const canvas = Object.assign(document.createElement("canvas"), { width: 400, height: 300 });
  canvas.getContext("2d").fillRect(0, 0, 200, 300);
  const reference = await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
  const task = await client.create("The bag of <<<image_1>>>", { images: [reference], idempotencyKey: "browser" });
  const sizes = [];
  for await (const image of task.stream()) {
    const bitmap = await createImageBitmap(await image.blob());
    sizes.push([bitmap.width, bitmap.height]);
  }
  const saved = await task.save("out").catch((error) => String(error));
  return { sizes, saved, status: task.status };
}
"""
ACCOUNT = """
async ([url, key]) => {
  const { Client } = await import("/app/dist/index.js");
  return await new Client({ url, key, retry: 0 }).account().then(() => "responded", (error) => error.name);
}
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    built_client()
    with serve(tmp_path_factory.mktemp("browser") / "data") as running:
        yield running


@asynccontextmanager
async def page_at(browser: Browser, origin: str) -> AsyncIterator[Page]:
    """An empty page of an origin, which also serves the files of the client under /app."""

    async def fulfill(route: Route) -> None:
        path = route.request.url.removeprefix(f"{origin}/app/")
        if path == "page.html":
            await route.fulfill(content_type="text/html", body="<!doctype html><title>App</title>")
        else:
            await route.fulfill(content_type="text/javascript", path=CLIENT / path)

    context = await browser.new_context()
    await context.route(f"{origin}/app/**", fulfill)
    page = await context.new_page()
    await page.goto(f"{origin}/app/page.html")
    yield page
    await context.close()


async def test_a_page_of_the_same_origin_generates_an_image(browser: Browser, server: Server) -> None:
    async with page_at(browser, server.url) as page:
        result = await page.evaluate(GENERATE, [server.url, server.key])
    assert result["status"] == "succeed"
    assert result["sizes"] == [[1152, 864]]
    assert "only Node.js and Deno have" in result["saved"]


async def test_a_page_of_another_origin_cannot_reach_the_server(browser: Browser, server: Server) -> None:
    """README.md and the quick start state that browsers need the same origin or a proxy."""
    async with page_at(browser, "http://localhost:1") as page:
        assert await page.evaluate(ACCOUNT, [server.url, server.key]) == "ConnectionFailed"
    async with page_at(browser, server.url) as page:
        assert await page.evaluate(ACCOUNT, [server.url, server.key]) == "responded"
