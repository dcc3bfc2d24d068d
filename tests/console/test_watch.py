"""Views of running tasks: cancel, errors, reload, a lost network, the gallery and callbacks."""

from playwright.async_api import Browser, expect

from framehouse.adapters.postgres.account_store import set_account
from tests.support.api_server import Api, serving
from tests.support.browser import PREVIZ, Console, open_console
from tests.support.in_process_deployment import MakeDeployment


async def test_each_image_appears_as_soon_as_it_is_finished_and_the_task_can_be_canceled(console: Console) -> None:
    page = console.page
    await console.open()
    await page.get_by_label("Prompt", exact=True).fill("Frame 1: a fox. Frame 2: an owl [sandbox: slow 300].")
    await page.get_by_label("Series").check()
    await page.get_by_label("3:2").check()
    await page.get_by_role("button", name="Create", exact=True).click()
    await expect(page.get_by_text("Processing")).to_be_visible()
    first = page.get_by_role("img", name="Image 1")
    await expect(first).to_be_visible()
    await expect(first).to_have_js_property("naturalWidth", 512)  # the preview
    await expect(page.locator(".skeleton:not(.done)")).to_have_count(1)
    await console.assert_accessible()
    await page.get_by_role("button", name="Cancel task").click()
    await expect(page.get_by_role("heading", name="Canceled")).to_be_visible()
    await expect(page.get_by_text("Nothing was charged")).to_be_visible()
    assert (await console.api.deployment.account())["images_in_flight"] == 0


async def test_errors_are_shown_in_plain_words(console: Console) -> None:
    page, db = console.page, console.api.deployment.db
    await console.open()
    create = page.get_by_role("button", name="Create", exact=True)
    alert = page.get_by_role("alert").last

    await page.get_by_label("Prompt", exact=True).fill("[sandbox: refuse]")
    await create.click()
    await expect(alert).to_contain_text("The content was refused")
    await expect(alert).to_contain_text("code 1301 · request ")
    limits = {"units_limit": None, "no_limit": False, "disabled": None}
    await set_account(db, "alice", **({"concurrency": 0} | limits))  # type: ignore[arg-type]
    await page.get_by_label("Prompt", exact=True).fill("a fox")
    await create.click()
    await expect(alert).to_contain_text("code 1303 · request ")
    await console.assert_accessible()
    await set_account(db, "alice", **(limits | {"concurrency": 100, "units_limit": 1}))  # type: ignore[arg-type]
    await create.click()
    await expect(alert).to_contain_text("The units are used up")
    await set_account(db, "alice", concurrency=100, units_limit=None, no_limit=True, disabled=None)
    hostile = "<img src=x onerror=\"document.title='owned'\"> [sandbox: fail]"
    await page.get_by_label("Prompt", exact=True).fill(hostile)
    await create.click()
    await expect(page.get_by_role("alert")).to_contain_text("The task failed")
    await expect(page.get_by_role("alert")).to_contain_text("because the prompt contains a sandbox trigger")
    await expect(page.get_by_role("heading", name=hostile)).to_be_visible()
    await page.get_by_role("link", name="Tasks").first.click()
    await expect(page.get_by_text(hostile)).to_be_visible()
    assert await page.title() == "Tasks · Framehouse"
    await page.goto("/#/tasks/nothing")
    await expect(page.get_by_role("alert")).to_contain_text("Task not found")


async def test_a_task_view_survives_a_reload_and_a_lost_network(console: Console) -> None:
    page = console.page
    task = await console.api.create("[sandbox: slow 45] a lighthouse", n=2, aspect_ratio="21:9")
    await console.open(f"tasks/{task['task_id']}")
    await expect(page.locator(".skeleton")).to_have_count(2)
    box = await page.locator(".skeleton").first.bounding_box()
    assert box
    assert abs(box["width"] / box["height"] - 1568 / 672) < 0.05, "the placeholder has the aspect ratio of the image"
    await page.reload()
    await expect(page.get_by_text("Processing")).to_be_visible()
    await console.context.set_offline(True)
    await expect(page.get_by_role("alert")).to_contain_text("The server does not answer")
    await console.context.set_offline(False)
    await expect(page.locator(".thumb")).to_have_count(2)
    await expect(page.get_by_role("alert")).to_have_count(0)


async def test_the_gallery_loads_more_when_scrolled_and_back_returns_to_it(
    make_deployment: MakeDeployment, browser: Browser
) -> None:
    deployment = await make_deployment(PREVIZ)
    for number in range(55):
        await deployment.submit(f"Task number {number}", aspect_ratio="1:1")
    async with serving(deployment) as api, open_console(browser, api) as console:
        page = console.page
        await console.open("tasks")
        tiles = page.locator(".tile")
        await expect(tiles.first).to_contain_text("Task number 54")
        await console.assert_accessible()
        for count in (24, 48, 55):
            await expect(tiles).to_have_count(count)
            await tiles.last.scroll_into_view_if_needed()
        deployment.start_worker()
        await expect(page.locator(".tile img").first).to_be_attached()
        await tiles.nth(2).click()
        await expect(page.get_by_role("heading", name="Task number 52")).to_be_visible()
        await page.go_back()
        await expect(tiles.first).to_be_visible()
        await page.go_forward()
        await expect(page.get_by_role("heading", name="Task number 52")).to_be_visible()


async def test_an_empty_gallery_and_a_revoked_key(console: Console) -> None:
    page = console.page
    await console.open("tasks")
    await expect(page.get_by_role("heading", name="No images yet")).to_be_visible()
    await console.assert_accessible()
    await console.api.deployment.db.row(
        "update api_keys set revoked_at = now() where account_id = $1", console.api.deployment.caller.account_id
    )
    await page.evaluate("location.hash = '#/account'")
    await expect(page.get_by_role("alert")).to_contain_text("unknown or revoked")
    await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    await page.evaluate("location.hash = '#/elements'")
    await page.get_by_role("button", name="中文").click()
    await expect(page.get_by_role("button", name="English")).to_be_visible()
    await expect(page.get_by_role("alert")).to_contain_text("unknown or revoked")


async def test_the_callbacks_of_a_task_are_shown(served: Api, browser: Browser) -> None:
    task = await served.create("a fox", callback_url="https://receiver.example/hook")
    await served.wait_for_task(task["task_id"])
    async with open_console(browser, served) as console:
        await console.open(f"tasks/{task['task_id']}")
        await console.page.get_by_role("button", name="Callbacks").click()
        await expect(console.page.locator(".delivery")).to_have_count(2)
        await expect(console.page.locator(".delivery").first).to_contain_text("https://receiver.example/hook")
        await console.assert_accessible()
