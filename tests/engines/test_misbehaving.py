"""The engine `Misbehaving` passes the engine contract unless a prompt makes it misbehave; bad routes are rejected."""

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
    ("route", "message"),
    [
        ({}, "engine is missing"),
        ({"engine": "none"}, "installed engines are .*previz"),
        ({"engine": "no.such:Engine"}, "No module named"),
        ({"engine": "framehouse.testing.misbehaving:Nothing"}, "has no attribute"),
        ({"engine": "previz", "speed": 3}, 'previz has no option "speed"; its options are sandbox'),
        ({"engine": "kling"}, "kling needs the option base_url"),
        ({"engine": "openai_images", "kind": "openai", "model": "m", "x": 1}, 'openai_images has no option "x"'),
    ],
)
def test_the_error_names_the_bad_route(route: dict[str, object], message: str) -> None:
    with pytest.raises(BadRoute, match=message) as error:
        open_registry([(Model("m"), [route])])
    assert str(error.value).startswith('models."m".routes[0]')
