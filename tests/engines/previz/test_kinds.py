"""The panels of the engine `previz` for requests with roles, negative prompts and expansions."""

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from framehouse.domain.expansion import Expansion, layout
from framehouse.domain.reference import ReferenceRole
from framehouse.domain.shot import Shot
from framehouse.domain.sizes import Size
from framehouse.engines.interface import ReferenceImage
from framehouse.engines.previz.expand import expand_image
from framehouse.engines.previz.panel import draw_panel
from framehouse.engines.previz.pictograms import raster
from framehouse.engines.previz.reading import read_scene, without_items
from framehouse.engines.previz.sprites import Pixels

SIZE = Size(480, 270)
MAGENTA, GREEN = (255, 0, 255), (0, 160, 0)


def png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def plain(color: tuple[int, int, int], role: ReferenceRole) -> ReferenceImage:
    return ReferenceImage(png(Image.new("RGB", (400, 400), color)), 400, 400, role)


def object_of(name: str, role: ReferenceRole) -> ReferenceImage:
    """Return a pictogram on a white background, like a product photo."""
    pictogram = Image.fromarray(raster(name, None, 300))
    image = Image.new("RGB", (400, 400), "white")
    image.paste(pictogram, (50, 50), pictogram)
    return ReferenceImage(png(image), 400, 400, role)


def draw(prompt: str, *references: ReferenceImage, negative_prompt: str = "") -> Pixels:
    return draw_panel(Shot(0, prompt, "", 5), 1, SIZE, references, negative_prompt=negative_prompt)


def matches(pixels: Pixels, color: tuple[int, int, int], tolerance: int = 35) -> NDArray[np.bool_]:
    """Return for each pixel whether its colour is similar to `color`."""
    similar: NDArray[np.bool_] = np.abs(pixels.astype(int) - color).max(axis=2) < tolerance
    return similar


def near(pixels: Pixels, color: tuple[int, int, int]) -> float:
    return float(matches(pixels, color, 90).mean())


def photo(width: int = 600, height: int = 400) -> tuple[bytes, Pixels]:
    """Return a bright image whose colours change slowly, as a file and as pixels."""
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    pixels = np.stack([200 + 50 * x, 150 + 100 * y, 250 - 60 * x * y], axis=2).astype(np.uint8)
    return png(Image.fromarray(pixels)), pixels


@pytest.mark.parametrize("side", ["left", "right", "up", "down"])
def test_an_expanded_scene_continues_without_a_visible_edge(side: str) -> None:
    content, original = photo()
    size, box = layout(Expansion(**{side: 0.5}), 600, 400)
    expanded = expand_image(content, size, box, 3).astype(float)
    assert expanded.shape == (size.height, size.width, 3)
    kept = original.astype(float)
    inside, outside = {
        "left": (kept[:, :8], expanded[:, box.left - 8 : box.left]),
        "right": (kept[:, -8:], expanded[:, box.width : box.width + 8]),
        "up": (kept[:8], expanded[box.top - 8 : box.top]),
        "down": (kept[-8:], expanded[box.height : box.height + 8]),
    }[side]
    along = 1 if side in ("left", "right") else 0
    difference = np.abs(inside.mean(axis=along) - outside.mean(axis=along))
    assert difference.max() < 6, "the colours change at the edge of the original image"
    assert difference.mean() < 3


def test_the_images_of_an_expansion_differ_by_their_seeds() -> None:
    content, _ = photo()
    size, box = layout(Expansion(up=0.5), 600, 400)
    assert not np.array_equal(expand_image(content, size, box, 3), expand_image(content, size, box, 4))


def test_a_scene_image_is_the_background_and_not_a_subject() -> None:
    subject, scene = object_of("t-rex", "subject"), plain(MAGENTA, "scene")
    assert near(draw("", subject, scene), MAGENTA) > 0.3
    assert near(draw("", subject), MAGENTA) < 0.01


def test_a_style_image_tints_the_panel_and_is_not_a_subject() -> None:
    subject = object_of("handbag", "subject")
    tinted, other = (draw("", subject, plain(color, "style")).mean(axis=(0, 1)) for color in (GREEN, MAGENTA))
    assert tinted[1] - tinted[[0, 2]].mean() > other[1] - other[[0, 2]].mean() + 30


def test_a_person_wears_the_clothes_on_the_body() -> None:
    prompt = "Show the person of <<<image_1>>>. The person wears the clothes of <<<image_2>>>."
    pixels = draw(prompt, object_of("person", "human"), object_of("t-shirt", "cloth"))
    person = np.nonzero(matches(pixels, (255, 202, 60)))  # the skin of the face and the hands
    cloth = np.nonzero(matches(pixels, (134, 217, 43)))
    assert len(cloth[0]) > 0.005 * pixels.shape[0] * pixels.shape[1]
    assert np.percentile(person[0], 50) < cloth[0].min(), "the clothes are below the face"
    assert abs(person[1].mean() - cloth[1].mean()) < 0.03 * SIZE.width


@pytest.mark.parametrize(
    ("prompt", "negative_prompt", "names"),
    [
        ("a dog and a cat in the garden", "dogs", {"cat"}),
        ("a dog and a cat in the garden", "cat, bird", {"dog"}),
        ("花园里的狗和猫", "猫", {"dog"}),
        ("a dog and a cat in the garden", "blurry, low quality", {"dog", "cat"}),
    ],
)
def test_a_negative_prompt_removes_subjects(prompt: str, negative_prompt: str, names: set[str]) -> None:
    scene = read_scene((prompt, *without_items(negative_prompt)), caption="")
    assert {subject.name for subject in scene.subjects} == names
    assert np.array_equal(draw(prompt), draw(prompt, negative_prompt=negative_prompt)) == (names == {"dog", "cat"}), (
        "the panel changes if and only if a subject is removed"
    )


def test_a_negative_prompt_removes_the_weather() -> None:
    assert not np.array_equal(draw("a street in the rain"), draw("a street in the rain", negative_prompt="rain"))
