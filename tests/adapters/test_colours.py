"""References have the colours and the orientation that a browser shows.

The comparisons with Chromium show that the conversions are right. The other tests need no browser.
"""

import base64
import struct
import zlib
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from playwright.async_api import Browser, Page

from framehouse.adapters.images.decode import check_image
from framehouse.adapters.reference_files.colour_profile import MAX_PROFILE_BYTES, find_profile
from framehouse.adapters.reference_files.colours import _without_process_elements
from framehouse.adapters.reference_files.icc_profile import SRGB_CHROMATICITIES, SRGB_CURVE, rgb_profile
from framehouse.adapters.reference_files.open_image import open_image
from framehouse.engines.image_files import decode_reference_rgb
from tests.support import image_files
from tests.support.image_files import png_chunk

_D65 = (0.3127, 0.3290)
ADOBE = rgb_profile((_D65, (0.64, 0.33), (0.21, 0.71), (0.15, 0.06)), (563 / 256,))
DISPLAY_P3 = rgb_profile((_D65, (0.680, 0.320), (0.265, 0.690), (0.150, 0.060)), SRGB_CURVE)
PROPHOTO = rgb_profile(((0.3457, 0.3585), (0.7347, 0.2653), (0.1596, 0.8404), (0.0366, 0.0001)), (1.8,))
SRGB = rgb_profile(SRGB_CHROMATICITIES, SRGB_CURVE)
GREY = ADOBE[:16] + b"GRAY" + ADOBE[20:].replace(b"rTRC", b"kTRC")
MAX_DIFFERENCE = 0.8
"""The maximum mean difference of the pixels from those of a browser. Values are from 0 to 255."""
LEVELS = (0, 32, 64, 96, 128, 160, 192, 224, 255)


def chart(scale: int = 16) -> Image.Image:
    colours = np.array([(r, g, b) for r in LEVELS for g in LEVELS for b in LEVELS], np.uint8).reshape(27, 27, 3)
    return Image.fromarray(colours).resize((27 * scale, 27 * scale), Image.Resampling.NEAREST)


def greys(dtype: type = np.uint8) -> Image.Image:
    values = np.tile(np.arange(256, dtype=np.uint32) * (257 if dtype is np.uint16 else 1), (320, 2))
    return Image.fromarray(values.astype(dtype))


def inks() -> Image.Image:
    levels = range(0, 256, 51)
    colours = [(c, m, y, k) for c in levels for m in levels for y in levels for k in levels]
    image = Image.fromarray(np.array(colours, np.uint8).reshape(36, 36, 4), "CMYK")
    return image.resize((36 * 16, 36 * 16), Image.Resampling.NEAREST)


def with_alpha() -> Image.Image:
    image = chart().convert("RGBA")
    image.putalpha(Image.fromarray(np.tile(np.linspace(0, 255, image.width).astype(np.uint8), (image.height, 1))))
    return image


def encoded(image: Image.Image, file_format: str, profile: bytes = b"", **options: Any) -> bytes:
    if file_format == "JPEG":
        options = {"quality": 95, "subsampling": 0, **options}
    return image_files.encoded(image, file_format, icc_profile=profile or None, **options)


def png(*chunks: bytes, image: Image.Image | None = None) -> bytes:
    content = encoded(image or chart(), "PNG")
    return content[:33] + b"".join(chunks) + content[33:]


def grey_png(depth: int, transparent: int) -> bytes:
    """A grey PNG of 512x320 pixels whose columns have increasing values. One value is transparent."""
    values = np.tile(np.linspace(0, 2**depth - 1, 512).round().astype(">u2"), (320, 1))
    values[:, 100:200] = transparent
    if depth == 16:
        rows = values.view(np.uint8)
    else:
        bits = np.unpackbits(values.astype(np.uint8)[..., None], axis=-1)[..., -depth:]
        rows = np.packbits(bits.reshape(320, -1), axis=1)
    header = struct.pack(">IIBBBBB", 512, 320, depth, 0, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    chunks = png_chunk(b"IHDR", header) + png_chunk(b"tRNS", struct.pack(">H", transparent))
    return b"\x89PNG\r\n\x1a\n" + chunks + png_chunk(b"IDAT", data) + png_chunk(b"IEND", b"")


def gamma(value: int) -> bytes:
    return png_chunk(b"gAMA", struct.pack(">I", value))


def chromaticities(*numbers: float) -> bytes:
    return png_chunk(b"cHRM", struct.pack(">8I", *(round(number * 100_000) for number in numbers)))


def profile_chunk(profile: bytes) -> bytes:
    return png_chunk(b"iCCP", b"name\0\0" + zlib.compress(profile))


def coded(primaries: int, transfer: int, matrix: int = 0, full_range: int = 1) -> bytes:
    return png_chunk(b"cICP", bytes((primaries, transfer, matrix, full_range)))


def avif(primaries: int, transfer: int) -> bytes:
    content = encoded(chart(), "AVIF", quality=100, subsampling="4:4:4")
    at = content.index(b"nclx") + 4
    return content[:at] + struct.pack(">HH", primaries, transfer) + content[at + 4 :]


def printer_profile() -> bytes:
    """A profile of a printer: a table (mft1) from CMYK to Lab with two levels per ink."""
    table = bytearray()
    for index in range(16):
        c, m, y, k = (index >> 3 & 1, index >> 2 & 1, index >> 1 & 1, index & 1)
        lightness = 255 * (1 - 0.35 * c) * (1 - 0.45 * m) * (1 - 0.1 * y) * (1 - 0.85 * k)
        table += bytes((round(lightness), round(128 - 35 * c + 60 * m), round(128 - 40 * c + 80 * y - 5 * m)))
    identity = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    tag = b"mft1\0\0\0\0" + bytes((4, 3, 2, 0)) + identity + bytes(range(256)) * 4 + table + bytes(range(256)) * 3
    start = 128 + 4 + 12
    header = struct.pack(">I4xI4s4s4s12x4s28x", start + len(tag), 0x02100000, b"prtr", b"CMYK", b"Lab ", b"acsp")
    header += struct.pack(">3i", 63190, 65536, 54061)
    return header.ljust(128, b"\0") + struct.pack(">I4sII", 1, b"A2B0", start, len(tag)) + tag


def rotated(file_format: str, orientation: int, **options: Any) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    quarters = np.zeros((360, 480, 3), np.uint8)
    quarters[:180, :240], quarters[:180, 240:], quarters[180:, :240] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    return encoded(Image.fromarray(quarters), file_format, exif=exif.tobytes(), **options)


FILES = {
    "plain PNG": png(),
    "grey 16-bit PNG": encoded(greys(np.uint16), "PNG"),
    "palette PNG": encoded(chart().quantize(256), "PNG", DISPLAY_P3),
    "AdobeRGB PNG": encoded(chart(), "PNG", ADOBE),
    "AdobeRGB JPEG": encoded(chart(), "JPEG", ADOBE),
    "Display P3 JPEG": encoded(chart(), "JPEG", DISPLAY_P3),
    "ProPhoto PNG": encoded(chart(), "PNG", PROPHOTO),
    "sRGB JPEG": encoded(chart(), "JPEG", SRGB),
    "grey PNG": encoded(greys(), "PNG", GREY),
    "grey JPEG": encoded(greys(), "JPEG", GREY),
    "grey PNG with RGB profile": encoded(greys(), "PNG", PROPHOTO),
    "RGB PNG with grey profile": encoded(chart(), "PNG", GREY),
    "grey PNG with a transparent value": encoded(greys(), "PNG", transparency=200),
    "2-bit grey PNG with a transparent value": grey_png(2, 2),
    "4-bit grey PNG with a transparent value": grey_png(4, 9),
    "16-bit grey PNG with a transparent value": grey_png(16, 200 * 257),
    "transparent PNG": encoded(with_alpha(), "PNG", ADOBE),
    "CMYK JPEG": encoded(inks(), "JPEG"),
    "CMYK JPEG with profile": encoded(inks(), "JPEG", printer_profile()),
    "RGB JPEG with CMYK profile": encoded(chart(), "JPEG", printer_profile()),
    "damaged profile": encoded(chart(), "PNG", ADOBE[:200]),
    "damaged profile and gamma": png(png_chunk(b"iCCP", b"name\0\0damaged"), gamma(100_000)),
    "WebP": encoded(chart(), "WEBP", lossless=True),
    "WebP with profile": encoded(chart(), "WEBP", ADOBE, lossless=True),
    "lossy WebP with profile": encoded(chart(), "WEBP", DISPLAY_P3, quality=90),
    "transparent WebP": encoded(with_alpha(), "WEBP", ADOBE, lossless=True, exact=True),
    "AVIF": encoded(chart(), "AVIF"),
    "AVIF with profile": encoded(chart(), "AVIF", ADOBE, quality=100, subsampling="4:4:4"),
    "transparent AVIF": encoded(with_alpha(), "AVIF", quality=100, subsampling="4:4:4"),
    **{f"AVIF nclx {numbers}": avif(*numbers) for numbers in ((12, 13), (9, 14), (1, 1), (1, 4), (1, 8))},
    "gamma 1": png(gamma(100_000)),
    "gamma 2.2": png(gamma(45_455)),
    "gamma 3.3": png(gamma(30_000)),
    "gamma 0": png(gamma(0)),
    "grey gamma": png(gamma(100_000), image=greys()),
    "gamma and AdobeRGB": png(gamma(45_455), chromaticities(*_D65, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06)),
    "gamma and impossible primaries": png(gamma(45_455), chromaticities(*[0] * 8)),
    "AdobeRGB primaries without gamma": png(chromaticities(*_D65, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06)),
    "sRGB chunk before gamma": png(png_chunk(b"sRGB", b"\0"), gamma(100_000)),
    "profile before gamma": png(profile_chunk(ADOBE), gamma(100_000)),
    "profile before sRGB chunk": png(profile_chunk(ADOBE), png_chunk(b"sRGB", b"\0")),
    "cICP before profile": png(coded(12, 13), profile_chunk(ADOBE)),
    "cICP with unknown numbers": png(coded(2, 2), profile_chunk(ADOBE)),
    "cICP with narrow range": png(coded(12, 13, full_range=0)),
    **{f"cICP primaries {number}": png(coded(number, 13)) for number in (1, 4, 5, 6, 7, 8, 9, 11, 12, 22)},
    **{f"cICP transfer {number}": png(coded(1, number)) for number in (1, 4, 5, 6, 7, 8, 11, 14, 15, 17)},
    **{f"JPEG orientation {number}": rotated("JPEG", number, quality=100) for number in range(1, 9)},
    **{
        f"AVIF orientation {number}": rotated("AVIF", number, quality=100, subsampling="4:4:4")
        for number in range(1, 9)
    },
    "WebP orientation": rotated("WEBP", 6, lossless=True),
}
MEDIA_TYPES = {b"\x89PNG": "image/png", b"RIFF": "image/webp", b"\xff\xd8\xff\xe0": "image/jpeg"}
_READ_PIXELS = """async (url) => {
    const image = new Image();
    image.src = url;
    await image.decode();
    const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight);
    const context = canvas.getContext("2d");
    context.drawImage(image, 0, 0);
    const pixels = context.getImageData(0, 0, canvas.width, canvas.height).data;
    const parts = [];
    for (let at = 0; at < pixels.length; at += 8192) parts.push(String.fromCharCode(...pixels.subarray(at, at + 8192)));
    return [canvas.width, canvas.height, btoa(parts.join(""))];
}"""


async def shown_by_browser(page: Page, content: bytes) -> NDArray[np.uint8]:
    """The pixels of an image in a browser, as an array of shape (height, width, 4)."""
    media_type = next((name for start, name in MEDIA_TYPES.items() if content.startswith(start[:4])), "image/avif")
    if content.startswith(b"\xff\xd8"):
        media_type = "image/jpeg"
    url = f"data:{media_type};base64,{base64.b64encode(content).decode()}"
    width, height, pixels = await page.evaluate(_READ_PIXELS, url)
    return np.frombuffer(base64.b64decode(pixels), np.uint8).reshape(height, width, 4)


@pytest.fixture
async def page(browser: Browser) -> AsyncIterator[Page]:
    page = await browser.new_page()
    yield page
    await page.close()


async def test_colours_and_orientation_are_those_of_a_browser(page: Page) -> None:
    wrong = {}
    for name, content in FILES.items():
        shown = await shown_by_browser(page, content)
        ours = np.asarray(open_image(content).convert("RGBA"))
        assert ours.shape == shown.shape, name
        assert check_image(content) == (shown.shape[1], shown.shape[0]), name
        opaque = shown[..., 3] > 128  # a browser stores transparent colours with less precision
        # Chromium reads the transparency of an AVIF file as video with a narrow range, but libavif does not
        channels = 3 if "AVIF" in name else 4
        difference = abs(ours.astype(int) - shown)[opaque][:, :channels].mean()
        if difference > MAX_DIFFERENCE:
            wrong[name] = round(float(difference), 2)
    assert not wrong


def test_engines_get_the_converted_colours() -> None:
    green = Image.new("RGB", (400, 400), (96, 160, 96))
    assert decode_reference_rgb(encoded(green, "PNG", ADOBE)).getpixel((0, 0)) == (39, 161, 92)
    assert decode_reference_rgb(encoded(green, "PNG", SRGB)).getpixel((0, 0)) == (96, 160, 96)


def test_a_profile_for_another_kind_of_image_is_not_opened() -> None:
    for image, file_format, profile in (
        (chart(), "PNG", GREY),
        (chart(), "JPEG", printer_profile()),
        (inks(), "JPEG", ADOBE),
        (greys(), "JPEG", printer_profile()),
        (chart(), "WEBP", GREY),
        (chart(), "AVIF", GREY),
    ):
        assert find_profile(encoded(image, file_format, profile)) == b""


def test_multi_process_elements_are_removed() -> None:
    """Little CMS would need hours or gigabytes for hostile elements."""
    tags = ADOBE.replace(b"wtpt", b"D2B0")
    assert b"D2B0" not in _without_process_elements(tags)
    with_tag, without = (np.asarray(open_image(encoded(chart(), "PNG", profile))) for profile in (tags, ADOBE))
    assert np.array_equal(with_tag, without)


def test_huge_and_hostile_profiles_are_ignored() -> None:
    too_large = b"\0" * (MAX_PROFILE_BYTES + 1)
    for content in (
        png(profile_chunk(too_large)),
        encoded(chart(), "JPEG", too_large),
        encoded(chart(), "WEBP", too_large),
        png(profile_chunk(ADOBE[:131] + b"\xff" + ADOBE[132:])),
        png(profile_chunk(ADOBE.replace(b"para", b"curv"))),
        encoded(inks(), "JPEG", printer_profile()[:-700]),
    ):
        assert np.asarray(open_image(content)).shape[2] == 3
    assert find_profile(png(profile_chunk(too_large))) == b""
