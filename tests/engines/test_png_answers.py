"""The PNG files of Framehouse servers are decoded without Pillow."""

import zlib

import numpy as np
import pytest
from PIL import Image

from framehouse.adapters.images.encode import encode
from framehouse.adapters.images.image_metadata import describe
from framehouse.engines.image_files import Png, read_answer
from tests.support.image_files import encoded, png_chunk

METADATA = describe({}, software="Framehouse", source_type="algorithmicMedia")
PIXELS = np.random.default_rng(1).integers(0, 255, (700, 90, 3), np.uint8)


@pytest.mark.parametrize("enlarged", [False, True])
def test_a_file_of_framehouse_has_the_same_pixels(enlarged: bool) -> None:
    png = read_answer(encode(PIXELS, "png", METADATA, enlarged=enlarged).content)
    assert isinstance(png, Png)
    assert np.array_equal(png.decoded(), PIXELS)


def test_damaged_metadata_does_not_matter() -> None:
    """A paid image must not be lost because of its metadata."""
    file = encoded(Image.fromarray(np.sort(PIXELS, axis=0)), "PNG")
    for name, body in ((b"zTXt", b"k\0\0" + zlib.compress(bytes(2_000_000))), (b"pHYs", b"\0"), (b"tRNS", b"\0")):
        png = read_answer(file[:33] + png_chunk(name, body) + file[33:])
        assert isinstance(png, Png)
        assert np.array_equal(png.decoded(), np.sort(PIXELS, axis=0))


def test_a_file_with_other_filters_has_the_same_pixels() -> None:
    png = read_answer(encoded(Image.fromarray(np.sort(PIXELS, axis=0)), "PNG"))
    assert isinstance(png, Png)
    assert set(png.rows[:: 90 * 3 + 1]) - {0, 2}, "Pillow has used other filters"
    assert np.array_equal(png.decoded(), np.sort(PIXELS, axis=0))
