"""The page of threats names code and tests that are there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "threat-model.md").read_text()
HOMES = (
    "",
    "src/framehouse/",
    "src/framehouse/entrypoints/",
    "src/framehouse/adapters/",
    "src/framehouse/engines/",
)


def test_what_it_points_to_is_there() -> None:
    named = set(re.findall(r"`([a-z_/]+(?:\.py|\.lock))`", PAGE))
    named |= set(re.findall(r"`((?:adapters|engines|entrypoints|pipeline|tests)/[a-z_/]+)`", PAGE))
    assert len(named) > 20
    tests = {path.name for path in (ROOT / "tests").rglob("test_*.py")}
    for name in named:
        assert name in tests or any((ROOT / home / name).exists() for home in HOMES), name


def test_its_links_lead_somewhere() -> None:
    for link in re.findall(r"\]\(([^)#]+)", PAGE):
        assert (ROOT / "docs" / link).exists(), link
