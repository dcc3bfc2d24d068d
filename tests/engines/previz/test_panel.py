"""Panels of the engine `previz`: their size and content, and their equality with golden images."""

import hashlib
import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from framehouse.domain.errors import Broken
from framehouse.domain.shot import FRAMINGS, Shot
from framehouse.domain.sizes import RATIOS, RESOLUTIONS, Size, size_of
from framehouse.engines.interface import Engine, ReferenceImage, SavedElement
from framehouse.engines.previz import Previz, lexicon
from framehouse.engines.previz.backdrops import PLACES
from framehouse.engines.previz.cutouts import cutout
from framehouse.engines.previz.light import light_of
from framehouse.engines.previz.panel import draw_panel
from framehouse.engines.previz.pictograms import raster
from framehouse.engines.previz.reading import read_scene
from framehouse.engines.previz.sprites import Pixels
from framehouse.engines.previz.styles import STYLES
from framehouse.testing.engine_contract import EngineContract

SMALL = Size(320, 180)
GOLDEN = Path(__file__).parent / "golden"


class TestPreviz(EngineContract):
    @pytest.fixture
    def engine(self) -> Engine:
        return Previz()


def draw(prompt: str, *, framing: str = "", seed: int = 5, size: Size = SMALL, index: int = 0) -> Pixels:
    return draw_panel(Shot(index, prompt, framing, seed), 9, size)


def reference(color: tuple[int, int, int] = (255, 255, 255), name: str = "dog") -> ReferenceImage:
    """Return a pictogram on a plain background, like a product photo of a shop."""
    pictogram = Image.fromarray(raster(name, None, 300))
    image = Image.new("RGB", (400, 400), color)
    image.paste(pictogram, (50, 50), pictogram)
    file = io.BytesIO()
    image.save(file, "PNG")
    return ReferenceImage(file.getvalue(), 400, 400)


def photograph() -> ReferenceImage:
    """Return an image without a plain background."""
    noise = np.random.default_rng(1).integers(0, 255, (30, 40, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).resize((400, 300), Image.Resampling.BICUBIC).save(file, "JPEG")
    return ReferenceImage(file.getvalue(), 400, 300)


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("resolution", RESOLUTIONS)
def test_a_panel_has_the_requested_size(ratio: str, resolution: str) -> None:
    size = size_of(ratio, resolution)
    pixels = draw("城市的雪夜 with a very long caption " * 20, framing="wide shot", size=size)
    assert pixels.shape == (size.height, size.width, 3)


GOLDEN_PROMPTS = {
    "bottle": ("Create a three-frame product storyboard", "close-up"),
    "cabin": ("雪山下的小木屋，夜晚，星空", ""),
    "cat": ("a cat riding a bicycle at sunset by the sea, watercolor", ""),
    "foxes": ("two red foxes in a snowy forest, no people", "wide shot"),
    "street": ("一个女孩打着红色的雨伞走在雨中的街道", "over-the-shoulder shot"),
    "cup": ("a cup of coffee and a croissant in a café", "top view"),
    "rocket": ("a rocket in space, blueprint", ""),
    "unknown": ("a zorblax next to a quantum flux capacitor", ""),
}


@pytest.mark.parametrize("name", GOLDEN_PROMPTS)
def test_panels_equal_the_golden_images(name: str) -> None:
    """The comparison allows a mean difference of 2, because other processors round differently.

    To accept a change, check the `.new.png` file that the failed test wrote, then move it over the golden image.
    """
    prompt, framing = GOLDEN_PROMPTS[name]
    pixels = draw(prompt, framing=framing)
    path = GOLDEN / f"{name}.png"
    new_path = path.with_suffix(".new.png")
    golden = np.asarray(Image.open(path).convert("RGB")).astype(int) if path.exists() else np.zeros(pixels.shape, int)
    if np.abs(golden - pixels).mean() > 2:
        GOLDEN.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(new_path)
        raise AssertionError(f"{name} looks different: compare {path} and {new_path}")
    new_path.unlink(missing_ok=True)


def test_another_process_draws_the_same_bytes() -> None:
    code = (
        "import hashlib; from framehouse.engines.previz.panel import draw_panel;"
        "from framehouse.domain.shot import Shot; from framehouse.domain.sizes import Size;"
        "pixels = draw_panel(Shot(0, 'a fox, watercolor', '', 5), 9, Size(320, 180));"
        "print(hashlib.sha256(pixels.tobytes()).hexdigest())"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == hashlib.sha256(draw("a fox, watercolor").tobytes()).hexdigest()


def test_another_subject_does_not_change_the_light() -> None:
    """The light has a separate random stream."""
    fox, fox_and_owl = (
        read_scene([text], caption="") for text in ("a fox in a forest", "a fox and an owl in a forest")
    )
    assert [light_of(fox, seed) for seed in range(20)] == [light_of(fox_and_owl, seed) for seed in range(20)]


def test_a_series_keeps_its_light_and_place_and_moves_the_camera() -> None:
    panels = [draw("a fox", framing=framing, seed=7 + n, index=n) for n, framing in enumerate(FRAMINGS)]
    corner = [panel[30:60, -60:-10].reshape(-1, 3).mean(axis=0) for panel in panels[:4]]
    assert all(np.abs(color - corner[0]).max() < 60 for color in corner)
    for n, panel in enumerate(panels):
        assert all(np.abs(panel.astype(int) - other).mean() > 3 for other in panels[:n])


@pytest.mark.parametrize("place", PLACES)
def test_every_place_is_drawn_in_every_framing(place: str) -> None:
    words = {"snowfield": "glacier", "cafe": "coffee shop"}.get(place, place)
    assert read_scene([f"a fox in the {words}"], caption="").backdrop == place
    for n, framing in enumerate(("", *FRAMINGS)):
        for time in ("", "at night"):
            pixels = draw(f"a fox in the {words} {time}", framing=framing, size=Size(160, 90 + 20 * n))
            assert pixels.std() > 12


@pytest.mark.parametrize("style", STYLES)
def test_every_style_changes_the_image(style: str) -> None:
    word = lexicon.MEANINGS["style"][style][0]
    assert read_scene([f"a fox, {word}"], caption="").style == style
    plain, styled = draw("a fox in the forest"), draw(f"a fox in the forest, {word}")
    assert np.abs(plain.astype(int) - styled).mean() > 5


def test_only_a_plain_background_is_cut_away() -> None:
    image, cut = cutout(reference())
    alpha = np.asarray(image.getchannel("A"))
    assert cut
    assert 0.2 < (alpha > 128).mean() < 0.8
    assert not cutout(photograph())[1]


def test_references_are_in_the_image_whether_the_prompt_cites_them_or_not() -> None:
    green = reference(name="t-rex")
    sizes = [Size(400, 225), Size(225, 400)]
    for size in sizes:
        for prompt in ("<<<image_1>>> in the desert", "in the desert"):
            pixels = draw_panel(Shot(0, prompt, "", 5), 1, size, (green,)).astype(int)
            greens = (pixels[..., 1] > pixels[..., 0] + 40) & (pixels[..., 1] > pixels[..., 2] + 30)
            assert greens.mean() > 0.02, prompt
    without = draw_panel(Shot(0, "in the desert", "", 5), 1, sizes[0]).astype(int)
    assert ((without[..., 1] > without[..., 0] + 40) & (without[..., 1] > without[..., 2] + 30)).mean() < 0.01


def test_ten_references_and_elements_fit_into_every_aspect_ratio() -> None:
    element = SavedElement("Robo", "", (reference(name="robot"),))
    for ratio in RATIOS:
        size = size_of(ratio, "1k")
        small = Size(size.width // 4, size.height // 4)
        references = (reference(), photograph(), reference(name="handbag"), photograph(), reference((230, 230, 240)))
        pixels = draw_panel(Shot(0, "<<<element_2>>> and friends", "", 5), 1, small, references, (element,) * 5)
        assert pixels.shape == (small.height, small.width, 3)


def test_a_reference_may_be_the_background() -> None:
    pixels = draw_panel(Shot(0, "a fox on the background <<<image_1>>>", "", 5), 1, SMALL, (reference((255, 0, 255)),))
    assert (np.abs(pixels.astype(int) - (255, 0, 255)).max(axis=2) < 90).mean() > 0.2


def test_a_damaged_reference_is_broken() -> None:
    with pytest.raises(Broken):
        draw_panel(Shot(0, "x", "", 1), 1, SMALL, (ReferenceImage(b"not an image", 400, 300),))


@pytest.mark.parametrize(
    "prompt", ["", "…", "\U0001f98a" * 50, "x" * 2500, "a\nb\tc", "مرحبا", "字" * 2500, "a fox " * 400, "3 " * 800]
)
def test_any_prompt_can_be_drawn(prompt: str) -> None:
    draw(prompt, seed=2**53 - 1, size=Size(180, 320))


@settings(max_examples=40)
@given(st.text(max_size=120), st.integers(0, 2**53 - 1), st.sampled_from(("", *FRAMINGS)))
def test_no_random_prompt_raises(prompt: str, seed: int, framing: str) -> None:
    draw(prompt, seed=seed, framing=framing, size=Size(96, 64))


@pytest.mark.parametrize(
    ("kind", "homes"),
    [("person-fantasy", "forest mountain"), ("person-sport", "meadow stage"), ("person-other", "street meadow room")],
)
def test_the_entry_with_the_longest_matching_kind_applies(kind: str, homes: str) -> None:
    assert lexicon.by_kind(lexicon.HOMES, "", kind) == homes
