"""The command `framehouse setup`."""

import asyncio
import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from framehouse.cli.setup import config_text, possible_kinds
from framehouse.cli.setup_candidates import find_accounts
from framehouse.domain.model import Model
from framehouse.engines.interface import Abilities
from framehouse.engines.registry import open_registry
from tests.support.comfyui_server import comfyui
from tests.support.command_line import run
from tests.support.openai_server import serving

WORKFLOW = Path(__file__).parents[2] / "docs" / "engines" / "comfyui" / "text.json"
NOTHING = ("--comfyui", "http://127.0.0.1:9", "--server", "http://127.0.0.1:9")
_ACCOUNTS = ("OPENAI_API_KEY", "GEMINI_API_KEY", "FAL_KEY", "XAI_API_KEY", "ARK_API_KEY", "KLING_ACCESS_KEY")
NO_KEYS = dict.fromkeys((*_ACCOUNTS, "KLING_SECRET_KEY"), "")


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
    assert route == {"engine": "openai_images", "kind": kind, "base_urls": [url], "model": server.model}
    with Image.open(tmp_path / "images" / "1-openai_images.png") as image:
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
    assert "the account of OPENAI_API_KEY: not tried" in done.stdout
    assert "sk-secret" not in done.stdout + done.stderr


async def test_a_server_that_fails_is_reported_and_not_written(tmp_path: Path) -> None:
    async with serving("sglang", faults=[(500, {}, "broken")] * 9) as broken, serving("sglang") as healthy:
        urls = [server.url.removesuffix("/v1") for server in (broken, healthy)]
        words = ("--yes", "--comfyui", "http://127.0.0.1:9", "--server", urls[0], "--server", urls[1])
        done = await _setup(tmp_path, *words)
    assert f"sglang at {urls[0]} with {broken.model}: failed" in done.stdout
    assert urls[0] not in (tmp_path / "data" / "framehouse.toml").read_text()


def test_the_route_of_each_account_is_valid() -> None:
    environment = dict.fromkeys(NO_KEYS, "key")
    candidates = find_accounts(environment)
    assert len(candidates) == len(NO_KEYS) - 1
    text = config_text([candidate.route for candidate in candidates], ["omni-image"])
    routes = tomllib.loads(text)["models"]["kling-v3-omni"]["routes"]
    assert routes == [candidate.route for candidate in candidates]
    registry = open_registry([(Model("kling-v3-omni"), routes)])
    assert all(route.engine.abilities().paid for route in registry.routes("kling-v3-omni"))
    assert find_accounts({"OPENAI_API_KEY": " ", "KLING_ACCESS_KEY": "only this"}) == []


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
