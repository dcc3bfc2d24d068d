"""The area of the subject of an image, and the similarity of two images of a series."""

import asyncio

import pytest
from PIL import Image, ImageDraw

from framehouse.domain.shot import FRAMINGS, Shot
from framehouse.domain.sizes import Size
from framehouse.engines.interface import Batch, GeneratedImage
from framehouse.engines.previz import Previz
from framehouse.engines.series_look import similarity, subject_box

PROMPTS = ("A small wooden boat crosses a calm lake", "A red fox in the snow at night", "A chef cooks in a kitchen")


def _scene(left: int, top: int, right: int, bottom: int) -> Image.Image:
    image = Image.linear_gradient("L").resize((1200, 800)).convert("RGB")
    ImageDraw.Draw(image).ellipse((left, top, right, bottom), fill=(220, 40, 30))
    return image


@pytest.mark.parametrize("subject", [(500, 300, 800, 600), (200, 300, 500, 650), (700, 200, 900, 500)])
def test_the_box_contains_the_subject_and_little_else(subject: tuple[int, int, int, int]) -> None:
    box = subject_box(_scene(*subject))
    assert box
    left, top, right, bottom = subject
    assert box.left <= left + 15
    assert box.top <= top + 15
    assert box.left + box.width >= right - 15
    assert box.top + box.height >= bottom - 15
    assert box.width * box.height <= 3 * (right - left) * (bottom - top)


@pytest.mark.parametrize("image", [Image.new("RGB", (640, 480), "white"), _scene(150, 100, 1050, 700)])
def test_an_image_without_a_separate_subject_has_no_box(image: Image.Image) -> None:
    assert subject_box(image) is None


@pytest.mark.parametrize("size", [(1, 1), (2, 900), (3000, 7)])
def test_tiny_and_narrow_images_are_accepted(size: tuple[int, int]) -> None:
    image = Image.effect_noise(size, 80).convert("RGB")
    subject_box(image)
    assert similarity(image, image) == pytest.approx(1, abs=0.26)


def _series(prompt: str) -> list[Image.Image]:
    shots = tuple(Shot(index, prompt, FRAMINGS[index], 100 + index) for index in range(3))
    batch = Batch("task", shots, 3, Size(624, 416), prompt=prompt, series=True)

    async def generate() -> list[Image.Image]:
        events = [event async for event in Previz().generate(batch)]
        return [Image.fromarray(event.pixels) for event in events if isinstance(event, GeneratedImage)]

    return asyncio.run(generate())


def test_images_of_one_series_are_more_similar_than_images_of_different_series() -> None:
    series = [_series(prompt) for prompt in PROMPTS]
    within = [similarity(images[0], image) for images in series for image in images[1:]]
    across = [similarity(one[0], image) for one in series for other in series if other is not one for image in other]
    assert min(within) > max(across)
    assert similarity(series[0][0], series[0][0]) == 1
