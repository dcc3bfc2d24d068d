"""The edits of the engine `previz` with a mask."""

import io

import numpy as np
import pytest
from PIL import Image, ImageDraw

from framehouse.domain.shot import Shot
from framehouse.domain.sizes import Size
from framehouse.engines.image_files import png_file
from framehouse.engines.interface import Batch, ReferenceImage
from framehouse.engines.previz.masked_edit import edit_image
from framehouse.engines.previz.sprites import Pixels

SIZE = Size(600, 400)
BLUE, RED = (40, 90, 200), (230, 20, 20)


def edit(prompt: str, *areas: tuple[int, int, int, int], size: Size = SIZE, seed: int = 5) -> tuple[Pixels, Pixels]:
    """Return an edited image, and which of its pixels are in the mask."""
    image, mask = Image.new("RGB", SIZE, BLUE), Image.new("L", SIZE, 0)
    for area in areas:
        mask.paste(255, area)
        if min(area[2] - area[0], area[3] - area[1]) > 40:
            ImageDraw.Draw(image).rectangle((area[0] + 20, area[1] + 20, area[2] - 20, area[3] - 20), fill=RED)
    shot = Shot(0, prompt, "", seed)
    reference = ReferenceImage(png_file(image), *SIZE)
    batch = Batch("t", (shot,), 1, size, (reference,), prompt=prompt, mask=ReferenceImage(png_file(mask), *SIZE))
    return edit_image(shot, batch), np.asarray(mask)


def is_near(
    pixels: Pixels, colour: tuple[int, int, int], tolerance: int = 40
) -> "np.ndarray[tuple[int, int], np.dtype[np.bool_]]":
    near: np.ndarray[tuple[int, int], np.dtype[np.bool_]] = np.abs(pixels.astype(int) - colour).max(axis=2) < tolerance
    return near


def test_only_the_masked_area_changes_and_shows_the_subject() -> None:
    pixels, mask = edit("a yellow banana", (200, 100, 400, 300))
    assert pixels.shape == (400, 600, 3)
    assert (pixels[mask == 0] == BLUE).all()
    area = pixels[100:300, 200:400]
    assert not is_near(area, RED).any(), "the old content is gone"
    assert is_near(area, BLUE).mean() > 0.2, "the surroundings continue around the subject"
    assert is_near(area, BLUE).mean() < 0.95, "the subject is missing"


@pytest.mark.parametrize("prompt", ["Remove the red box", "please erase it", "去掉红色的盒子"])
def test_a_prompt_can_request_to_remove_something(prompt: str) -> None:
    pixels, _ = edit(prompt, (200, 100, 400, 300))
    assert is_near(pixels, BLUE, 12).all()


def test_the_content_to_replace_is_not_drawn() -> None:
    area = (200, 100, 400, 300)
    replaced, _ = edit("Replace the tree with a banana", area)
    only, _ = edit("a banana", area)
    assert np.array_equal(replaced, only)


def test_the_subject_is_in_the_largest_area() -> None:
    pixels, _ = edit("a yellow banana", (20, 20, 80, 80), (250, 100, 500, 350))
    assert is_near(pixels[20:80, 20:80], BLUE, 12).all()
    assert not is_near(pixels[100:350, 250:500], BLUE).all()


def test_a_prompt_without_a_subject_replaces_the_scenery() -> None:
    pixels, mask = edit("a starry night sky over mountains", (0, 0, 600, 200))
    assert (pixels[mask == 0] == BLUE).all()
    assert is_near(pixels[:200], BLUE, 12).mean() < 0.5


@pytest.mark.parametrize("area", [(0, 0, 3, 3), (0, 100, 600, 104), (599, 0, 600, 400), (0, 0, 599, 400)])
@pytest.mark.parametrize("size", [SIZE, Size(400, 400), Size(300, 450)])
def test_narrow_and_large_areas_are_edited(area: tuple[int, int, int, int], size: Size) -> None:
    pixels, _ = edit("a cat and a dog in the rain", area, size=size)
    assert pixels.shape == (size.height, size.width, 3)


def test_the_same_seed_gives_the_same_pixels() -> None:
    first, second, other = (edit("a cat", (100, 100, 300, 300), seed=seed)[0] for seed in (1, 1, 2))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)


def test_other_references_are_drawn_into_the_area() -> None:
    image = Image.new("RGB", SIZE, BLUE)
    mask = Image.new("L", SIZE, 0)
    mask.paste(255, (200, 100, 400, 300))
    buffer = io.BytesIO()
    Image.new("RGB", (300, 300), RED).save(buffer, "JPEG")
    shot = Shot(0, "the box of <<<image_2>>>", "", 1)
    references = (ReferenceImage(png_file(image), *SIZE), ReferenceImage(buffer.getvalue(), 300, 300))
    batch = Batch("t", (shot,), 1, SIZE, references, prompt=shot.prompt, mask=ReferenceImage(png_file(mask), *SIZE))
    assert is_near(edit_image(shot, batch), RED).sum() > 2000
