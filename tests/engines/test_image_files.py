"""Image files from upstreams: an intact 8-bit RGB PNG stays a file; other files are decoded or rejected."""

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from framehouse.domain.errors import Broken
from framehouse.domain.sizes import Size
from framehouse.engines import image_files
from framehouse.engines.image_files import ImageFile, Png, read_answer
from framehouse.pipeline.finish import Finishing, finish
from tests.support.image_files import compressed_zeros

PIXELS = np.random.default_rng(3).integers(0, 256, (80, 60, 3), dtype=np.uint8)


def image_bytes(mode: str = "RGB", format: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).convert(mode).save(buffer, format, **options)
    return buffer.getvalue()


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png_of(rows: bytes, *, kind: bytes = b"\x08\x02\0\0\0", pack: Callable[[bytes], bytes] = zlib.compress) -> bytes:
    """Return a PNG of 60 × 80 px. `rows` are its uncompressed rows, each with its filter byte."""
    header = chunk(b"IHDR", struct.pack(">II", 60, 80) + kind)
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", pack(rows)) + chunk(b"IEND", b"")


ROWS = b"".join(b"\0" + row.tobytes() for row in PIXELS)


def test_an_rgb_png_keeps_its_data_and_loses_its_metadata() -> None:
    metadata = PngInfo()
    metadata.add_text("Comment", "upstream comment")
    metadata.add_itxt("XML:com.adobe.xmp", "<upstream/>")
    answer = read_answer(image_bytes(pnginfo=metadata, icc_profile=b"x" * 200, dpi=(72, 72)))
    assert isinstance(answer, Png)
    content = finish(
        answer, Size(60, 80), {"seed": 7}, Finishing("Framehouse"), source_type="algorithmicMedia", watermark=False
    ).content
    assert answer.data in content
    with Image.open(io.BytesIO(content)) as image:
        assert np.array_equal(np.asarray(image), PIXELS)
        assert set(image.info) == {"Software", "Comment", "XML:com.adobe.xmp", "xmp"}
        assert '"seed":7' in image.info["Comment"]
        assert "upstream" not in str(image.info)


@pytest.mark.parametrize("pack", [zlib.compress, lambda rows: zlib.compress(rows, 0)])
def test_data_in_many_chunks_are_passed_on(pack: Callable[[bytes], bytes]) -> None:
    data = pack(ROWS)
    chunks = b"".join(chunk(b"IDAT", data[at : at + 100]) for at in range(0, len(data), 100)) + chunk(b"IDAT", b"")
    png = png_of(ROWS)
    at = png.index(b"IDAT") - 4
    answer = read_answer(png[:at] + chunks + chunk(b"IEND", b""))
    assert isinstance(answer, Png)
    assert np.array_equal(answer.decoded(), PIXELS)


@pytest.mark.parametrize(
    ("size", "finishing", "watermark"),
    [
        (Size(30, 40), Finishing("F"), False),
        (Size(60, 80), Finishing("F", format="jpeg"), False),
        (Size(60, 80), Finishing("F"), True),
    ],
)
def test_a_png_that_must_change_is_decoded(size: Size, finishing: Finishing, watermark: bool) -> None:
    answer = read_answer(image_bytes())
    assert isinstance(answer, Png)
    finished = finish(answer, size, {}, finishing, source_type="algorithmicMedia", watermark=watermark)
    for content in filter(None, (finished.content, finished.watermarked)):
        with Image.open(io.BytesIO(content)) as image:
            assert image.size == (size.width, size.height)
            image.load()
    assert bool(finished.watermarked) == watermark


ROTATED = Image.Exif()
ROTATED[0x0112] = 6


@pytest.mark.parametrize(
    "content",
    [
        image_bytes("L"),
        image_bytes("RGBA"),
        image_bytes("P"),
        image_bytes("1"),
        image_bytes(format="JPEG"),
        image_bytes(format="WEBP", lossless=True),
        image_bytes(exif=ROTATED),
        png_of(ROWS) + b"and more",
    ],
)
def test_every_kind_of_image_file_is_decoded_to_the_same_pixels_as_by_pillow(content: bytes) -> None:
    with Image.open(io.BytesIO(content)) as image:
        expected = np.asarray(image.convert("RGB"))
    answer = read_answer(content)
    pixels = answer.decoded() if isinstance(answer, ImageFile) else answer
    assert pixels.shape[:2] == ((60, 80) if b"eXIf" in content else (80, 60))
    assert b"eXIf" in content or np.array_equal(pixels, expected)


@pytest.mark.parametrize(
    "content",
    [
        png_of(b"\x05" + ROWS[1:]),  # a filter that does not exist
        png_of(ROWS[:-1]),
        png_of(ROWS[:-1], pack=lambda rows: zlib.compress(rows)[:-9]),
        png_of(ROWS, pack=lambda rows: zlib.compress(rows)[:-4]),
        png_of(ROWS, pack=lambda rows: zlib.compress(rows)[:-1] + b"?"),
        png_of(ROWS + ROWS),
        png_of(b"", pack=lambda _: compressed_zeros(300)),
        png_of(ROWS).replace(b"IDAT", b"IDAU"),
        png_of(ROWS)[:-13],
        png_of(ROWS)[:200],
        png_of(ROWS, kind=b"\x08\x02\0\0\1"),
        image_bytes()[:-20],
    ],
    ids=lambda content: f"{len(content)} bytes",
)
def test_a_damaged_png_is_never_passed_on(content: bytes) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(image_files, "decode_answer", lambda _: np.zeros((1, 1, 3), np.uint8))
        assert not isinstance(read_answer(content), Png)


def test_an_image_with_too_many_pixels_is_rejected() -> None:
    header = chunk(b"IHDR", struct.pack(">II", 20_000, 20_000) + b"\x08\x02\0\0\0")
    content = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    with pytest.raises(Broken, match=r"too large|bomb"):
        read_answer(content)


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_a_png_with_changed_bytes_is_decoded_to_the_same_pixels_or_not_passed_on(data: st.DataObject) -> None:
    content = bytearray(image_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        answer = read_answer(bytes(content))
    except Broken:
        return
    if isinstance(answer, Png):
        assert np.array_equal(answer.decoded(), PIXELS)
