"""The files, tests and links that docs/threat-model.md names exist."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "threat-model.md").read_text()
PARENT_FOLDERS = (
    "",
    "src/framehouse/",
    "src/framehouse/entrypoints/",
    "src/framehouse/adapters/",
    "src/framehouse/engines/",
)


def test_every_named_file_exists() -> None:
    named = set(re.findall(r"`([a-z_/]+(?:\.py|\.lock))`", PAGE))
    named |= set(re.findall(r"`((?:adapters|engines|entrypoints|pipeline|tests)/[a-z_/]+)`", PAGE))
    assert len(named) > 20
    tests = {path.name for path in (ROOT / "tests").rglob("test_*.py")}
    for name in named:
        assert name in tests or any((ROOT / folder / name).exists() for folder in PARENT_FOLDERS), name


def test_every_linked_file_exists() -> None:
    for link in re.findall(r"\]\(([^)#]+)", PAGE):
        assert (ROOT / "docs" / link).exists(), link
