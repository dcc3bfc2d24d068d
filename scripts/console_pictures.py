"""Pictures of the console in all its looks, of a server of its own: out/console/, and the docs' into docs/images/."""

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
SEEN = """() => Promise.all([...document.images].filter(image =>
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


def send(api: httpx.Client, prompt: str, **fields: object) -> str:
    body = {"model_name": "kling-v3-omni", "prompt": prompt, **fields}
    answer = api.post("/kling/v1/images/omni-image", json=body).json()
    return str(answer["data"]["task_id"])


def save(page: Page, name: str, *, into_docs: bool) -> None:
    page.evaluate(SEEN)
    content = page.screenshot()
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / f"{name}.png").write_bytes(content)
    if into_docs:
        with Image.open(io.BytesIO(content)) as image:
            image.convert("RGB").save(ROOT / f"docs/images/console-{name.split('-')[0]}.jpg", quality=86, optimize=True)


def tour(browser: Browser, url: str, key: str, api: httpx.Client, *, look: str) -> None:
    """All states in one look: `desktop-light-en`, `phone-dark-zh`, …"""
    size, theme, language = look.split("-")
    context = browser.new_context(
        base_url=url,
        locale={"en": "en-US", "zh": "zh-CN"}[language],
        color_scheme="dark" if theme == "dark" else "light",
        viewport={"width": 1280, "height": 800} if size == "desktop" else {"width": 390, "height": 844},
    )
    page = context.new_page()
    docs = look == "desktop-light-en"
    page.goto("/")
    page.locator("#key").wait_for()
    save(page, f"signin-{look}", into_docs=False)
    page.evaluate("key => localStorage.setItem('framehouse.key', key)", key)
    page.reload()
    page.set_input_files("input[type=file]", PRESET)
    page.fill("#prompt", "The mug of <<<image_1>>> on a wooden table, morning light, series of three frames")
    page.locator(".ratios label").nth(3).click()
    page.locator("input[value=series]").check()
    save(page, f"create-{look}", into_docs=docs)
    if size == "phone":
        page.locator(".settings").scroll_into_view_if_needed()
        page.evaluate("scrollBy(0, 600)")
        save(page, f"create2-{look}", into_docs=False)
    page.locator("#prompt").press_sequentially(" <")
    page.locator(".completion li").first.wait_for()
    save(page, f"completion-{look}", into_docs=False)
    page.goto("/#/tasks")
    page.locator(".gallery li").nth(7).wait_for()
    save(page, f"tasks-{look}", into_docs=docs)
    series = page.locator(".tile", has_text="storyboard").first
    series.click()
    page.locator(".strip img").nth(2).wait_for()
    save(page, f"task-{look}", into_docs=docs)
    page.locator("[aria-pressed]").click()
    save(page, f"compare-{look}", into_docs=False)
    slow = send(api, "[sandbox: slow 3] a red bicycle by the sea", n=4, aspect_ratio="4:3")
    page.goto(f"/#/tasks/{slow}")
    page.locator(".skeleton.done").first.wait_for()
    save(page, f"watch-{look}", into_docs=False)
    api.post(f"/kling/v1/images/omni-image/{slow}/cancel")
    page.locator(".empty").wait_for()
    page.goto("/#/tasks")
    page.locator(".frame.failed").last.click()
    page.locator(".notice").wait_for()
    save(page, f"failed-{look}", into_docs=False)
    page.goto("/#/elements")
    page.locator(".element").nth(7).wait_for()
    save(page, f"elements-{look}", into_docs=False)
    page.locator("main button.primary").click()
    page.locator("dialog").wait_for()
    save(page, f"element-{look}", into_docs=False)
    page.keyboard.press("Escape")
    page.goto("/#/account")
    page.locator("table").wait_for()
    save(page, f"account-{look}", into_docs=False)
    context.close()


def main(looks: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "framehouse", "serve", "--port", "0", "--json", "--data-dir", folder]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)  # noqa: S603
        try:
            assert server.stdout
            said = json.loads(server.stdout.readline())
            headers = {"Authorization": f"Bearer {said['key']}"}
            with httpx.Client(base_url=said["url"], headers=headers, timeout=90, trust_env=False) as api:
                ids = [send(api, prompt, **fields) for prompt, fields in PROMPTS]
                for id in ids:
                    api.get(f"/kling/v1/images/omni-image/{id}?wait=60")
                with sync_playwright() as playwright:
                    browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
                    for look in looks:
                        tour(browser, said["url"], said["key"], api, look=look)
                    browser.close()
        finally:
            server.terminate()
            server.wait()


if __name__ == "__main__":
    main(sys.argv[1:] or ["desktop-light-en", "desktop-dark-zh", "phone-light-zh", "phone-dark-en"])
