"""The pages in docs/engines: every page has the same order, and every route in them can be copied."""

import re
from pathlib import Path

import pytest

from framehouse.engines.registry import BadRoute, open_registry
from framehouse.settings import BadSettings, load_settings
from tests.support.prose import ROOT

FOLDER = ROOT / "docs" / "engines"
PAGES = sorted(FOLDER.glob("*.md"))
UPSTREAMS = [page for page in PAGES if page.name not in ("README.md", "diffusers-pipelines.md")]
SECTIONS = ["Route", "What does Framehouse do with it?", "Limits", "Costs", "Errors"]
TOPICS = ["Tasks", "References", "Series", "Expansions", "Masks", "Cancellation", "Lost responses"]


def prose(page: Path) -> str:
    return re.sub(r"^ *```.*?^ *```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def toml_blocks(page: Path) -> list[str]:
    return re.findall(r"^ *```toml\n(.*?)^ *```", page.read_text(), re.MULTILINE | re.DOTALL)


def check_block(block: str, folder: Path) -> list[str]:
    """Read a block as framehouse.toml and create its engines. Returns the names of the engines.

    Raises BadSettings or BadRoute. The files that a block names in /etc/framehouse are those in docs/engines/comfyui,
    and "…" stands for a key.
    """
    config = folder / "framehouse.toml"
    config.write_text(block.replace("/etc/framehouse", str(FOLDER / "comfyui")).replace("…", "key"))
    settings = load_settings(config, data_dir=folder)
    assert settings.models, "the block has no model"
    open_registry(settings.served_models(), settings.worker_labels, sandbox=settings.sandbox)
    return [str(route["engine"]) for _, routes in settings.served_models() for route in routes]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_toml_block_of_a_page_can_be_copied(page: Path, tmp_path: Path) -> None:
    engines = [engine for block in toml_blocks(page) for engine in check_block(block, tmp_path)]
    assert engines or page not in UPSTREAMS, "the page has no route"


@pytest.mark.parametrize(
    ("block", "error"),
    [
        ('[models."m"]\nroutes = [{ engine = "gemini", model = "x" }]', BadRoute),
        ('[models."m"]\nroutes = [{ engine = "previz" }]\nspeed = 3', BadSettings),
        ('[models."m".routes.arguments]\nprompt = "{prompt}"', BadSettings),
        ("routes = [", BadSettings),
    ],
)
def test_a_block_that_cannot_be_copied_is_found(block: str, error: type[Exception], tmp_path: Path) -> None:
    with pytest.raises(error):
        check_block(block, tmp_path)


@pytest.mark.parametrize("page", UPSTREAMS, ids=lambda page: page.stem)
def test_every_page_has_the_same_order(page: Path) -> None:
    text = prose(page)
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == SECTIONS
    actions = text.partition(f"## {SECTIONS[1]}\n")[2].partition("\n## ")[0]
    assert re.findall(r"^- \*\*([^*]+)\.\*\*", actions, re.MULTILINE)[: len(TOPICS)] == TOPICS
    lead = text.partition("\n\n")[2].partition("## ")[0].strip()
    assert lead
    assert "\n\n" not in lead, "only one paragraph says what the upstream is"


def test_the_index_lists_every_page() -> None:
    table = [line for line in prose(FOLDER / "README.md").splitlines() if line.startswith("|")]
    listed = re.findall(r"\]\(([\w-]+\.md)\)", "\n".join(row.split("|")[1] for row in table))
    assert sorted(listed) == [page.name for page in UPSTREAMS]
    assert len({row.count("|") for row in table}) == 1
