"""What an upstream answers with: a whole PNG of our own kind stays as it is, all else is decoded or refused."""

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
from framehouse.engines.image_files import Png, read_answer
from framehouse.pipeline.finish import Finishing, finish
from tests.support.image_files import packed_zeros

PIXELS = np.random.default_rng(3).integers(0, 256, (80, 60, 3), dtype=np.uint8)


def saved(mode: str = "RGB", format: str = "PNG", **more: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).convert(mode).save(buffer, format, **more)
    return buffer.getvalue()


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def made_of(rows: bytes, *, head: bytes = b"\x08\x02\0\0\0", packed: Callable[[bytes], bytes] = zlib.compress) -> bytes:
    """A PNG of 60 by 80 px whose data, filters included, are these."""
    header = chunk(b"IHDR", struct.pack(">II", 60, 80) + head)
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", packed(rows)) + chunk(b"IEND", b"")


ROWS = b"".join(b"\0" + row.tobytes() for row in PIXELS)


def test_a_png_of_our_kind_is_passed_on_as_it_is_without_what_it_says_of_itself() -> None:
    told = PngInfo()
    told.add_text("Comment", "somebody's words")
    told.add_itxt("XML:com.adobe.xmp", "<their/>")
    found = read_answer(saved(pnginfo=told, icc_profile=b"x" * 200, dpi=(72, 72)))
    assert isinstance(found, Png)
    content = finish(found, Size(60, 80), {"seed": 7}, Finishing("Framehouse"), watermark=False).content
    assert found.data in content
    with Image.open(io.BytesIO(content)) as image:
        assert np.array_equal(np.asarray(image), PIXELS)
        assert set(image.info) == {"Software", "Comment", "XML:com.adobe.xmp", "xmp"}
        assert '"seed":7' in image.info["Comment"]
        assert "somebody" not in str(image.info)


@pytest.mark.parametrize("packed", [zlib.compress, lambda rows: zlib.compress(rows, 0)])
def test_data_in_many_chunks_are_passed_on(packed: Callable[[bytes], bytes]) -> None:
    data = packed(ROWS)
    chunks = b"".join(chunk(b"IDAT", data[at : at + 100]) for at in range(0, len(data), 100)) + chunk(b"IDAT", b"")
    whole = made_of(ROWS)
    at = whole.index(b"IDAT") - 4
    found = read_answer(whole[:at] + chunks + chunk(b"IEND", b""))
    assert isinstance(found, Png)
    assert np.array_equal(found.decoded(), PIXELS)


@pytest.mark.parametrize(
    ("size", "how", "watermark"),
    [
        (Size(30, 40), Finishing("F"), False),
        (Size(60, 80), Finishing("F", format="jpeg"), False),
        (Size(60, 80), Finishing("F"), True),
    ],
)
def test_what_must_be_changed_is_decoded(size: Size, how: Finishing, watermark: bool) -> None:
    found = read_answer(saved())
    assert isinstance(found, Png)
    made = finish(found, size, {}, how, watermark=watermark)
    for content in filter(None, (made.content, made.watermarked)):
        with Image.open(io.BytesIO(content)) as image:
            assert image.size == (size.width, size.height)
            image.load()
    assert bool(made.watermarked) == watermark


TURNED = Image.Exif()
TURNED[0x0112] = 6


@pytest.mark.parametrize(
    "content",
    [
        saved("L"),
        saved("RGBA"),
        saved("P"),
        saved("1"),
        saved(format="JPEG"),
        saved(format="WEBP", lossless=True),
        saved(exif=TURNED),
        made_of(ROWS) + b"and more",
    ],
)
def test_all_that_is_shown_alike_comes_alike(content: bytes) -> None:
    with Image.open(io.BytesIO(content)) as image:
        shown = np.asarray(image.convert("RGB"))
    found = read_answer(content)
    pixels = found.decoded() if isinstance(found, Png) else found
    assert pixels.shape[:2] == ((60, 80) if b"eXIf" in content else (80, 60))
    assert b"eXIf" in content or np.array_equal(pixels, shown)


@pytest.mark.parametrize(
    "content",
    [
        made_of(b"\x05" + ROWS[1:]),  # a filter that there is not
        made_of(ROWS[:-1]),
        made_of(ROWS[:-1], packed=lambda rows: zlib.compress(rows)[:-9]),
        made_of(ROWS, packed=lambda rows: zlib.compress(rows)[:-4]),
        made_of(ROWS, packed=lambda rows: zlib.compress(rows)[:-1] + b"?"),
        made_of(ROWS + ROWS),
        made_of(b"", packed=lambda _: packed_zeros(300)),
        made_of(ROWS).replace(b"IDAT", b"IDAU"),
        made_of(ROWS)[:-13],
        made_of(ROWS)[:200],
        made_of(ROWS, head=b"\x08\x02\0\0\1"),
        saved()[:-20],
    ],
    ids=lambda content: f"{len(content)} bytes",
)
def test_what_is_not_whole_is_never_passed_on(content: bytes) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(image_files, "decode_answer", lambda _: np.zeros((1, 1, 3), np.uint8))
        assert not isinstance(read_answer(content), Png)


def test_too_many_pixels_are_refused() -> None:
    head = chunk(b"IHDR", struct.pack(">II", 20_000, 20_000) + b"\x08\x02\0\0\0")
    content = b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    with pytest.raises(Broken, match=r"too large|bomb"):
        read_answer(content)


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_a_changed_byte_is_decoded_alike_or_found_out(data: st.DataObject) -> None:
    content = bytearray(saved())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = read_answer(bytes(content))
    except Broken:
        return
    if isinstance(found, Png):
        assert np.array_equal(found.decoded(), PIXELS)
