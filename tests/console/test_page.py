"""The whole page: languages, themes, narrow screens, elements, account, sign-in links."""

import re
from pathlib import Path

import pytest
from playwright.async_api import Browser, Route, expect

from framehouse.domain.signed_urls import Links
from tests.support.api_server import Api, serving
from tests.support.browser import PREVIZ, Console, image, open_console
from tests.support.command_line import run_json, serve
from tests.support.in_process_deployment import MakeDeployment

VIEWS = {"": "form.create", "tasks": ".tile", "elements": ".element", "verify": ".verify-drop", "account": "table"}
"""The views, each with the CSS selector of an item that it shows when it is loaded."""


@pytest.mark.parametrize(("theme", "language"), [("light", "en-US"), ("dark", "zh-CN")])
async def test_each_view_fits_a_phone_and_is_accessible(
    served: Api, browser: Browser, theme: str, language: str
) -> None:
    await served.wait_for_task((await served.create("a fox", n=2))["task_id"])
    phone = {"viewport": {"width": 390, "height": 844}, "locale": language, "color_scheme": theme, "has_touch": True}
    async with open_console(browser, served, **phone) as console:
        page = console.page
        task = (await served.alice.get("/kling/v1/images/omni-image")).json()["data"][0]["task_id"]
        await console.open()
        for view, selector in (VIEWS | {f"tasks/{task}": ".thumb"}).items():
            await page.goto(f"/#/{view}")
            await expect(page.locator(selector).first).to_be_visible()
            await expect(page.locator("h1")).to_have_count(1)
            await console.assert_no_horizontal_scrolling()
            await console.assert_accessible()
        labels = {"en-US": ("Create", "中文", "生成图片"), "zh-CN": ("生成图片", "English", "Create")}[language]
        assert await page.evaluate("document.documentElement.lang") == {"en-US": "en"}.get(language, language)
        await expect(page.get_by_role("link", name=labels[0], exact=True)).to_be_visible()
        await page.get_by_role("button", name=labels[1]).click()
        await expect(page.get_by_role("link", name=labels[2], exact=True)).to_be_visible()
        await page.locator("#top button").last.click()
        changed = {"light": "dark", "dark": "light"}[theme]
        await page.reload()
        assert await page.evaluate("document.documentElement.dataset.theme") == changed
        await expect(page.get_by_role("link", name=labels[2], exact=True)).to_be_visible()
        await expect(page.locator("h1")).to_have_count(1)
        await console.assert_accessible()


async def test_the_page_is_loaded_again_if_a_script_fails(console: Console) -> None:
    page = console.page
    failures, successes, message_seen = 0, 0, False

    async def fail_until_message_seen(route: Route) -> None:
        nonlocal failures, successes
        failures += not message_seen
        successes += message_seen
        await (route.continue_() if message_seen else route.abort())

    await page.route("**/console/dom.js", fail_until_message_seen)
    await console.open()
    await expect(page.locator("main")).to_have_text("The console could not be loaded. Reload the page.")
    message_seen = True
    await expect(page.locator("form.create")).to_be_visible()
    assert failures >= 1
    assert successes == 1
    assert await page.evaluate("sessionStorage.getItem('framehouse.reloads')") is None


async def test_the_console_works_with_another_path_prefix_and_another_public_url(
    make_deployment: MakeDeployment, browser: Browser
) -> None:
    deployment = await make_deployment(PREVIZ)
    deployment.start_worker()
    async with (
        serving(deployment, path_prefixes=["/proxy/kling"], links=Links("secret", "https://images.example/at")) as api,
        open_console(browser, api) as console,
    ):
        page = console.page
        await console.open()
        await page.get_by_label("Prompt", exact=True).fill("a fox")
        await expect(page.locator(".request pre")).to_contain_text("/proxy/kling/v1/images/omni-image")
        await page.get_by_role("button", name="Create", exact=True).click()
        await expect(page.get_by_role("img", name="Image 1: a fox")).to_be_visible()


async def test_an_element_is_created_used_and_deleted(console: Console) -> None:
    page = console.page
    await console.open("elements")
    await page.get_by_role("button", name="Create element").click()
    await page.get_by_role("button", name="Create", exact=True).click()
    await expect(page.get_by_role("alert")).to_contain_text("are required")
    await page.get_by_label("Name").fill("Red bag")
    await page.get_by_label("Description").fill("A red leather bag")
    await page.get_by_label("Frontal image").set_input_files(image("front.png", 600, 400))
    await page.get_by_label("One to three more").set_input_files([image("side.png")])
    await page.get_by_label("Tag").select_option("Item")
    await console.assert_accessible()
    await page.get_by_role("button", name="Create", exact=True).click()
    await expect(page.locator(".element", has_text="A red leather bag")).to_contain_text("Item")
    await console.assert_accessible()
    await page.get_by_role("link", name="Create", exact=True).click()
    await page.get_by_role("button", name="Element", exact=True).click()
    await page.get_by_role("button", name="Red bag").click()
    await expect(page.locator(".chip", has_text="Red bag")).to_be_visible()
    await page.get_by_role("link", name="Elements").click()
    await page.get_by_role("button", name="Delete Red bag").click()
    await page.get_by_role("button", name="Delete", exact=True).click()
    await expect(page.locator(".element", has_text="Red bag")).to_have_count(0)
    await expect(page.get_by_text("You have no elements yet.")).to_be_visible()


async def test_the_account_view_and_sign_out(api: Api, browser: Browser) -> None:
    await api.create(n=3)
    async with open_console(browser, api) as console:
        await check_account_and_sign_out(console)


async def check_account_and_sign_out(console: Console) -> None:
    page = console.page
    await page.goto("/")
    await page.get_by_label("API key").fill(console.key)
    await page.get_by_label("Remember").check()
    await page.get_by_role("button", name="Sign in").click()
    await page.get_by_role("link", name="Account").click()
    await expect(page.get_by_text("3 / 100")).to_be_visible()
    await expect(page.get_by_text("24 reserved")).to_be_visible()
    await expect(page.get_by_role("row", name="this key")).to_contain_text(console.key[:11])
    await page.reload()
    await page.get_by_role("button", name="Sign out").click()
    await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    assert await page.evaluate("localStorage.length") == 0


async def test_the_printed_link_signs_in_once(browser: Browser, tmp_path: Path) -> None:
    with serve(tmp_path / "data") as server:
        link = re.search(r"^\s+(http\S+/#/sign-in/\S+)$", server.out, re.MULTILINE)
        assert link, server.out
        for used in (False, True):
            context = await browser.new_context(locale="en-US")
            page = await context.new_page()
            await page.goto(link[1])
            if used:
                await expect(page.get_by_role("alert")).to_contain_text("has been used or has expired")
            else:
                await expect(page.get_by_label("Prompt", exact=True)).to_be_visible()
            assert "sign-in" not in page.url, "neither a reload nor the history may use the code again"
            await context.close()
        keys = run_json("key", "list", "default", "--data-dir", server.data_dir)
        assert len(keys) == 2
        log = (tmp_path / "data.log").read_text()
        assert link[1].rsplit("/", 1)[1] not in log
