"""Sign in, create a task with the form, and view its images."""

import asyncio
import base64
import json
import os
import zipfile
from pathlib import Path

from playwright.async_api import FilePayload, expect

from tests.support.api_server import PATH as TASKS
from tests.support.browser import Console, image
from tests.support.eventually import eventually
from tests.support.image_files import image_file


async def test_sign_in_and_create_one_image(console: Console) -> None:
    page = console.page
    await page.goto("/")
    await page.get_by_label("API key").fill("fh_wrong")
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_role("alert")).to_contain_text("code 1002 · request ")
    await console.assert_accessible()
    await page.get_by_label("API key").fill(console.key)
    await page.get_by_role("button", name="Sign in").click()
    await page.get_by_label("Prompt", exact=True).fill("A red fox in the snow")
    await page.get_by_label("3:2").check()
    await page.get_by_label("Seed").fill("7")
    await console.assert_accessible()
    await page.get_by_role("button", name="Create", exact=True).click()
    await expect(page.get_by_role("heading", name="A red fox in the snow")).to_be_visible()
    shown = page.get_by_role("img", name="Image 1: A red fox in the snow")
    await expect(shown).to_be_visible()
    await expect(shown).to_have_js_property("naturalWidth", 1248)
    await console.assert_accessible()
    await page.get_by_role("button", name="Raw JSON").click()
    shown_task = json.loads(await page.locator("dialog pre").inner_text())
    assert shown_task["request"]["aspect_ratio"] == "3:2"
    await console.assert_accessible()
    await page.keyboard.press("Escape")
    await page.get_by_role("button", name="Use these settings").click()
    await expect(page.get_by_label("Prompt", exact=True)).to_have_value("A red fox in the snow")
    await expect(page.get_by_label("Seed")).to_have_value("7")
    assert await page.evaluate("localStorage.getItem('framehouse.key')") is None, (
        "the key is stored only if the user requests it"
    )


async def test_a_series_with_references_and_an_element(console: Console) -> None:
    page = console.page
    await console.open()
    await page.set_input_files("input[type=file]", [image("bag's.png"), image("b.jpg", 500, 500, "JPEG")])
    await page.get_by_role("button", name="Element", exact=True).click()
    await page.get_by_role("button", name="Robot").click()
    prompt = page.get_by_label("Prompt", exact=True)
    await prompt.press_sequentially("The bag <<im")
    await expect(page.locator("#completion").get_by_role("option")).to_have_count(2)
    await console.assert_accessible()
    await page.keyboard.press("ArrowDown")
    await page.keyboard.press("Enter")
    await page.get_by_role("button", name="Cite in the prompt: <<<element_1>>>").click()
    await expect(prompt).to_have_value("The bag <<<image_2>>><<<element_1>>>")
    await page.get_by_label("Series").check()
    await page.get_by_label("Number of images", exact=True).select_option("3")
    await page.get_by_label("watermarked").check()
    await page.get_by_role("button", name="Create", exact=True).click()
    thumbs = page.get_by_role("button", name="Image", exact=False).and_(page.locator(".thumb"))
    await expect(thumbs).to_have_count(3)
    await page.keyboard.press("ArrowRight")
    await expect(page.get_by_text("2 / 3")).to_be_visible()
    await expect(page).to_have_url(
        f"{console.api.url}/#/tasks/{(await console.api.alice.get(TASKS)).json()['data'][0]['task_id']}/2"
    )
    await page.keyboard.press("ArrowLeft")
    await page.keyboard.press("ArrowLeft")
    await expect(page.get_by_text("3 / 3")).to_be_visible()
    await page.get_by_role("button", name="Compare with watermarked").click()
    await page.get_by_role("slider").press("ArrowRight")
    await console.assert_accessible()
    async with page.expect_download() as downloading:
        await page.get_by_role("button", name="Download all").click()
    with zipfile.ZipFile(await (await downloading.value).path()) as archive:
        assert archive.testzip() is None
        assert [name[8:] for name in archive.namelist()] == [
            f"-{number}{end}.png" for number in (1, 2, 3) for end in ("", "-marked")
        ]
        assert archive.read(archive.namelist()[0])[:4] == b"\x89PNG"
    await page.get_by_role("button", name="Callbacks").click()
    await expect(page.get_by_text("No callbacks")).to_be_visible()
    await page.keyboard.press("Escape")
    await page.get_by_role("button", name="Use these settings").click()
    await expect(page.get_by_role("status").filter(has_text="could not be restored")).to_be_visible()
    await expect(page.get_by_text("element_1", exact=True)).to_be_visible()


async def test_invalid_images_are_reported_with_their_problems(console: Console) -> None:
    page = console.page
    await console.open()
    large: FilePayload = {"name": "large.png", "mimeType": "image/png", "buffer": b"\x89PNG" + b"\0" * 10_000_000}
    broken: FilePayload = {"name": "bad.png", "mimeType": "image/png", "buffer": b"\x89PNG.."}
    small, narrow, gif = image("small.png", 299, 400), image("narrow.png", 300, 751), image("g.png", format="GIF")
    await page.set_input_files("input[type=file]", [small, narrow, gif, large, broken])
    alert = page.get_by_role("alert")
    for text in (
        "small.png: 299 × 400 px, but both sides must be at least 300 px",
        "narrow.png: 300 × 751 px, but the aspect ratio must be between 1:2.5 and 2.5:1",
        "g.png: not a JPG, PNG, WebP or AVIF file",
        "large.png: 10.0 MB, but at most 10 MB",
        "bad.png: cannot be read",
    ):
        await expect(alert).to_contain_text(text)
    await page.set_input_files("input[type=file]", [image(f"{n}.png", 300, 300) for n in range(11)])
    await expect(alert).to_contain_text("10.png: at most 10 images and elements in total")
    await expect(page.get_by_text("10 of 10")).to_be_visible()
    await page.get_by_role("button", name="Create", exact=True).click()
    await expect(page.get_by_text("The prompt is empty")).to_be_visible()


async def test_the_first_load_is_small_and_images_can_be_dropped_and_pasted(console: Console) -> None:
    page = console.page
    responses = []
    page.on("response", lambda answer: responses.append(answer))
    await console.open()
    await expect(page.get_by_label("Prompt", exact=True)).to_be_visible()
    sizes = [len(await answer.body()) for answer in responses]
    assert len(sizes) > 10
    assert sum(sizes) < 200_000
    await page.get_by_label("Prompt", exact=True).fill("🦊" * 2501)
    await expect(page.get_by_text("2,501 / 2,500")).to_be_visible()
    content = base64.b64encode(image_file(320, 320)).decode()
    for event, field, name, target in (
        ("DragEvent", "dataTransfer", "drop", ".drop"),
        ("ClipboardEvent", "clipboardData", "paste", "#prompt"),
    ):
        await page.evaluate(
            """([event, field, name, target, content]) => {
                const bytes = Uint8Array.from(atob(content), c => c.charCodeAt(0));
                const transfer = new DataTransfer();
                transfer.items.add(new File([bytes], `${name}.png`, {type: "image/png"}));
                const dispatched = new window[event](name, {[field]: transfer, bubbles: true, cancelable: true});
                document.querySelector(target).dispatchEvent(dispatched);
            }""",
            [event, field, name, target, content],
        )
        await expect(page.locator(".chip", has_text=f"{name}.png")).to_be_visible()
    await page.get_by_role("button", name="Remove drop.png").click()
    await expect(page.get_by_text("1 of 10")).to_be_visible()
    await page.get_by_role("button", name="Create", exact=True).click()
    await expect(page.get_by_text("more than 2,500 characters")).to_be_visible()


async def test_the_copied_code_runs(console: Console, tmp_path: Path) -> None:
    page, context = console.page, console.context
    await context.grant_permissions(["clipboard-read", "clipboard-write"])
    await console.open()
    awkward = 'It\'s `$HOME` \\ "<<<image_1>>>"\nEND\n图'
    await page.get_by_label("Prompt", exact=True).fill(awkward)
    await page.set_input_files("input[type=file]", [image("bag's.png")])
    (tmp_path / "bag's.png").write_bytes(image_file(400, 300))

    async def copied() -> str:
        text = str(await page.evaluate("navigator.clipboard.readText()"))
        return "" if text == "not copied" else text

    for language in ("curl", "Python", "JavaScript"):
        await page.evaluate("navigator.clipboard.writeText('not copied')")
        await page.get_by_label(language, exact=True).check()
        await page.get_by_role("button", name="Copy").click()
        await expect(page.get_by_role("status").filter(has_text="Copied")).to_be_visible()
        code = await eventually(copied)  # the status may still be the status of the previous language
        assert console.key not in code
        if language == "curl":
            running = await asyncio.create_subprocess_exec(
                "sh", "-c", code.replace("curl ", "curl -s --noproxy '*' ", 1),
                cwd=tmp_path, env={"FRAMEHOUSE_KEY": console.key, "PATH": os.environ["PATH"]},
                stdout=asyncio.subprocess.PIPE,
            )  # fmt: skip
            answer, _ = await running.communicate()
            task_id = json.loads(answer)["data"]["task_id"]
            task = (await console.api.alice.get(f"{TASKS}/{task_id}?include=request")).json()["data"]
            assert task["request"]["prompt"] == awkward
        elif language == "Python":
            compile(code, "copied", "exec")
            assert 'open("bag\'s.png", "rb")' in code
        else:
            assert 'readFileSync("bag\'s.png", "base64")' in code
