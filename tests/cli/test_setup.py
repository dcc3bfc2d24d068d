"""The command `framehouse setup`."""

import asyncio
import json
import os
import pty
import signal
import subprocess
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from PIL import Image

from framehouse.cli.setup import config_text, possible_kinds
from framehouse.cli.setup_candidates import find_accounts, with_distinct_names
from framehouse.domain.model import Model
from framehouse.engines.interface import Abilities
from framehouse.engines.registry import open_registry
from tests.support.comfyui_server import comfyui
from tests.support.command_line import FRAMEHOUSE, PATH, client, environment, run, serve
from tests.support.disks import small_disk
from tests.support.eventually import eventually
from tests.support.one_of_each import OneOfEach, one_of_each
from tests.support.openai_server import serving
from tests.support.served_deployment import wait

WORKFLOW = Path(__file__).parents[2] / "docs" / "engines" / "comfyui" / "text.json"
NOTHING = ("--comfyui", "http://127.0.0.1:9", "--server", "http://127.0.0.1:9")
_ACCOUNTS = (
    "OPENAI_API_KEY",
    "GEMINI_API_KEY",
    "FAL_KEY",
    "XAI_API_KEY",
    "ARK_API_KEY",
    "KLING_ACCESS_KEY",
    "KLING_API_KEY",
)
_URLS = (
    "OPENAI_BASE_URL",
    "GOOGLE_GEMINI_BASE_URL",
    "FAL_QUEUE_RUN_HOST",
    "XAI_BASE_URL",
    "ARK_BASE_URL",
    "KLING_BASE_URL",
)
NO_KEYS = dict.fromkeys((*_ACCOUNTS, "KLING_SECRET_KEY", *_URLS), "")
ROUTES = [field.name for field in fields(OneOfEach)]


async def _setup(folder: Path, *words: str, code: int = 0, **environment: str) -> Any:
    folders = ("--data-dir", folder / "data", "--out", folder / "images")
    return await asyncio.to_thread(lambda: run("setup", *words, *folders, code=code, **(NO_KEYS | environment)))


@pytest.mark.parametrize("kind", ["sglang", "vllm_omni", "xinference"])
async def test_a_model_server_is_found_tried_and_written(tmp_path: Path, kind: str) -> None:
    async with serving(kind) as server:
        url = server.url.removesuffix("/v1")
        done = await _setup(tmp_path, "--yes", "--server", url, "--comfyui", "http://127.0.0.1:9")
    assert f"{kind} at {url} with {server.model}: works" in done.stdout
    config = tmp_path / "data" / "framehouse.toml"
    assert config.stat().st_mode & 0o777 == 0o600
    model = tomllib.loads(config.read_text())["models"]["kling-v3-omni"]
    assert {"kling-v1", "kling-image-o1"} <= set(model["aliases"])
    assert ("expand" in model["endpoints"]) == ("kling-expand" in model["aliases"])
    (route,) = model["routes"]
    assert route == {"name": kind, "engine": "openai_images", "kind": kind, "base_urls": [url], "model": server.model}
    with Image.open(tmp_path / "images" / f"{kind}.png") as image:
        assert image.size == (1248, 832)
    assert (tmp_path / "images" / "contact-sheet.png").exists()


async def test_comfyui_is_found_and_needs_a_workflow(tmp_path: Path) -> None:
    async with comfyui() as server:
        words = ("--yes", "--server", "http://127.0.0.1:9", "--comfyui", server.url)
        without = await _setup(tmp_path, *words, code=1)
        assert "add --workflow FILE" in without.stdout
        assert not (tmp_path / "data" / "framehouse.toml").exists()
        report = json.loads((await _setup(tmp_path, *words, "--workflow", str(WORKFLOW), "--json")).stdout)
    (candidate,) = report["candidates"]
    assert (candidate["engine"], candidate["tried"], candidate["error"]) == ("comfyui", True, "")


async def test_an_existing_file_is_kept_as_a_copy(tmp_path: Path) -> None:
    config = tmp_path / "data" / "framehouse.toml"
    config.parent.mkdir()
    config.write_text('public_url = "https://images.test"\n[models.mine]\nroutes = [{ engine = "previz" }]\n')
    async with serving("sglang") as server:
        words = ("--server", server.url.removesuffix("/v1"), "--comfyui", "http://127.0.0.1:9")
        refused = await _setup(tmp_path, *words, code=1)
        assert "To continue, add --yes." in refused.stderr
        assert "mine" in config.read_text()
        await _setup(tmp_path, *words, "--yes")
        await _setup(tmp_path, *words, "--yes")
    written = tomllib.loads(config.read_text())
    assert (written["public_url"], list(written["models"])) == ("https://images.test", ["kling-v3-omni"])
    assert "mine" in config.with_name("framehouse.toml.before-setup").read_text()
    assert "Written by" in config.with_name("framehouse.toml.before-setup2").read_text()


async def test_without_any_place_nothing_is_written(tmp_path: Path) -> None:
    done = await _setup(tmp_path, "--yes", *NOTHING, code=1)
    assert "no key in the environment was found" in done.stdout
    assert "no file was written" in done.stderr
    assert not (tmp_path / "images").exists()


async def test_a_paid_account_is_not_tried_without_consent(tmp_path: Path) -> None:
    done = await _setup(tmp_path, *NOTHING, code=1, OPENAI_API_KEY="sk-secret")
    assert "OpenAI at api.openai.com (OPENAI_API_KEY): found, but not tried" in done.stdout
    assert "run the command in a terminal, or add --yes" in done.stdout
    assert "sk-secret" not in done.stdout + done.stderr


async def test_one_of_each_is_tried_and_the_written_file_generates_images(tmp_path: Path) -> None:
    async with one_of_each() as each:
        words = (*each.options, "--workflow", str(WORKFLOW), "--yes")
        done = await _setup_in_empty_home(tmp_path, *words, variables=each.keys | each.urls)
        assert [line.rpartition(": ")[2] for line in done.stdout.splitlines()[:8]] == [
            f"setup/{name}.png" for name in ROUTES
        ]
        for key in each.keys.values():
            assert key not in done.stdout + done.stderr
        for name in ROUTES:
            with Image.open(tmp_path / "folder" / "setup" / f"{name}.png") as image:
                assert image.size == (1248, 832), name
        with Image.open(tmp_path / "folder" / "setup" / "contact-sheet.png") as sheet:
            assert sheet.width == 3 * 640 + 4 * 16
        config = next((tmp_path / "home").rglob("framehouse.toml"))
        assert config.stat().st_mode & 0o777 == 0o600
        routes = tomllib.loads(config.read_text())["models"]["kling-v3-omni"]["routes"]
        assert [route.get("name", route["engine"]) for route in routes] == ROUTES
        orders = len(each.comfyui.jobs())
        await asyncio.to_thread(_generate_on_a_server, tmp_path / "served", config)
        assert len(each.comfyui.jobs()) == orders + 1


def _generate_on_a_server(data_dir: Path, config: Path) -> None:
    with serve(data_dir, "--config", config) as server, client(server.url, server.key) as http:
        task = http.post(PATH, json={"model_name": "kling-v2", "prompt": "a fox"}).json()["data"]["task_id"]
        ended = wait(http, task)
        assert ended["task_status"] == "succeed", ended
        assert http.get(ended["task_result"]["images"][0]["url"]).status_code == 200


async def _setup_in_empty_home(
    folder: Path, *words: str, code: int = 0, variables: Mapping[str, str] = {}
) -> subprocess.CompletedProcess[str]:
    process = _start_in_empty_home(folder, *words, variables=variables)
    out, errors = await asyncio.to_thread(process.communicate, timeout=180)
    assert process.returncode == code, out + errors
    return subprocess.CompletedProcess(words, code, out, errors)


def _start_in_empty_home(folder: Path, *words: str, variables: Mapping[str, str]) -> subprocess.Popen[str]:
    """Start the command without a terminal, in an empty home folder and an empty working folder."""
    command, cwd, env = _command_in_empty_home(folder, *words, variables=variables)
    pipes: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, cwd=cwd, env=env, text=True, **pipes)


def _command_in_empty_home(
    folder: Path, *words: str, variables: Mapping[str, str]
) -> tuple[list[str], Path, dict[str, str]]:
    home, cwd = folder / "home", folder / "folder"
    home.mkdir()
    cwd.mkdir()
    env = {name: value for name, value in environment().items() if not name.startswith("XDG_")}
    return [*FRAMEHOUSE, "setup", *words], cwd, env | {"HOME": str(home)} | NO_KEYS | dict(variables)


async def test_wrong_keys_are_reported_and_the_other_routes_are_written(tmp_path: Path) -> None:
    async with one_of_each() as each:
        quoted: tuple[int, dict[str, str], Any] = (
            401,
            {},
            {"error": {"message": f"Incorrect API key: {each.openai.key}", "code": "invalid_api_key"}},
        )
        each.openai.faults += [quoted] * 3
        wrong = {"GEMINI_API_KEY": "wr0ng", "KLING_SECRET_KEY": "wr0ng", "XAI_BASE_URL": "ftp://x"}
        done = await _setup_in_empty_home(tmp_path, *each.options, "--yes", variables=each.keys | each.urls | wrong)
    assert "(OPENAI_API_KEY): failed: the model server does not accept the api_key (HTTP 401)" in done.stdout
    assert "(GEMINI_API_KEY): failed: Gemini does not accept the api_key (HTTP 400)" in done.stdout
    assert "(KLING_ACCESS_KEY): failed: " in done.stdout
    assert 'xAI: XAI_BASE_URL must be an http or https URL, not "ftp://x"' in done.stdout
    assert "Warning" not in done.stderr
    assert "cooldown" not in done.stderr
    for key in (*each.keys.values(), "wr0ng"):
        assert key not in done.stdout + done.stderr
    config = next((tmp_path / "home").rglob("framehouse.toml"))
    routes = tomllib.loads(config.read_text())["models"]["kling-v3-omni"]["routes"]
    assert [route.get("name", route["engine"]) for route in routes] == ["sglang", "fal", "seedream"]


async def test_a_trial_without_an_answer_ends_after_the_timeout(tmp_path: Path) -> None:
    async with one_of_each() as each:
        each.gemini.gate = asyncio.Event()
        words = (*NOTHING, "--yes", "--timeout", "2")
        keys = {"GEMINI_API_KEY": each.gemini.key, "FAL_KEY": each.fal.key}
        done = await _setup_in_empty_home(tmp_path, *words, variables=each.urls | keys)
        assert each.gemini.aborted == 1
    assert "(GEMINI_API_KEY): failed: no image after 2 s. The service may charge for it nevertheless." in done.stdout
    assert "(FAL_KEY): works" in done.stdout


async def test_ctrl_c_during_a_trial_changes_no_settings(tmp_path: Path) -> None:
    async with one_of_each() as each:
        each.gemini.gate = asyncio.Event()
        process = _start_in_empty_home(tmp_path, *each.options, "--yes", variables=each.keys | each.urls)

        async def is_waiting() -> bool:
            assert process.poll() is None
            return each.gemini.active > 0 and (tmp_path / "folder" / "setup" / "kling.png").exists()

        await eventually(is_waiting)
        process.send_signal(signal.SIGINT)
        out, errors = await asyncio.to_thread(process.communicate, timeout=90)
    assert process.returncode == 130, errors
    assert out == ""
    assert "The settings were not changed." in errors
    assert "Traceback" not in errors
    assert not list((tmp_path / "home").rglob("framehouse.toml*"))
    for image in (tmp_path / "folder" / "setup").iterdir():
        with Image.open(image) as opened:
            opened.load()


async def test_folders_that_cannot_be_written_are_reported_before_an_image_is_generated(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    async with serving("sglang") as server:
        words = ("--server", server.url.removesuffix("/v1"), "--comfyui", "http://127.0.0.1:9", "--yes")
        bad = str(tmp_path / "file" / "x")
        folders = tmp_path / "first", tmp_path / "second"
        for folder in folders:
            folder.mkdir()
        out = await _setup_in_empty_home(folders[0], *words, "--out", bad, code=1)
        data = await _setup_in_empty_home(folders[1], *words, "--config", f"{bad}/new.toml", code=1)
        assert server.posts == []
    assert (
        out.stderr.splitlines()[-1]
        == f"Error: Cannot write to {bad}: Not a directory. Choose another folder with --out."
    )
    assert data.stderr.endswith("Not a directory. Choose another folder with --config.\n")


async def test_a_full_disk_is_reported_and_leaves_no_partial_file(tmp_path: Path) -> None:
    async with serving("sglang") as server:
        words = ("--server", server.url.removesuffix("/v1"), "--comfyui", "http://127.0.0.1:9", "--yes")
        with small_disk(tmp_path / "disk", 8_192) as mounted:
            if not mounted:
                pytest.skip("only root may mount a file system")
            done = await _setup_in_empty_home(tmp_path, *words, "--out", str(tmp_path / "disk"), code=1)
            assert list((tmp_path / "disk").iterdir()) == []
    image = tmp_path / "disk" / "sglang.png"
    assert done.stderr.endswith(f"Error: Cannot write {image}: No space left on device.\n")


async def test_a_new_file_is_written_and_the_next_command_names_it(tmp_path: Path) -> None:
    async with serving("sglang") as server:
        words = ("--server", server.url.removesuffix("/v1"), "--comfyui", "http://127.0.0.1:9")
        done = await _setup_in_empty_home(tmp_path, *words, "--config", str(tmp_path / "my.toml"))
    assert (tmp_path / "my.toml").stat().st_mode & 0o777 == 0o600
    assert done.stdout.endswith(f" serve --config {tmp_path / 'my.toml'}\n")


async def test_in_a_terminal_each_account_is_tried_only_after_a_yes(tmp_path: Path) -> None:
    async with one_of_each() as each:
        keys = {"OPENAI_API_KEY": each.openai.key, "FAL_KEY": each.fal.key}
        variables = each.urls | keys | {"TERM": "xterm", "COLUMNS": "80"}
        words = ("--comfyui", each.comfyui.url, "--server", "http://127.0.0.1:9")
        command = _command_in_empty_home(tmp_path, *words, variables=variables)
        output = await asyncio.to_thread(_answer_in_terminal, *command, {"OPENAI_API_KEY)?": "\n", "FAL_KEY)?": "y\n"})
        assert (each.openai.posts, each.fal.submits) == ([], 1)
    assert "add --workflow FILE" in output.partition("Generate an image with OpenAI")[0]
    assert "(OPENAI_API_KEY): found, but not tried" in output
    assert "(FAL_KEY): works" in output


def _answer_in_terminal(command: list[str], folder: Path, env: dict[str, str], answers: dict[str, str]) -> str:
    """Run a command in a terminal, and send each answer after its question. Returns the output."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(command, cwd=folder, env=env, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        output = ""
        with os.fdopen(ours, "r+b", buffering=0) as terminal, suppress(OSError):  # Linux reports the end as an error
            while chunk := terminal.read(4096):
                output += chunk.decode(errors="replace")
                for question in [question for question in answers if question in output]:
                    terminal.write(answers.pop(question).encode())
        assert process.wait(timeout=90) == 0, output
    return output


async def test_a_server_that_fails_is_reported_and_not_written(tmp_path: Path) -> None:
    async with serving("sglang", faults=[(500, {}, "broken")] * 9) as broken, serving("sglang") as healthy:
        urls = [server.url.removesuffix("/v1") for server in (broken, healthy)]
        words = ("--yes", "--comfyui", "http://127.0.0.1:9", "--server", urls[0], "--server", urls[1])
        done = await _setup(tmp_path, *words)
    assert f"sglang at {urls[0]} with {broken.model}: failed" in done.stdout
    assert urls[0] not in (tmp_path / "data" / "framehouse.toml").read_text()


def test_the_route_of_each_account_is_valid() -> None:
    environment = dict.fromkeys((*_ACCOUNTS, "KLING_SECRET_KEY"), "key")
    candidates = with_distinct_names(find_accounts(environment))
    assert [candidate.name for candidate in candidates] == [*ROUTES[2:], "kling-2"]
    text = config_text([candidate.route for candidate in candidates], ["omni-image"])
    routes = tomllib.loads(text)["models"]["kling-v3-omni"]["routes"]
    assert routes == [candidate.route for candidate in candidates]
    registry = open_registry([(Model("kling-v3-omni"), routes)])
    assert all(route.engine.abilities().paid for route in registry.routes("kling-v3-omni"))
    assert [route.name for route in registry.routes("kling-v3-omni")] == [candidate.name for candidate in candidates]
    assert find_accounts({"OPENAI_API_KEY": " ", "KLING_ACCESS_KEY": "only this"}) == []


@pytest.mark.parametrize(
    ("variable", "value", "option", "url"),
    [
        ("GOOGLE_GEMINI_BASE_URL", "https://reseller.test", "base_url", "https://reseller.test/v1beta"),
        ("GOOGLE_GEMINI_BASE_URL", "https://reseller.test/v1beta/", "base_url", "https://reseller.test/v1beta"),
        ("FAL_QUEUE_RUN_HOST", "queue.reseller.test", "queue_url", "https://queue.reseller.test"),
        ("KLING_BASE_URL", "https://api-beijing.klingai.com/v1", "base_url", "https://api-beijing.klingai.com"),
        ("ARK_BASE_URL", "https://reseller.test/api/v3", "base_urls", ["https://reseller.test/api/v3"]),
    ],
)
def test_the_url_of_a_reseller_replaces_the_url_of_the_service(
    variable: str, value: str, option: str, url: object
) -> None:
    keys = dict.fromkeys(_ACCOUNTS, "key")
    replaced, default = find_accounts({**keys, variable: value}), find_accounts(keys)
    changed = [new for new, old in zip(replaced, default, strict=True) if new != old]
    assert [candidate.route[option] for candidate in changed] == [url]
    assert (urlsplit(value).netloc or value) in changed[0].title


@pytest.mark.parametrize(
    ("abilities", "kinds"),
    [
        ([Abilities(max_references=0)], set()),
        ([Abilities(max_references=0), Abilities(max_references=3)], {"multi-image2image", "try-on"}),
        ([Abilities(max_references=0, expansions=True)], {"expand"}),
    ],
)
def test_the_endpoints_are_those_that_an_engine_supports(abilities: list[Abilities], kinds: set[str]) -> None:
    assert set(possible_kinds(abilities)) == {"omni-image", "generations"} | kinds


def test_the_configuration_keeps_all_characters() -> None:
    route = {"engine": "x", "text": 'a "b" \\ \x7f \u0001 é 漢', "number": 0.5, "on": True, "table": {"a": [1, "b"]}}
    assert tomllib.loads(config_text([route], ["omni-image"]))["models"]["kling-v3-omni"]["routes"] == [route]
