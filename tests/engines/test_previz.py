import numpy as np
import pytest

from framehouse.adapters.engines.base import Engine, ReferenceImage
from framehouse.adapters.engines.previz import Previz
from framehouse.adapters.engines.previz.panel import draw_panel
from framehouse.adapters.engines.previz.scene import read_scene
from framehouse.domain.errors import Broken
from framehouse.domain.shot import Shot
from framehouse.domain.sizes import RATIOS, RESOLUTIONS, size_of
from tests.engines.contract import EngineContract


class TestPreviz(EngineContract):
    @pytest.fixture
    def engine(self) -> Engine:
        return Previz()


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("resolution", RESOLUTIONS)
def test_the_right_size(ratio: str, resolution: str) -> None:
    size = size_of(ratio, resolution)
    pixels = draw_panel(Shot(0, "城市的雪夜 with a very long caption " * 20, "wide shot", 5), 1, size, ())
    assert pixels.shape == (size.height, size.width, 3)


def test_shots_of_a_series_differ() -> None:
    size = size_of("16:9", "1k")
    one = draw_panel(Shot(0, "a fox", "wide shot", 7), 2, size, ())
    other = draw_panel(Shot(1, "a fox", "close-up", 8), 2, size, ())
    assert not np.array_equal(one, other)


@pytest.mark.parametrize(
    ("prompt", "backdrop", "subject"),
    [
        ("A fox in the forest at night", "forest", "fox forest night"),
        ("Create a three-frame product storyboard", "studio", "product"),
        ("四格漫画：一只猫在城市的雪夜", "city", "一只猫在城市的雪夜"),
        ("A boat of <<<image_1>>> on the sea", "sea", "boat sea"),
    ],
)
def test_scenes_follow_the_words(prompt: str, backdrop: str, subject: str) -> None:
    scene = read_scene(prompt, 1)
    assert (scene.backdrop, scene.subject) == (backdrop, subject)


def test_a_damaged_reference_is_told_apart() -> None:
    with pytest.raises(Broken):
        draw_panel(Shot(0, "x", "", 1), 1, size_of("1:1", "1k"), (ReferenceImage(b"not a picture", 400, 300),))


@pytest.mark.parametrize("prompt", ["", "…", "\U0001f98a" * 50, "x" * 2500, "a\nb\tc", "مرحبا", "字" * 2500])
def test_any_words_can_be_drawn(prompt: str) -> None:
    draw_panel(Shot(8, prompt, "", 2**53 - 1), 9, size_of("9:16", "1k"), ())
