"""The engine of the tests is a real one that is simple: unless asked to misbehave, it passes the contract too."""

import pytest

from framehouse.domain.model import Model
from framehouse.engines.interface import Engine
from framehouse.engines.registry import BadRoute, open_registry
from framehouse.testing.engine_contract import EngineContract
from framehouse.testing.misbehaving import Misbehaving


class TestMisbehaving(EngineContract):
    @pytest.fixture
    def engine(self) -> Engine:
        return Misbehaving(max_batch=4, seconds=0.2)


@pytest.mark.parametrize(
    ("route", "said"),
    [
        ({}, "engine is missing"),
        ({"engine": "none"}, "installed engines are .*previz"),
        ({"engine": "no.such:Engine"}, "No module named"),
        ({"engine": "framehouse.testing.misbehaving:Nothing"}, "has no attribute"),
        ({"engine": "previz", "speed": 3}, "does not take these options"),
    ],
)
def test_a_wrong_route_is_named(route: dict[str, object], said: str) -> None:
    with pytest.raises(BadRoute, match=said) as wrong:
        open_registry([(Model("m"), [route])])
    assert str(wrong.value).startswith('models."m".routes[0]')
