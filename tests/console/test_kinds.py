"""The form creates each kind of task, and the views show tasks of all kinds."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, FilePayload, Page, expect

from framehouse.domain.task_kind import TASK_PATHS, TaskKind
from framehouse.engines.registry import open_registry
from framehouse.settings import Settings
from tests.support.api_server import Api, serving
from tests.support.browser import Console, image, open_console
from tests.support.image_files import image_base64
from tests.support.in_process_deployment import MakeDeployment

TRANSLATIONS = Path(__file__).parents[2] / "src/framehouse/entrypoints/console/translations"


async def add(page: Page, group: str, *files: FilePayload) -> None:
    await page.get_by_role("group", name=group).locator("input[type=file]").set_input_files(list(files))


async def expect_code(page: Page, kind: TaskKind, *texts: str) -> None:
    """Check that the code in each language contains the path of the kind of task, and the texts."""
    for language in ("curl", "Python", "JavaScript"):
        await page.get_by_label(language, exact=True).check()
        code = page.locator(".request pre")
        await expect(code).to_contain_text(re.compile(re.escape(f"/kling{TASK_PATHS[kind]}") + "['\"]"))
        for text in texts:
            await expect(code).to_contain_text(text)


async def create(console: Console, kind: TaskKind, title: str) -> dict[str, Any]:
    """Send the form, wait for the image, and return the task. `title` is the title of its page."""
    page = console.page
    await console.assert_accessible()
    await page.get_by_role("button", name="Create", exact=True).click()
    await expect(page.get_by_role("img", name=f"Image 1: {title}")).to_be_visible()
    await console.assert_accessible()
    task: dict[str, Any] = (await console.api.alice.get("/v1/tasks?include=request")).json()["data"][0]
    assert task["kind"] == kind
    return task


async def test_a_negative_prompt_creates_a_generation(console: Console) -> None:
    page = console.page
    await console.open()
    await page.get_by_label("Prompt", exact=True).fill("A quiet street")
    await page.get_by_label("Series").check()
    await expect(page.get_by_label("Negative prompt")).to_be_hidden()
    await page.get_by_label("Single").check()
    await expect_code(page, "omni-image")
    await page.get_by_label("Negative prompt").fill("cars")
    await add(page, "Reference images and elements", image("a.png"))
    await expect_code(page, "generations", '"negative_prompt": "cars"', "a.png")
    task = await create(console, "generations", "A quiet street")
    assert task["request"]["negative_prompt"] == "cars"
    await page.get_by_role("button", name="Use these settings").click()
    await expect(page.get_by_role("status").filter(has_text="could not be restored")).to_be_visible()
    await expect(page.get_by_label("Negative prompt")).to_have_value("cars")


async def test_subjects_a_scene_and_a_style_are_combined(console: Console) -> None:
    page = console.page
    await console.open()
    await page.get_by_label("Combine", exact=True).check()
    await page.get_by_role("button", name="Create", exact=True).click()
    await expect(page.get_by_role("alert")).to_contain_text("There is no subject")
    await add(page, "Subjects", image("bag.png"), image("fox.png"))
    await add(page, "Style", image("ink.png"))
    await page.get_by_label("Prompt", exact=True).press_sequentially("<<<im")
    await expect(page.locator("#completion").get_by_role("option")).to_have_count(3)
    await page.get_by_label("Prompt", exact=True).fill("")
    await page.get_by_label("3:2").check()
    await expect_code(page, "multi-image2image", "subject_image_list", "bag.png", "fox.png", "style_image", "ink.png")
    task = await create(console, "multi-image2image", "Combine")
    assert task["request"]["aspect_ratio"] == "3:2"
    await page.get_by_role("button", name="Use these settings").click()
    await expect(page.get_by_label("Combine", exact=True)).to_be_checked()
    await expect(page.get_by_label("3:2")).to_be_checked()
    await expect(page.get_by_role("status").filter(has_text="could not be restored")).to_be_visible()


async def test_an_image_is_expanded(console: Console) -> None:
    page = console.page
    await console.open()
    await page.get_by_label("Expand", exact=True).check()
    await add(page, "Image to expand", image("photo.png", 600, 400))
    await expect(page.get_by_text("900 × 600 px · 8 units")).to_be_visible()
    for side, value in {"Up": "0", "Left": "1.5", "Right": "1.5", "Down": ""}.items():
        await page.get_by_label(side, exact=True).fill(value)
    await page.get_by_role("button", name="Create", exact=True).click()
    await expect(page.get_by_role("alert")).to_contain_text("at most 3 times")
    await page.get_by_label("Left", exact=True).fill("x")
    await page.get_by_role("button", name="Create", exact=True).click()
    await expect(page.get_by_label("Left", exact=True)).to_be_focused()
    await page.get_by_label("Left", exact=True).fill("0,5")
    await page.get_by_label("Right", exact=True).fill("")
    await page.get_by_label("Number of images").select_option("2")
    await expect(page.get_by_text("900 × 400 px · 16 units")).to_be_visible()
    await expect_code(page, "expand", '"left_expansion_ratio": 0.5', "photo.png")
    await create(console, "expand", "Expand")
    await expect(page.get_by_role("img", name="Image 1: Expand")).to_have_js_property("naturalWidth", 900)
    await page.get_by_role("button", name="Use these settings").click()
    await expect(page.get_by_label("Left", exact=True)).to_have_value("0.5")
    await expect(page.get_by_label("Right", exact=True)).to_have_value("")


async def test_a_person_tries_clothes_on(console: Console) -> None:
    page = console.page
    await console.open()
    await page.get_by_label("Try on", exact=True).check()
    await expect(page.get_by_label("Prompt", exact=True)).to_have_count(0)
    await add(page, "Person", image("person.png"))
    await page.get_by_role("button", name="Create", exact=True).click()
    await expect(page.get_by_role("alert")).to_contain_text("an image of the clothes")
    await add(page, "Clothes", image("coat.png"))
    await expect_code(page, "try-on", "human_image", "person.png", "cloth_image", "coat.png")
    await create(console, "try-on", "Try on")
    await page.get_by_role("link", name="Tasks").first.click()
    await expect(page.locator(".tile", has_text="Try on").locator("img")).to_be_visible()
    await page.locator(".tile").click()
    await page.get_by_role("button", name="Use these settings").click()
    await expect(page.get_by_label("Try on", exact=True)).to_be_checked()


async def test_the_default_models_have_their_own_fields(
    make_deployment: MakeDeployment, browser: Browser, tmp_path: Path
) -> None:
    deployment = await make_deployment()
    deployment.registry = open_registry(Settings(data_dir=tmp_path).served_models())
    async with serving(deployment) as api, open_console(browser, api) as console:
        page = console.page
        deployment.start_worker()
        await console.open()
        await expect(page.get_by_label("Model").locator("option")).to_have_count(8)
        await page.get_by_label("Model").select_option("kling-v1-5")
        await expect(page.get_by_label("Image fidelity")).to_have_count(0)
        await page.get_by_label("Prompt", exact=True).fill("a person")
        await add(page, "Reference images and elements", image("face.png"))
        await page.get_by_label("Use of the reference image").select_option("Face")
        await page.get_by_label("Face fidelity").fill("2")
        await page.get_by_role("button", name="Create", exact=True).click()
        await expect(page.get_by_role("alert")).to_contain_text("from 0 to 1")
        await page.get_by_label("Face fidelity").fill("0.9")
        await expect_code(page, "generations", '"image_reference": "face"', '"human_fidelity": 0.9')
        assert (await create(console, "generations", "a person"))["request"]["human_fidelity"] == 0.9
        await console.open()
        for mode, name, count in (("Combine", "kling-v2-1", 2), ("Expand", "kling-expand", 1), ("Try on", "kolors", 2)):
            await page.get_by_label(mode, exact=True).check()
            await expect(page.get_by_label("Model").locator("option")).to_have_count(count)
            await expect(page.get_by_label("Model")).to_have_value(re.compile(name))


async def test_the_restored_form_contains_images_from_urls(served: Api, browser: Browser) -> None:
    url = "https://images.example/a.png"
    sent = {"subject_image_list": [{"subject_image": url}], "scene_image": url, "n": 2}
    body = {"model_name": "kling-v3-omni", "subject_image_list": [{"subject_image": image_base64()}]}
    task = (await served.alice.post("/kling" + TASK_PATHS["multi-image2image"], json=body)).json()["data"]
    await served.alice.get(f"/v1/tasks/{task['task_id']}?wait=30")
    entry = json.dumps([{"taskId": task["task_id"], "request": sent, "left": 0}])
    async with open_console(browser, served) as console:
        page = console.page
        await page.add_init_script(f"localStorage.setItem('framehouse.sent', {json.dumps(entry)})")
        await console.open(f"tasks/{task['task_id']}")
        await page.get_by_role("button", name="Use these settings").click()
        await expect(page.get_by_role("group", name="Subjects")).to_contain_text(url)
        await expect(page.get_by_role("group", name="Scene")).to_contain_text(url)
        await expect(page.get_by_label("Number of images")).to_have_value("2")


@pytest.mark.parametrize("mode", ["combine", "expand", "try-on"])
async def test_each_form_fits_a_phone(served: Api, browser: Browser, mode: str) -> None:
    phone = {"viewport": {"width": 390, "height": 844}, "locale": "zh-CN", "color_scheme": "dark"}
    async with open_console(browser, served, **phone) as console:
        await console.open()
        await console.page.locator(f"input[name=mode][value={mode}]").check()
        await console.assert_no_horizontal_scrolling()
        await console.assert_accessible()


def test_both_languages_have_all_texts() -> None:
    english, chinese = (
        dict(re.findall(r'^  "?([\w.-]+)"?:\s+"(.*)",$', (TRANSLATIONS / f"{language}.js").read_text(), re.MULTILINE))
        for language in ("en", "zh")
    )
    assert len(english) > 200
    assert english.keys() == chinese.keys()
    for key, text in english.items():
        assert set(re.findall(r"\{\w+\}", text)) == set(re.findall(r"\{\w+\}", chinese[key])), key
