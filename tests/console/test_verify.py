"""The page "Verify" of the console: its states, its details, and the keyboard."""

import io
import re
from collections.abc import AsyncIterator

import pytest
from PIL import Image
from playwright.async_api import Browser, FilePayload, Page, Route, expect

from framehouse.adapters.content_credentials.credential_signer import CredentialSigner
from framehouse.adapters.postgres.signing_identities import own_identity, remember_chain
from framehouse.pipeline.finish import Finishing
from framehouse.pipeline.generate import Rules
from tests.support.api_server import Api, serving
from tests.support.browser import PREVIZ, Console, open_console
from tests.support.in_process_deployment import RULES, MakeDeployment
from tests.support.signed_images import identity, signed, unsigned, with_text

HEADINGS = {
    "made_here": "Made here",
    "altered": "Made here, but changed",
    "metadata": "Made here, according to its metadata",
    "similar": "Looks like an image that was made here",
    "unknown": "Unknown origin",
}


@pytest.fixture
async def signing(make_deployment: MakeDeployment) -> AsyncIterator[Api]:
    """A served deployment that signs images."""
    deployment = await make_deployment(PREVIZ)
    own = await own_identity(deployment.db)
    await remember_chain(deployment.db, own)
    finishing = Finishing("Framehouse 0.1.0", signer=CredentialSigner(own))
    deployment.rules = Rules(finishing, RULES.retention, allow_private_addresses=False)
    deployment.start_worker()
    async with serving(deployment) as api:
        yield api


async def generated(api: Api) -> tuple[str, bytes]:
    task = await api.wait_for_task((await api.create("a lighthouse at sunset"))["task_id"])
    return task["task_id"], (await api.anonymous.get(task["task_result"]["images"][0]["url"])).content


def payload(content: bytes, name: str = "lighthouse.png") -> FilePayload:
    return {"name": name, "mimeType": "image/png", "buffer": content}


def small_jpeg(content: bytes) -> bytes:
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(content)) as image:
        image.convert("RGB").resize((600, 600)).save(buffer, "JPEG", quality=70)
    return buffer.getvalue()


def without_credentials(content: bytes) -> bytes:
    """The file without the chunk of the content credentials. Its XMP metadata stays."""
    start = content.index(b"caBX") - 4
    return content[:start] + content[start + 12 + int.from_bytes(content[start : start + 4]) :]


async def choose(page: Page, content: bytes) -> None:
    # the server allows two verifications per second; the page shows an error with a button to try again
    await page.get_by_label("Choose an image").set_input_files(payload(content))
    retry = page.get_by_role("button", name="Try again")
    verdict = page.locator(".verdict")
    await expect(verdict.or_(retry)).to_be_visible()
    while await retry.count():
        await retry.click()
        await expect(verdict.or_(retry)).to_be_visible()


async def test_each_verdict_is_shown_and_accessible(signing: Api, browser: Browser) -> None:
    task_id, content = await generated(signing)
    files = {
        "made_here": content,
        "altered": with_text(content),
        "metadata": without_credentials(content),
        "similar": small_jpeg(content),
        "unknown": signed(unsigned(9, facts={"model": "m"}), identity("A maker", "A camera")),
    }
    for theme in ("light", "dark"):
        async with open_console(browser, signing, color_scheme=theme) as console:
            page = console.page
            await console.open("verify")
            await expect(page.get_by_role("heading", name="No image yet")).to_be_visible()
            await console.assert_accessible()
            for verdict, file in files.items():
                await choose(page, file)
                await expect(page.locator(f".verdict.{verdict} h2")).to_have_text(HEADINGS[verdict])
                await console.assert_accessible()
                link = page.get_by_role("link", name="Image 1 of this task")
                if verdict == "unknown":
                    await expect(link).to_have_count(0)
                    await expect(page.get_by_text("A camera · A maker")).to_be_visible()
                    await expect(page.get_by_text("does not trust the signer")).to_be_visible()
                else:
                    await expect(link).to_have_attribute("href", f"#/tasks/{task_id}")


async def test_the_pin_opens_the_content_credentials_with_the_keyboard(signing: Api, browser: Browser) -> None:
    _, content = await generated(signing)
    async with open_console(browser, signing) as console:
        page = console.page
        await console.open("verify")
        await choose(page, content)
        await page.get_by_label("Choose an image").focus()
        await page.keyboard.press("Shift+Tab")
        pin = page.get_by_role("button", name="Show the content credentials")
        await expect(pin).to_be_focused()
        await page.keyboard.press("Enter")
        dialog = page.get_by_role("dialog", name="Content credentials")
        await expect(dialog).to_contain_text("This server trusts the signer")
        await expect(dialog).to_contain_text("Not changed after it was signed")
        await console.assert_accessible()
        await page.keyboard.press("Escape")
        await expect(dialog).to_have_count(0)
        await expect(pin).to_be_focused()


async def test_an_image_is_dropped_or_pasted_and_stays_in_another_language(signing: Api, browser: Browser) -> None:
    async with open_console(browser, signing, viewport={"width": 390, "height": 844}) as console:
        page = console.page
        await console.open("verify")
        data = await page.evaluate_handle(
            """bytes => { const data = new DataTransfer();
            data.items.add(new File([new Uint8Array(bytes)], 'fox.png', {type: 'image/png'})); return data; }""",
            list(unsigned(4)),
        )
        await page.dispatch_event(".verify-drop", "drop", {"dataTransfer": data})
        await expect(page.get_by_role("heading", name="Unknown origin")).to_be_visible()
        await page.evaluate("data => dispatchEvent(new ClipboardEvent('paste', {clipboardData: data}))", data)
        await expect(page.get_by_role("heading", name="Unknown origin")).to_be_visible()
        await page.get_by_role("button", name="中文").click()
        await expect(page.get_by_role("heading", name="来源未知")).to_be_visible()
        await expect(page.get_by_role("img", name="fox.png")).to_be_visible()
        await console.assert_no_horizontal_scrolling()
        await console.assert_accessible()


async def test_files_that_cannot_be_verified(console: Console) -> None:
    page = console.page
    await console.open("verify")
    await page.get_by_label("Choose an image").set_input_files(payload(b"hello", "notes.txt"))
    await expect(page.get_by_role("alert")).to_have_text("notes.txt: not a JPG, PNG, WebP or AVIF file")
    await console.assert_accessible()
    await page.get_by_label("Choose an image").set_input_files(payload(unsigned()[:300]))
    await expect(page.get_by_role("alert")).to_contain_text("cannot be read as an image")
    await console.assert_accessible()


async def test_progress_is_shown_while_the_image_is_checked(console: Console) -> None:
    page = console.page
    held: list[Route] = []

    async def hold(route: Route) -> None:
        held.append(route)

    await page.route(re.compile("/v1/verify$"), hold)
    await console.open("verify")
    await page.get_by_label("Choose an image").set_input_files(payload(unsigned()))
    await expect(page.get_by_role("heading", name="Checking the image…")).to_be_visible()
    await expect(page.get_by_role("progressbar")).to_be_visible()
    await console.assert_accessible()
    await held[0].continue_()
    await expect(page.get_by_role("heading", name="Unknown origin")).to_be_visible()
