"""The field for the callback URL, the button that sends a test callback, and the reasons on the page of a task."""

import re

from playwright.async_api import Browser, Route, expect

from tests.support.api_server import Api, serving
from tests.support.browser import PREVIZ, Console, open_console
from tests.support.callbacks import running_callback_worker, wait_for_messages
from tests.support.in_process_deployment import MakeDeployment
from tests.support.receivers import receiving

PRIVATE, ADVICE = "private or special address", "FRAMEHOUSE_ALLOW_PRIVATE_ADDRESSES=1"


async def test_a_test_callback_is_sent_and_its_result_is_shown(
    make_deployment: MakeDeployment, browser: Browser
) -> None:
    deployment = await make_deployment(PREVIZ)
    deployment.start_worker()
    async with (
        serving(deployment, allow_private=True) as api,
        receiving("204 No Content", "500 Oops") as receiver,
    ):
        for theme in ("light", "dark"):
            async with open_console(browser, api, color_scheme=theme) as console:
                page = console.page
                await console.open()
                send = page.get_by_role("button", name="Send a test callback")
                field = page.get_by_label("Callback URL")
                await expect(send).to_be_disabled()
                await field.fill("receiver.example")
                await expect(send).to_be_disabled()
                await field.fill(receiver.url)
                await send.focus()
                await page.keyboard.press("Enter")
                result = page.locator(".callback").get_by_role("status")
                if theme == "light":
                    await expect(result).to_contain_text(re.compile(r"Delivered\s*HTTP 204 · [\d.]+ s"))
                else:
                    await expect(result).to_contain_text("Not delivered")
                    await expect(result).to_contain_text("See the log of the receiver.")
                await console.assert_accessible()
                await field.fill(receiver.url + "/other")
                await expect(result).to_be_empty()
        assert [callback.data["type"] for callback in receiver.received] == ["test", "test"]


async def test_a_refused_address_is_explained_in_chinese_on_a_phone(served: Api, browser: Browser) -> None:
    phone = {"viewport": {"width": 390, "height": 844}, "locale": "zh-CN", "has_touch": True}
    async with open_console(browser, served, **phone) as console:
        page = console.page
        await console.open()
        await page.get_by_label("回调地址").fill("http://127.0.0.1:9000/")
        await page.get_by_role("button", name="发送测试回调").click()
        result = page.locator(".callback").get_by_role("status")
        await expect(result).to_contain_text("未送达")
        await expect(result).to_contain_text(PRIVATE)
        await expect(result).to_contain_text(ADVICE)
        await console.assert_no_horizontal_scrolling()
        await console.assert_accessible()


async def test_an_error_and_a_result_that_arrives_too_late(console: Console) -> None:
    page = console.page
    held: list[Route] = []

    async def hold(route: Route) -> None:
        held.append(route)

    await page.route(re.compile("/v1/callbacks/test$"), hold)
    await console.open()
    field, result = page.get_by_label("Callback URL"), page.locator(".callback").get_by_role("status")
    await field.fill("http://127.0.0.1:9000/first")
    await page.get_by_role("button", name="Send a test callback").click()
    await expect(result).to_have_text("Sending a test callback…")
    await field.fill("http://127.0.0.1:9000/second")
    async with page.expect_response(re.compile("/v1/callbacks/test$")):
        await held[0].continue_()
    await expect(page.get_by_role("button", name="Send a test callback")).to_be_enabled()
    await expect(result).to_be_empty()
    await page.unroute(re.compile("/v1/callbacks/test$"))
    await page.route(
        re.compile("/v1/callbacks/test$"),
        lambda route: route.fulfill(status=429, json={"code": 1302, "message": "too many", "request_id": "r"}),
    )
    await page.get_by_role("button", name="Send a test callback").click()
    await expect(page.get_by_role("alert")).to_contain_text("Too many requests per second")


async def test_the_task_gets_the_callback_url_and_its_page_shows_the_reason(served: Api, browser: Browser) -> None:
    async with (
        running_callback_worker(served.deployment, allow_private=False),
        open_console(browser, served) as console,
    ):
        page = console.page
        await console.open()
        await page.get_by_label("Prompt", exact=True).fill("A quiet street")
        await page.get_by_label("Callback URL").fill("ftp://receiver.example")
        await page.get_by_role("button", name="Create", exact=True).click()
        await expect(page.get_by_role("alert")).to_contain_text("The callback URL must be an http or https URL.")
        await expect(page.get_by_label("Callback URL")).to_be_focused()
        await page.get_by_label("Callback URL").fill("http://127.0.0.1:9000/hook")
        await expect(page.locator(".request pre")).to_contain_text('"callback_url": "http://127.0.0.1:9000/hook"')
        await page.get_by_role("button", name="Create", exact=True).click()
        await expect(page.get_by_role("img", name="Image 1: A quiet street")).to_be_visible()
        await wait_for_messages(served.deployment, lambda ms: any(m.last_error for m in ms))
        await page.get_by_role("button", name="Callbacks").click()
        dialog = page.get_by_role("dialog")
        await expect(dialog).to_contain_text(PRIVATE)
        await expect(dialog).to_contain_text(ADVICE)
        await expect(dialog).to_contain_text("next attempt:")
        await console.assert_accessible()
        await page.keyboard.press("Escape")
        await page.get_by_role("button", name="Use these settings").click()
        await expect(page.get_by_label("Callback URL")).to_have_value("http://127.0.0.1:9000/hook")
