"""Images that browsers show are accepted, although their metadata is damaged. Images without all pixels are refused."""

import io
import struct
import time
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from framehouse.adapters.images.decode import check_image
from framehouse.adapters.reference_files.file_types import file_type
from framehouse.adapters.reference_files.header import BadImage, inspect
from framehouse.adapters.reference_files.open_image import open_image
from framehouse.domain.errors import Broken
from framehouse.engines.image_files import decode_reference_rgb
from tests.support.image_files import image_file, png_chunk


def photo(width: int = 640, height: int = 480) -> Image.Image:
    pixels = np.add.outer(np.arange(height) * 3, np.arange(width) * 2)
    noise = np.random.default_rng(1).integers(0, 8, (height, width, 3))
    return Image.fromarray((np.stack([pixels, pixels // 2, 255 - pixels], -1) + noise).astype(np.uint8))


def encoded(file_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    photo().save(buffer, file_format, **options)
    return buffer.getvalue()


PNG, JPEG, PROGRESSIVE = encoded("PNG"), encoded("JPEG", quality=90), encoded("JPEG", quality=90, progressive=True)


def with_chunk(extra: bytes, png: bytes = PNG) -> bytes:
    return png[:33] + extra + png[33:]


def segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def with_segment(extra: bytes, jpeg: bytes = JPEG) -> bytes:
    return jpeg[:2] + extra + jpeg[2:]


def exif(kind: int, value: bytes, *, order: str = ">", others: int = 0) -> bytes:
    """EXIF data with an orientation of any type, after entries that cannot be read."""
    mark = b"MM" if order == ">" else b"II"
    bad = struct.pack(order + "HHII", 0x011A, 5, 1, 0xFFFFFFF0) * others
    entry = struct.pack(order + "HHI", 0x0112, kind, 1) + value.ljust(4, b"\0")
    return mark + struct.pack(order + "HIH", 42, 8, others + 1) + bad + entry + bytes(4)


ACCEPTED = {
    "png": PNG,
    "jpeg": JPEG,
    "progressive jpeg": PROGRESSIVE,
    "wrong checksum of a text": with_chunk(png_chunk(b"tEXt", b"a\0b", crc=1)),
    "unknown chunk": with_chunk(png_chunk(b"raNd", b"x" * 99, crc=7)),
    "short pHYs": with_chunk(png_chunk(b"pHYs", b"\0")),
    "garbage in eXIf": with_chunk(png_chunk(b"eXIf", b"MM\0*\xff\xff\xff\xff")),
    "megabytes of text": with_chunk(png_chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(5_000_000)))),
    "megabytes of profile": with_chunk(png_chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(5_000_000)))),
    "damaged profile": with_chunk(png_chunk(b"iCCP", b"a\0\0nonsense")),
    "no end of the png": PNG[:-12],
    "data after the png": PNG + b"more data" * 99,
    "no end of the jpeg": JPEG[:-2],
    "no end of the progressive jpeg": PROGRESSIVE[:-2],
    "data after the jpeg": JPEG + b"\0\0video" * 99,
    "a damaged profile in the jpeg": with_segment(segment(0xE2, b"ICC_PROFILE\0\1\1nonsense")),
    "garbage in exif": with_segment(segment(0xE1, b"Exif\0\0MM\0*\0\0\xff\xff")),
    "a comment": with_segment(segment(0xFE, b"\xff\xd9\xff\xda")),
    "a preview in a segment": with_segment(segment(0xE1, b"Exif\0\0" + encoded("JPEG", quality=5)[:60_000])),
    "many pictures": with_segment(segment(0xE2, b"MPF\0MM\0*\0\0\0\x08\0\0")),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_an_image_that_browsers_show_is_accepted_with_the_same_pixels(name: str) -> None:
    content = ACCEPTED[name]
    assert inspect(io.BytesIO(content), len(content)) == check_image(content) == (640, 480)
    original = PNG if content.startswith(PNG[:8]) else PROGRESSIVE if "progressive" in name else JPEG
    assert (np.asarray(decode_reference_rgb(content)) == np.asarray(Image.open(io.BytesIO(original)))).all()


INCOMPLETE: dict[str, bytes] = {
    "png": PNG[: len(PNG) // 2],
    "png without its last pixels": PNG[:-40],
    "png without its last pixel": PNG[:-30],
    "jpeg": JPEG[: len(JPEG) // 2],
    "jpeg without its last bytes": JPEG[:-10],
    "progressive jpeg": PROGRESSIVE[: len(PROGRESSIVE) // 2],
}


@pytest.mark.parametrize("name", INCOMPLETE)
def test_an_image_without_all_pixels_is_refused(name: str) -> None:
    with pytest.raises(BadImage, match="is damaged: it ends before the end of its pixels"):
        check_image(INCOMPLETE[name])


@pytest.mark.parametrize("damage", [lambda png: png[:60] + b"\0" * 50 + png[110:], lambda png: png[:41] + png[45:]])
def test_a_message_about_damage_is_one_plain_sentence(damage: Callable[[bytes], bytes]) -> None:
    with pytest.raises(BadImage) as error:
        check_image(damage(PNG))
    assert str(error.value) in (
        "is damaged: its pixels cannot be decoded", "is damaged: it ends before the end of its pixels"
    )  # fmt: skip
    with pytest.raises(Broken, match="a reference is damaged"):
        decode_reference_rgb(damage(PNG))


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("others", [0, 3])
@pytest.mark.parametrize(("kind", "code"), [(1, "B"), (3, "H"), (4, "I")])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_is_read_from_every_type_and_everything_else_is_ignored(
    order: str, others: int, kind: int, code: str, orientation: int
) -> None:
    data = exif(kind, struct.pack(order + code, orientation), order=order, others=others)
    size = (480, 640) if orientation > 4 else (640, 480)
    for content in (with_segment(segment(0xE1, b"Exif\0\0" + data)), with_chunk(png_chunk(b"eXIf", data))):
        assert inspect(io.BytesIO(content), len(content)) == check_image(content) == open_image(content).size == size


@pytest.mark.parametrize(
    ("kind", "value"), [(2, b"6\0"), (5, b"\0\0\0\6"), (3, b"\0\x09"), (3, b"\0\0"), (4, b"\xff" * 4)]
)
def test_an_invalid_orientation_is_ignored(kind: int, value: bytes) -> None:
    content = with_segment(segment(0xE1, b"Exif\0\0" + exif(kind, value)))
    assert inspect(io.BytesIO(content), len(content)) == check_image(content) == (640, 480)


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (image_file(8, 8, "WEBP"), "a WebP image"),
        (image_file(8, 8, "GIF"), "a GIF image"),
        (image_file(8, 8, "BMP"), "a BMP image"),
        (image_file(8, 8, "TIFF"), "a TIFF image or a raw photo"),
        (b"\0\0\0\x18ftypheic", "a HEIC image"),
        (b"\0\0\0\x18ftypheic", "a HEIC image"),
        (b"\0\0\0\x18ftypavif", "an AVIF image"),
        (b"\0\0\0\x18ftypisom", "a video"),
        (b"%PDF-1.7", "a PDF document"),
        (b"<!doctype html><p>", "an HTML page"),
        (b"\n<html>", "an HTML page"),
        (b'<?xml version="1.0"?><!-- x --><svg>', "an SVG drawing"),
        (b"<svg xmlns=", "an SVG drawing"),
        (b"<?xml version='1.0'?><Error>", "an XML or HTML document"),
        (b'{"error": 1}', "a JSON text"),
        (b"PK\x03\x04", "a ZIP archive"),
        (b"https://a.example/", "a URL"),
        (b"Not found", "a text"),
        (b"\x01\x02\xff", ""),
        (b"", ""),
    ],
)
def test_a_file_of_another_type_is_named(content: bytes, name: str) -> None:
    assert file_type(content) == name


def test_a_hostile_start_of_a_file_is_recognized_quickly() -> None:
    """A pattern with two nested repetitions would need years."""
    for start in (b"<!---->" * 72, b"<!--" * 120, b" " * 500, b"<?xml " + b">" * 500, b"{" * 500):
        began = time.process_time()
        file_type(start)
        assert time.process_time() - began < 2
