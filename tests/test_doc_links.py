"""Links between the pages of the documentation, and the pages that the code names."""

import re
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from tests.support.prose import ROOT, tracked_files

_FENCED = re.compile(r"^ *```.*?^ *```", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`[^`\n]*`")
_LINK = re.compile(r"\]\(([^)\s]+)\)|(?:src|srcset|href)=\"([^\"\s]+)\"")
_HEADING = re.compile(r"^#{1,6} +(.+?) *$", re.MULTILINE)
_NAMED_FILE = re.compile(r"(?<![\w./-])docs/(?:adr/\d{4}\b|[\w./-]*\.(?:md|json|svg|jpg)\b)")


def links(text: str) -> list[str]:
    """The targets of all links and images that are not on another host."""
    prose = _CODE.sub("code", _FENCED.sub("", text))
    found = [markdown or html for markdown, html in _LINK.findall(prose)]
    return [link for link in found if not re.match(r"[a-z]+:", link)]


def anchors(text: str) -> set[str]:
    """The anchors that GitHub creates for the headings of a page."""
    seen: Counter[str] = Counter()
    found = set()
    for heading in _HEADING.findall(_FENCED.sub("", text)):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        anchor = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        found.add(f"{anchor}-{seen[anchor]}" if seen[anchor] else anchor)
        seen[anchor] += 1
    return found


@cache
def anchors_of(page: Path) -> set[str]:
    return anchors(page.read_text())


def dead_links(page: Path, text: str) -> list[str]:
    dead = []
    for link in links(text):
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if name and not target.exists():
            dead.append(f"{link}: there is no such file")
        elif anchor and anchor not in (anchors(text) if target == page else anchors_of(target)):
            dead.append(f"{link}: the page has no such heading")
    return dead


@pytest.mark.parametrize("name", tracked_files("*.md"))
def test_the_links_of_a_page_lead_to_files_and_headings(name: str) -> None:
    page = ROOT / name
    assert not dead_links(page, page.read_text())


@pytest.mark.parametrize(
    ("text", "dead"),
    [
        ("[a](speed.md)", 0),
        ("[a](nothing.md)", 1),
        ("[a](speed.md#nothing)", 1),
        ("## A `b`: c?\n[a](#a-b-c)", 0),
        ("## A\n## A\n[a](#a-1) [a](#a-2)", 1),
        ("![a\nb](nothing.jpg)", 1),
        ('<img src="nothing.svg">', 1),
        ("[a](https://example.com/nothing.md)", 0),
        ("`[a](nothing.md)`\n```toml\n# [a](nothing.md)\n```\n", 0),
    ],
)
def test_a_dead_link_is_found(text: str, dead: int) -> None:
    assert len(dead_links(ROOT / "docs" / "page.md", text)) == dead


def test_the_files_of_docs_that_other_files_name_exist() -> None:
    patterns = ("*.py", "*.md", "*.toml", "*.yaml", "*.yml", "*.sql", "*.service", "Makefile", "Dockerfile")
    names = [name for name in tracked_files(*patterns) if "/assets/" not in name and name != "tests/test_doc_links.py"]
    named = {(name, file) for name in names for file in _NAMED_FILE.findall((ROOT / name).read_text())}
    assert len(named) > 20
    missing = [f"{name}: {file}" for name, file in named if not list(ROOT.glob(f"{file}*"))]
    assert not missing
