"""Upstreams get files that every decoder shows in the same way."""

import io

import numpy as np
import pytest
from PIL import Image, ImageOps

from framehouse.adapters.reference_files.icc_profile import SRGB_CHROMATICITIES, SRGB_CURVE, rgb_profile
from framehouse.adapters.reference_files.open_image import open_image
from framehouse.domain.errors import Broken
from framehouse.domain.reference import MAX_REFERENCE_BYTES
from framehouse.engines.plain_file import plain_file
from tests.support.image_files import encoded, png_chunk

SRGB = rgb_profile(SRGB_CHROMATICITIES, SRGB_CURVE)
DISPLAY_P3 = rgb_profile(((0.3127, 0.3290), (0.680, 0.320), (0.265, 0.690), (0.150, 0.060)), SRGB_CURVE)


def photo(mode: str = "RGB") -> Image.Image:
    ramp = np.add.outer(np.arange(300) // 3, np.arange(400) // 4)
    pixels = np.stack([ramp, 255 - ramp, ramp // 2, np.full_like(ramp, 200)], -1).astype(np.uint8)
    return Image.fromarray(pixels, "RGBA").convert(mode)


def rotation() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif.tobytes()


JPEG, PNG = encoded(photo(), "JPEG", quality=95), encoded(photo(), "PNG")
PLAIN = {
    "JPEG": JPEG,
    "PNG": PNG,
    "grey JPEG": encoded(photo("L"), "JPEG"),
    "palette PNG": encoded(photo().quantize(), "PNG"),
    "transparent PNG": encoded(photo("RGBA"), "PNG"),
    "sRGB profile": encoded(photo(), "JPEG", icc_profile=SRGB),
}
CONVERTED = {
    "WebP": (encoded(photo(), "WEBP", lossless=True), "JPEG"),
    "transparent WebP": (encoded(photo("RGBA"), "WEBP", lossless=True), "PNG"),
    "AVIF": (encoded(photo(), "AVIF"), "JPEG"),
    "rotated JPEG": (encoded(photo(), "JPEG", exif=rotation()), "JPEG"),
    "rotated PNG": (encoded(photo(), "PNG", exif=rotation()), "PNG"),
    "CMYK JPEG": (encoded(photo("CMYK"), "JPEG"), "JPEG"),
    "JPEG without its end": (JPEG[:-2], "JPEG"),
    "PNG without its end": (PNG[:-12], "PNG"),
    "PNG with a wrong checksum": (PNG[:33] + b"\0\0\0\1tEXt-wrng" + PNG[33:], "PNG"),
    "Display P3 JPEG": (encoded(photo(), "JPEG", icc_profile=DISPLAY_P3), "JPEG"),
    "Display P3 PNG": (encoded(photo(), "PNG", icc_profile=DISPLAY_P3), "PNG"),
}


def with_segment(jpeg: bytes, body: bytes, *, at: int = 2) -> bytes:
    return jpeg[:at] + b"\xff\xe1" + (len(body) + 2).to_bytes(2) + body + jpeg[at:]


def with_chunk(png: bytes, name: bytes, body: bytes) -> bytes:
    """The PNG with a chunk before its end."""
    return png[:-12] + png_chunk(name, body) + png[-12:]


XMP = b'http://ns.adobe.com/xap/1.0/\0<x:xmpmeta xmlns:x="adobe:ns:meta/" tiff:Orientation="6"/>'
OTHER_ORIENTATIONS = {
    "XMP": with_segment(JPEG, XMP),
    "EXIF after the frame header": with_segment(JPEG, rotation(), at=JPEG.index(b"\xff\xda")),
    "eXIf after the pixels": with_chunk(PNG, b"eXIf", rotation().removeprefix(b"Exif\0\0")),
    "raw profile": with_chunk(PNG, b"tEXt", b"Raw profile type exif\0\nexif\n 4\n00"),
}


@pytest.mark.parametrize("name", OTHER_ORIENTATIONS)
def test_rotations_that_only_some_decoders_apply_are_removed(name: str) -> None:
    plain = plain_file(OTHER_ORIENTATIONS[name], convert_colours=True)
    with Image.open(io.BytesIO(plain)) as opened:
        assert ImageOps.exif_transpose(opened).size == (400, 300)
        assert not opened.info.get("xmp") and not opened.getexif()


@pytest.mark.parametrize("name", PLAIN)
def test_usual_files_are_unchanged(name: str) -> None:
    assert plain_file(PLAIN[name], convert_colours=True) is PLAIN[name]


@pytest.mark.parametrize("name", CONVERTED)
def test_other_files_are_converted_and_look_the_same(name: str) -> None:
    content, file_format = CONVERTED[name]
    plain = plain_file(content, convert_colours=True)
    with Image.open(io.BytesIO(plain)) as opened:
        assert opened.format == file_format
        assert not opened.getexif() and "icc_profile" not in opened.info
        opened.load()
    before, after = (np.asarray(open_image(file).convert("RGB"), int) for file in (content, plain))
    assert before.shape == after.shape
    assert abs(before - after).mean() < 2
    assert plain_file(plain, convert_colours=True) is plain, "the same bytes are sent if the order is repeated"


def test_colours_are_converted_only_on_request() -> None:
    content, _ = CONVERTED["Display P3 JPEG"]
    assert plain_file(content, convert_colours=False) is content


@pytest.mark.parametrize("name", ["grey JPEG", "palette PNG", "transparent PNG"])
def test_an_opaque_file_has_rgb_pixels(name: str) -> None:
    plain = plain_file(PLAIN[name], convert_colours=True, opaque=True)
    with Image.open(io.BytesIO(plain)) as opened:
        assert (opened.mode, opened.has_transparency_data) == ("RGB", False)
    assert plain_file(JPEG, convert_colours=True, opaque=True) is JPEG


def test_a_file_that_would_be_too_large_is_compressed() -> None:
    noise = np.random.default_rng(1).integers(0, 255, (2400, 2400, 3), np.uint8)
    content = encoded(Image.fromarray(noise), "JPEG", quality=88, exif=rotation())
    assert len(content) < MAX_REFERENCE_BYTES
    plain = plain_file(content, convert_colours=True)
    assert len(plain) <= MAX_REFERENCE_BYTES
    assert open_image(plain).size == (2400, 2400)


def test_a_damaged_file_is_an_error() -> None:
    with pytest.raises(Broken, match="a reference is damaged"):
        plain_file(PNG[: len(PNG) // 2], convert_colours=True)
