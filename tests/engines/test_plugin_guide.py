"""The examples of docs/writing-an-engine.md work.

The example engine is short, is found by its entry point, and passes the engine contract outside the repository.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from framehouse.domain.model import Model
from framehouse.engines.registry import open_registry
from framehouse.testing import example_engine
from framehouse.testing.engine_contract import EngineContract

PAGE = Path(__file__).parents[2] / "docs" / "writing-an-engine.md"
ENGINE, TESTS = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)


def test_the_page_shows_the_code_of_the_example_engine() -> None:
    _docstring, code = Path(example_engine.__file__).read_text().split("\n\n", 1)
    assert code == ENGINE


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    """Return a folder in which the example engine is an installed package."""
    assert len(ENGINE.splitlines()) < 60
    (tmp_path / "my_engines.py").write_text(ENGINE)
    package = tmp_path / "my_engines-1.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: my-engines\nVersion: 1\n")
    (package / "entry_points.txt").write_text("[framehouse.engines]\nplain = my_engines:Plain\n")
    return tmp_path


def test_the_engine_is_found_by_its_entry_point(plugin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(plugin))
    monkeypatch.delitem(sys.modules, "my_engines", raising=False)
    registry = open_registry([(Model("m"), [{"engine": "plain", "grey": 90}])])
    (route,) = registry.routes("m")
    assert route.name == "plain"


def test_the_engine_passes_the_contract_outside_the_repository(plugin: Path) -> None:
    assert len(TESTS.splitlines()) <= 10
    (plugin / "test_my_engines.py").write_text(TESTS)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "PYTHONPATH"))}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:schemathesis"]
    run = subprocess.run(command, cwd=plugin, env=environment, capture_output=True, text=True, timeout=100, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    passed = re.search(r"(\d+) passed", run.stdout)
    assert passed
    names = [name for name in vars(EngineContract) if name.startswith("test_")]
    assert int(passed[1]) >= len(names), "not all tests of the contract ran"
