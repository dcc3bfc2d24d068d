"""Previews of generated images, and their ThumbHashes."""

import io
from base64 import b64encode

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from framehouse.adapters.images.image_metadata import describe
from framehouse.adapters.images.preview import PREVIEW_PX, create_preview
from framehouse.adapters.images.thumb_hash import thumb_hash

HASHES = {
    (100, 100): "IgcKVxpwd3d9iHeHeId4d3d4Nwd3gIgI",
    (100, 56): "IQcKVJhwd3eNeHd3d3hzgAeIhw==",
    (56, 100): "IQcKVBhw1nh3eHh3h3dzgAeIhw==",
    (100, 20): "IQcKWZiAdnd8d3d4g3AHl5g=",
    (1, 1): "FQAq/wEI9wiIh4hwj3CI+AiIcH/4AAAA",
}
"""The ThumbHashes of the drawn images, as computed by the package thumbhash 0.1.2."""


def drawn(width: int, height: int) -> NDArray[np.uint8]:
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    red, blue = x * 255 // max(1, width - 1), 255 - y * 200 // max(1, height - 1)
    return np.stack([red, (x * y * 7) % 256, blue], -1).astype(np.uint8)


@pytest.mark.parametrize("size", HASHES)
def test_the_hash_equals_that_of_another_implementation(size: tuple[int, int]) -> None:
    assert b64encode(thumb_hash(drawn(*size))).decode() == HASHES[size]


def test_a_plain_image_has_a_hash_without_noise() -> None:
    plain = thumb_hash(np.full((60, 100, 3), (200, 80, 40), np.uint8))
    assert plain[5:] == bytes(len(plain) - 5)


@pytest.mark.parametrize(
    ("width", "height", "expected"),
    [
        (4096, 4096, (512, 512)),
        (5504, 2368, (512, 220)),
        (1000, 3000, (171, 512)),
        (1023, 1023, (512, 512)),
        (513, 300, (512, 299)),
        (512, 512, (512, 512)),
        (300, 200, (300, 200)),
        (8192, 1024, (512, 64)),
    ],
)
def test_a_preview_is_small_and_looks_like_the_image(width: int, height: int, expected: tuple[int, int]) -> None:
    smooth = Image.fromarray(drawn(8, 8)).resize((width, height), Image.Resampling.BICUBIC)
    content, hashed, _ = create_preview(np.asarray(smooth), b"")
    with Image.open(io.BytesIO(content)) as preview:
        assert (preview.format, preview.size) == ("WEBP", expected)
        shown = np.asarray(preview.convert("RGB"), int)
    assert abs(shown - np.asarray(smooth.resize(expected, Image.Resampling.BOX), int)).mean() < 6
    assert 5 < len(hashed) <= 25
    assert max(preview.size) <= PREVIEW_PX


def test_a_preview_of_a_part_of_an_array_and_with_metadata() -> None:
    pixels = drawn(1200, 900)[::-1, ::2]  # not contiguous
    metadata = describe({}, software="Framehouse", source_type="trainedAlgorithmicMedia")
    content, *_ = create_preview(pixels, metadata.xmp)
    with Image.open(io.BytesIO(content)) as preview:
        assert preview.info["xmp"] == metadata.xmp
