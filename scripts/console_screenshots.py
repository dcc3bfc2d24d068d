"""Take screenshots of the console, with a temporary server, into out/console/ and docs/images/.

    .venv/bin/python scripts/console_screenshots.py [VARIANT...]

A variant names a screen size, a theme and a language: `desktop-light-en`, `phone-dark-zh`, …
"""

import io
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import httpx
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).parents[1]
OUT = ROOT / "out" / "console"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"]
PRESET = ROOT / "src/framehouse/assets/presets/mug-front.png"
DECODE_VISIBLE_IMAGES = """() => Promise.all([...document.images].filter(image =>
    image.getBoundingClientRect().top < innerHeight).map(image => image.decode()))"""
PROMPTS = (
    ("A lighthouse on a cliff at sunset, watercolor", {"aspect_ratio": "3:2"}),
    ("四格漫画：一只猫学做饭", {"result_type": "series", "aspect_ratio": "1:1"}),
    ("<<<element_1>>> waters the flowers on a balcony", {"element_list": [{"element_id": 101}], "aspect_ratio": "4:3"}),
    ("A red fox in the snow", {"n": 2, "aspect_ratio": "2:3"}),
    ("Street market at night, neon, cinematic widescreen", {"aspect_ratio": "21:9"}),
    ("A rocket over the desert [sandbox: fail]", {"aspect_ratio": "1:1"}),
    ("A sailing boat in the fog, ink drawing", {"aspect_ratio": "9:16"}),
    ("Create a three-frame product storyboard", {"result_type": "series", "watermark_info": {"enabled": True}}),
)


def submit(api: httpx.Client, prompt: str, **fields: object) -> str:
    body = {"model_name": "kling-v3-omni", "prompt": prompt, **fields}
    answer = api.post("/kling/v1/images/omni-image", json=body).json()
    return str(answer["data"]["task_id"])


def screenshot(page: Page, name: str, *, into_docs: bool) -> None:
    page.evaluate(DECODE_VISIBLE_IMAGES)
    content = page.screenshot()
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / f"{name}.png").write_bytes(content)
    if into_docs:
        with Image.open(io.BytesIO(content)) as image:
            image.convert("RGB").save(ROOT / f"docs/images/console-{name.split('-')[0]}.jpg", quality=86, optimize=True)


def take_screenshots(browser: Browser, url: str, key: str, api: httpx.Client, *, variant: str) -> None:
    """Take a screenshot of every view of the console in one variant."""
    size, theme, language = variant.split("-")
    context = browser.new_context(
        base_url=url,
        locale={"en": "en-US", "zh": "zh-CN"}[language],
        color_scheme="dark" if theme == "dark" else "light",
        viewport={"width": 1280, "height": 800} if size == "desktop" else {"width": 390, "height": 844},
    )
    page = context.new_page()
    docs = variant == "desktop-light-en"
    page.goto("/")
    page.locator("#key").wait_for()
    screenshot(page, f"signin-{variant}", into_docs=False)
    page.evaluate("key => localStorage.setItem('framehouse.key', key)", key)
    page.reload()
    page.set_input_files("input[type=file]", PRESET)
    page.fill("#prompt", "The mug of <<<image_1>>> on a wooden table, morning light, series of three frames")
    page.locator(".ratios label").nth(3).click()
    page.locator("input[value=series]").check()
    screenshot(page, f"create-{variant}", into_docs=docs)
    if size == "phone":
        page.locator(".settings").scroll_into_view_if_needed()
        page.evaluate("scrollBy(0, 600)")
        screenshot(page, f"create2-{variant}", into_docs=False)
    page.locator("#prompt").press_sequentially(" <")
    page.locator(".completion li").first.wait_for()
    screenshot(page, f"completion-{variant}", into_docs=False)
    for mode in ("combine", "expand", "try-on"):
        page.check(f"input[name=mode][value={mode}]")
        page.locator(".inputs input[type=file]").first.set_input_files(PRESET)
        page.locator(".chip").first.wait_for()
        screenshot(page, f"{mode}-{variant}", into_docs=False)
    page.goto("/#/tasks")
    page.locator(".gallery li").nth(7).wait_for()
    screenshot(page, f"tasks-{variant}", into_docs=docs)
    series = page.locator(".tile", has_text="storyboard").first
    series.click()
    page.locator(".strip img").nth(2).wait_for()
    screenshot(page, f"task-{variant}", into_docs=False)
    page.locator("[aria-pressed]").click()
    screenshot(page, f"compare-{variant}", into_docs=False)
    slow = submit(api, "[sandbox: slow 3] a red bicycle by the sea", n=4, aspect_ratio="4:3")
    page.goto(f"/#/tasks/{slow}")
    page.locator(".skeleton.done").first.wait_for()
    screenshot(page, f"watch-{variant}", into_docs=False)
    api.post(f"/kling/v1/images/omni-image/{slow}/cancel")
    page.locator(".empty").wait_for()
    page.goto("/#/tasks")
    page.locator(".frame.failed").last.click()
    page.locator(".notice").wait_for()
    screenshot(page, f"failed-{variant}", into_docs=False)
    page.goto("/#/elements")
    page.locator(".element").nth(7).wait_for()
    screenshot(page, f"elements-{variant}", into_docs=False)
    page.locator("main button.primary").click()
    page.locator("dialog").wait_for()
    screenshot(page, f"element-{variant}", into_docs=False)
    page.keyboard.press("Escape")
    page.goto("/#/verify")
    tasks = api.get("/kling/v1/images/omni-image?pageSize=30").json()["data"]
    url = next(task["task_result"]["images"][0]["url"] for task in tasks if task["task_result"].get("images"))
    page.set_input_files("#verify-file", {"name": "a.png", "mimeType": "image/png", "buffer": api.get(url).content})
    page.locator(".verdict").wait_for()
    screenshot(page, f"verify-{variant}", into_docs=False)
    page.goto("/#/account")
    page.locator("table").wait_for()
    screenshot(page, f"account-{variant}", into_docs=False)
    context.close()


def main(variants: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "framehouse", "serve", "--port", "0", "--json", "--data-dir", folder]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)  # noqa: S603
        try:
            assert server.stdout
            started = json.loads(server.stdout.readline())
            headers = {"Authorization": f"Bearer {started['key']}"}
            with httpx.Client(base_url=started["url"], headers=headers, timeout=90, trust_env=False) as api:
                ids = [submit(api, prompt, **fields) for prompt, fields in PROMPTS]
                for id in ids:
                    api.get(f"/kling/v1/images/omni-image/{id}?wait=60")
                with sync_playwright() as playwright:
                    browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
                    for variant in variants:
                        take_screenshots(browser, started["url"], started["key"], api, variant=variant)
                    browser.close()
        finally:
            server.terminate()
            server.wait()


if __name__ == "__main__":
    main(sys.argv[1:] or ["desktop-light-en", "desktop-dark-zh", "phone-light-zh", "phone-dark-en"])
