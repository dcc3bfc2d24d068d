"""The engine of docs/engines.md is a working one: short, installed by an entry point, and it passes the contract."""

import re
import sys
from pathlib import Path

import pytest

from framehouse.domain.model import Model
from framehouse.engines.interface import Engine
from framehouse.engines.registry import open_registry
from framehouse.testing.engine_contract import EngineContract

PAGE = Path(__file__).parents[2] / "docs" / "engines.md"


class TestWritten(EngineContract):
    @pytest.fixture
    def engine(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Engine:
        found = re.search(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
        assert found
        assert len(found[1].splitlines()) < 60
        (tmp_path / "my_engines.py").write_text(found[1])
        package = tmp_path / "my_engines-1.dist-info"
        package.mkdir()
        (package / "METADATA").write_text("Metadata-Version: 2.1\nName: my-engines\nVersion: 1\n")
        (package / "entry_points.txt").write_text("[framehouse.engines]\nplain = my_engines:Plain\n")
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.delitem(sys.modules, "my_engines", raising=False)
        registry = open_registry([(Model("m"), [{"engine": "plain", "grey": 90}])])
        (route,) = registry.routes("m")
        assert route.name == "plain"
        return route.engine
