"""The settings on docs/provenance.md can be copied."""

import re
import tomllib
from pathlib import Path

import pytest

from framehouse.settings import load_settings

PAGE = (Path(__file__).parents[2] / "docs" / "provenance.md").read_text()
BLOCKS = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS)
def test_the_settings_of_each_region_are_valid_and_short(block: str, tmp_path: Path) -> None:
    config = tmp_path / "framehouse.toml"
    config.write_text(block)
    settings = load_settings(config)
    for name, value in tomllib.loads(block).items():
        assert str(getattr(settings, name)) == str(value)
    assert len(block.splitlines()) <= 10


def test_each_region_has_a_block() -> None:
    assert len(BLOCKS) == 3
