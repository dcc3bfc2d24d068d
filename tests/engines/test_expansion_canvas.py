"""The canvas and the mask for models that expand images."""

import numpy as np
import pytest
from PIL import Image

from framehouse.adapters.images.resize import resize_and_crop
from framehouse.domain.expansion import Box, Expansion, layout
from framehouse.domain.sizes import Size
from framehouse.engines.expansion_canvas import canvas_size, draw_canvas
from framehouse.engines.image_files import png_file

EXPANSIONS = [
    Expansion(up=0.5, down=0.5, left=0.5, right=0.2),
    Expansion(right=2),
    Expansion(up=0.01),
    Expansion(down=1, left=0.3),
]


def gradient(width: int, height: int) -> Image.Image:
    red, green = np.linspace(0, 255, width), np.linspace(0, 255, height)
    pixels = np.zeros((height, width, 3))
    pixels[..., 0], pixels[..., 1] = red, green[:, None]
    return Image.fromarray(pixels.round().astype(np.uint8))


def test_a_canvas_has_the_aspect_ratio_of_the_expanded_image_within_the_limits() -> None:
    assert canvas_size(Size(1600, 900), max_pixels=10**8) == (1600, 896)
    assert canvas_size(Size(600, 400), max_pixels=10**8) == (1248, 832), "small images get a larger canvas"
    assert canvas_size(Size(8000, 4000), max_pixels=1024 * 1024) == (1440, 720)
    assert canvas_size(Size(8000, 4000), max_pixels=10**8, max_edge=3840) == (3840, 1920)
    assert canvas_size(Size(3000, 400), max_pixels=40_000) == (544, 64)
    for size in (Size(8000, 1000), Size(306, 1990)):
        canvas = canvas_size(size, max_pixels=3840 * 2160, max_edge=3840, max_ratio=2.9)
        assert max(canvas) <= 3 * min(canvas)


@pytest.mark.parametrize("expansion", EXPANSIONS)
@pytest.mark.parametrize("canvas", [None, Size(1024, 1024), Size(1536, 1024), Size(1024, 1536)])
def test_the_original_image_keeps_its_place_after_the_worker_has_cropped_the_canvas(
    expansion: Expansion, canvas: Size | None
) -> None:
    original = gradient(800, 600)
    size, box = layout(expansion, 800, 600)
    image, mask = draw_canvas(png_file(original), size, box, canvas or canvas_size(size, max_pixels=10**6))
    assert image.size == mask.size == (canvas or canvas_size(size, max_pixels=10**6))
    finished = resize_and_crop(np.asarray(image), size)
    inner = finished[box.top : box.top + box.height, box.left : box.left + box.width].astype(int)
    difference = np.abs(inner - np.asarray(original))[8:-8, 8:-8]
    assert difference.max() <= 3, "the original image is at another place"
    cropped_mask = resize_and_crop(np.asarray(mask.convert("RGB")), size)[..., 0]
    kept = np.asarray(cropped_mask) < 128
    outside = np.ones_like(kept)
    outside[box.top : box.top + box.height, box.left : box.left + box.width] = False
    assert not (kept & outside)[1:-1, 1:-1].any(), "the model does not generate all of the surroundings"
    assert kept.sum() > 0.85 * box.width * box.height, "the model generates too much of the original image"


def test_the_surroundings_continue_the_edges_and_the_mask_overlaps_only_expanded_edges() -> None:
    image, mask = draw_canvas(png_file(gradient(640, 640)), Size(1280, 640), Box(0, 0, 640, 640), Size(1280, 640))
    pixels = np.asarray(image)
    assert abs(int(pixels[320, 645, 0]) - 255) < 20, "the canvas does not continue the edge"
    assert (np.asarray(mask) == 255).sum() == 640 * 640 + 8 * 640
    assert np.asarray(mask)[0, 0] == 0, "the mask covers an edge that is not expanded"
