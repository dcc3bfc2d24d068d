"""Finishing of images: encoding, metadata, the watermark, and resizing."""

import io
import json
import zlib
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from framehouse.adapters.images.encode import _adler32_combine, encode
from framehouse.adapters.images.image_metadata import describe
from framehouse.adapters.images.resize import resize_and_crop
from framehouse.adapters.images.watermark import add_watermark
from framehouse.domain.sizes import Size
from framehouse.domain.task import OutputFormat

FACTS = {"model": "kling-v3-omni", "engine": "previz", "seed": 7, "task": "t", "prompt": '狐狸 <"&>'}
METADATA = describe(FACTS, software="Framehouse 9", source_type="trainedAlgorithmicMedia")


def noise(height: int, width: int, seed: int = 1) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def opened(content: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(content))
    image.load()
    return image


@pytest.mark.parametrize("height", [1, 255, 256, 257, 600])
def test_png_is_lossless(height: int) -> None:
    pixels = noise(height, 31)
    image = opened(encode(pixels, "png", METADATA).content)
    assert image.mode == "RGB"
    assert np.array_equal(np.asarray(image), pixels)


def test_a_watermarked_png_shares_the_bands_that_did_not_change() -> None:
    pixels = noise(700, 640)
    clean = encode(pixels, "png", METADATA)
    marked, rows = add_watermark(pixels, "AI generated")
    copy = encode(marked, "png", METADATA, like=clean, changed_rows=rows)
    assert np.array_equal(np.asarray(opened(copy.content)), marked)
    assert copy.bands[0] is clean.bands[0]
    assert copy.bands[-1] != clean.bands[-1]


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_adler32_checksums_are_combined(first: bytes, second: bytes) -> None:
    combined = _adler32_combine(zlib.adler32(first), zlib.adler32(second), len(second))
    assert combined == zlib.adler32(first + second)


@given(st.text(max_size=50))
@example("<\ufffe\uffff\x00\x1b\x85\u2028]]>&\"'")
def test_every_prompt_results_in_valid_xml(prompt: str) -> None:
    prompt = prompt.encode(errors="replace").decode()
    xmp = describe({"prompt": prompt}, software="T", source_type="algorithmicMedia").xmp.decode()
    root = ElementTree.fromstring(xmp[xmp.index("<x:") : xmp.index("<?xpacket end")])
    facts = next(value for element in root.iter() for name, value in element.items() if name.endswith("facts"))
    assert json.loads(facts)["prompt"] == prompt


@pytest.mark.parametrize(("format", "pillow"), [("png", "PNG"), ("jpeg", "JPEG"), ("webp", "WEBP")])
def test_the_facts_are_in_the_file(format: OutputFormat, pillow: str) -> None:
    image = opened(encode(noise(64, 64), format, METADATA).content)
    assert image.format == pillow
    xmp = image.info["xmp"].decode()
    for part in ("trainedAlgorithmicMedia", "made by AI", "Framehouse 9", "kling-v3-omni", "狐狸"):
        assert part in xmp
    ElementTree.fromstring(xmp[xmp.index("<x:") : xmp.index("<?xpacket end")])
    if format == "png":
        assert '"seed":7' in image.info["Comment"]


@pytest.mark.parametrize("background", [0, 128, 255])
def test_the_watermark_is_legible_on_dark_and_light_backgrounds(background: int) -> None:
    pixels = np.full((720, 1280, 3), background, np.uint8)
    marked, (top, bottom) = add_watermark(pixels, "AI generated")
    corner = marked[top:bottom, -400:].astype(int)
    assert corner.max() - corner.min() > 90
    assert np.array_equal(marked[:top], pixels[:top])
    assert np.all(pixels == background), "the original was changed"


def test_a_watermark_of_long_or_chinese_text_or_a_wide_logo_fits_into_the_image() -> None:
    logo = io.BytesIO()
    Image.new("RGBA", (3000, 40), (255, 0, 0, 255)).save(logo, "PNG")
    for text, content in (("人工智能生成", b""), ("x" * 60, b""), ("", logo.getvalue())):
        marked, (top, bottom) = add_watermark(np.full((300, 400, 3), 90, np.uint8), text, content)
        assert marked.shape == (300, 400, 3)
        assert 0 <= top < bottom <= 300
        assert (marked != 90).any()


@settings(max_examples=30)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 90), st.integers(1, 90))
def test_a_resized_image_has_the_exact_size(width: int, height: int, new_width: int, new_height: int) -> None:
    resized = resize_and_crop(noise(height, width), Size(new_width, new_height))
    assert resized.shape == (new_height, new_width, 3)
