"""The checks of reference images, with good and hostile files of all kinds.

The tests generate the files, so that the repository contains no hostile file.
"""

import asyncio
import io
import os
import struct
import zlib
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from framehouse.adapters.images.checker import ImageChecker
from framehouse.adapters.images.decode import check_image
from framehouse.adapters.reference_files.header import BadImage, inspect
from tests.support.image_files import compressed_zeros, image_file, png_chunk


def by_header(content: bytes) -> tuple[int, int]:
    return inspect(io.BytesIO(content), len(content))


def png(width: int, height: int, *chunks: bytes, pixels: bytes | None = None) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress((b"\0" + b"\x80" * width * 3) * height) if pixels is None else pixels
    return (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", header)
        + b"".join(chunks)
        + png_chunk(b"IDAT", pixels)
        + png_chunk(b"IEND")
    )


def image_bytes(image: Image.Image, format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def rotated(format: str, orientation: int = 6) -> bytes:
    exif = Image.Exif()
    exif[0x010E] = "a description before the orientation"
    exif[0x0112] = orientation
    return image_file(400, 300, format, exif=exif)


IMAGE = Image.new("RGB", (400, 300), (9, 99, 199))
JPEG = image_file(400, 300, "JPEG")
GOOD = {
    "png": image_file(),
    "jpeg": JPEG,
    "progressive": image_file(400, 300, "JPEG", progressive=True),
    "mpo of a phone": image_bytes(IMAGE, "MPO", save_all=True, append_images=[IMAGE]),
    **{mode: image_bytes(IMAGE.convert(mode), "PNG") for mode in ("1", "L", "LA", "P", "RGBA")},
    "16 bit": image_bytes(Image.new("I;16", (400, 300), 40000), "PNG"),
    "palette with transparency": image_bytes(IMAGE.convert("P"), "PNG", transparency=0),
    "cmyk": image_bytes(IMAGE.convert("CMYK"), "JPEG"),
    "grey jpeg": image_bytes(IMAGE.convert("L"), "JPEG"),
    "large profile": image_file(400, 300, "JPEG", icc_profile=os.urandom(3_000_000)),
    "private and text chunks": png(400, 300, png_chunk(b"prVt", b"private"), png_chunk(b"tEXt", b"k\0v")),
    "padded markers": JPEG[:2] + b"\xff" * 20 + JPEG[2:],
}
GOOD_SIZE = (400, 300)


@pytest.mark.parametrize("name", GOOD)
def test_good_images_of_all_kinds_are_accepted(name: str) -> None:
    assert by_header(GOOD[name]) == check_image(GOOD[name]) == GOOD_SIZE


@pytest.mark.parametrize("format", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_size_is_that_of_the_upright_image(format: str, orientation: int) -> None:
    content = rotated(format, orientation)
    assert by_header(content) == check_image(content) == ((300, 400) if orientation > 4 else (400, 300))


def test_an_orientation_in_xmp_is_ignored_as_in_browsers() -> None:
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", '<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>')
    content = image_bytes(IMAGE, "PNG", pnginfo=info)
    assert by_header(content) == check_image(content) == (400, 300)


BAD = {
    "empty": (b"", "empty"),
    "text": (b"hello", "is a text; accepted types: jpg, png, webp, avif, heic"),
    "gif": (image_file(400, 300, "GIF"), "is a GIF image; accepted types: jpg, png, webp, avif, heic"),
    "noise": (b"\x01\xfe\x80" * 99, "cannot be read as an image"),
    "small": (image_file(299, 400), "at least 300"),
    "long": (image_file(300, 800), "aspect ratio"),
    "dimension bomb": (png(30_000, 30_000, pixels=b""), "megapixels"),
    "larger dimension bomb": (png(2**31 - 1, 2**31 - 1, pixels=b""), "megapixels"),
    "large file": (b"\x89PNG\r\n\x1a\n" + b"\0" * 10_000_000, "at most 10,000,000"),
    "animation": (image_bytes(IMAGE, "PNG", save_all=True, append_images=[IMAGE.rotate(9)]), "animation"),
    "only a signature": (b"\x89PNG\r\n\x1a\n", "cannot be read"),
    "no pixels": (JPEG[: JPEG.index(b"\xff\xc0")], "cannot be read"),
    "segments bomb": (b"\xff\xd8" + b"\xff\xe5\0\2" * 2_000_000, "padding bytes before its pixels"),
    "chunks bomb": (png(400, 300, png_chunk(b"prVt") * 500_000), "padding bytes before its pixels"),
    "padding bomb": (b"\xff\xd8" + b"\xff" * 5_000_000, "padding bytes before its pixels"),
}


@pytest.mark.parametrize("name", BAD)
def test_the_error_of_a_bad_header_has_its_reason(name: str) -> None:
    content, reason = BAD[name]
    for check in (by_header, check_image):
        with pytest.raises(BadImage, match=reason):
            check(content)


def scans(count: int, width: int = 2000, height: int = 1500) -> bytes:
    """Return a scan bomb: a progressive JPEG with its last scan repeated `count` times."""
    content = image_file(width, height, "JPEG", progressive=True)
    last = content.rindex(b"\xff\xda")
    return content[:last] + content[last:-2] * count + content[-2:]


def text_bomb(name: bytes, megabytes: int) -> bytes:
    return png_chunk(name, b"k\0\0" + compressed_zeros(megabytes))


BAD_BEHIND_THE_HEADER = {
    "truncated png": (image_file()[:-60], "damaged"),
    "truncated jpeg": (image_file(900, 700, "JPEG")[:-200], "damaged"),
    "bad checksum": (png(400, 300).replace(b"IDAT", b"IDAX", 1), "damaged|cannot be read|parts"),
    "noise for pixels": (png(400, 300, pixels=os.urandom(5000)), "damaged"),
    "fewer pixels than promised": (png(400, 300, pixels=zlib.compress(b"\0" * 1000)), "damaged"),
    "false size in the header": (png(6000, 6000, pixels=zlib.compress(b"\0" * 1000)), "damaged"),
    "scan bomb": (scans(200), "more than 100 scans"),
    "scan bomb with many pixels": (scans(40, 6000, 6000), "more than 27 scans"),
}


@pytest.mark.parametrize("name", BAD_BEHIND_THE_HEADER)
async def test_a_process_with_limits_detects_hostile_files(name: str, checker: ImageChecker) -> None:
    content, reason = BAD_BEHIND_THE_HEADER[name]
    with suppress(BadImage):
        assert by_header(content)
    with pytest.raises(BadImage, match=reason):
        await checker.check(content)
    assert await checker.check(image_file()) == (400, 300)


@pytest.fixture
async def checker() -> AsyncIterator[ImageChecker]:
    checker = ImageChecker(wall_s=30)
    yield checker
    await checker.close()


async def test_profile_and_late_text_bombs_stay_within_the_limits(checker: ImageChecker) -> None:
    """The files may pass, because the decoder may leave them compressed. They must not kill the process."""
    late = png(400, 300)[:-12] + text_bomb(b"zTXt", 400) + png_chunk(b"IEND")
    bombs = ([text_bomb(b"iCCP", 400)], [text_bomb(b"zTXt", 400)], [text_bomb(b"zTXt", 1)] * 500)
    for content in (*(png(400, 300, *chunks) for chunks in bombs), late):
        with suppress(BadImage):
            assert await checker.check(content) == (400, 300)


async def test_decoding_has_a_lower_priority_than_the_server(checker: ImageChecker) -> None:
    await checker.check(png(300, 300))
    (process,) = checker._idle
    assert os.getpriority(os.PRIO_PROCESS, process.pid) > os.getpriority(os.PRIO_PROCESS, 0)
    assert os.getsid(process.pid) != os.getsid(0), "Linux may divide the processors among sessions first"


async def test_a_process_is_reused_and_is_replaced_when_it_dies(checker: ImageChecker) -> None:
    assert await checker.check(image_file()) == (400, 300)
    (first,) = checker._idle
    assert await checker.check(JPEG) == (400, 300)
    assert checker._idle == [first]
    first.kill()
    await first.wait()
    assert await checker.check(JPEG) == (400, 300), "the next image failed because the process had died"
    assert checker._idle != [first]


async def test_an_image_that_takes_too_long_is_rejected_and_does_not_affect_later_images() -> None:
    checker = ImageChecker(processes=1, wall_s=0.001)
    with pytest.raises(BadImage, match="within the limits"):
        await checker.check(image_file(3000, 3000))
    checker._wall_s = 30
    waiting = asyncio.create_task(checker.check(image_file(3000, 3000)))
    await asyncio.sleep(0.05)
    waiting.cancel()
    assert await checker.check(image_file()) == (400, 300), "the answer belonged to the cancelled check"
    await checker.close()


def proc_file(pid: int, name: str) -> str:
    return Path(f"/proc/{pid}/{name}").read_text()


async def test_the_process_has_limits_and_gets_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRAMEHOUSE_DATABASE_URL", "secret")
    checker = ImageChecker()
    await checker.check(image_file())
    (process,) = checker._idle
    with suppress(FileNotFoundError):  # systems other than Linux have no /proc
        limits = proc_file(process.pid, "limits")
        assert "Max address space         1500000000" in limits
        assert "Max file size             0" in limits
        assert "FRAMEHOUSE" not in proc_file(process.pid, "environ")
    await checker.close()


@settings(max_examples=300)
@given(st.data())
def test_inspecting_a_damaged_header_raises_only_bad_image(data: st.DataObject) -> None:
    content = bytearray(data.draw(st.sampled_from([GOOD["png"], JPEG, rotated("JPEG"), rotated("PNG")])))
    for position in data.draw(st.lists(st.integers(0, 300), max_size=8)):
        content[position] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(0, len(content)))]
    with suppress(BadImage):
        width, height = by_header(bytes(content))
        assert min(width, height) >= 300


def header_chunk(width: int, height: int) -> bytes:
    return png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))


@pytest.mark.parametrize(("width", "height"), [(1, 1), (40_000, 900), (4_000_000, 1)])
def test_a_png_with_a_second_header_is_rejected(width: int, height: int) -> None:
    pixels = png_chunk(b"IDAT", zlib.compress(b"\0" * (1000 * 1001)))
    content = (
        b"\x89PNG\r\n\x1a\n" + header_chunk(1000, 1000) + header_chunk(width, height) + pixels + png_chunk(b"IEND", b"")
    )
    with pytest.raises(BadImage):
        check_image(content)


@pytest.mark.parametrize("after_pixels", [True, False])
def test_many_colour_profiles_are_rejected_without_decompressing_them(after_pixels: bool) -> None:
    profile = png_chunk(b"iCCP", b"p\0\0" + zlib.compress(b"\0" * 1_000_000)) * 1500
    plain = image_file(400, 400)
    at = plain.index(b"IEND") - 4 if after_pixels else 33
    with pytest.raises(BadImage, match="too many"):
        check_image(plain[:at] + profile + plain[at:])


def test_data_after_the_end_of_a_jpeg_do_not_count_as_scans() -> None:
    photo = image_file(800, 600, "JPEG") + b"MotionPhoto" + b"\xff\xda" * 4000
    assert check_image(photo) == (800, 600)
    assert check_image(image_file(800, 600, "JPEG", progressive=True)) == (800, 600)


def test_progressive_images_of_all_sizes_are_accepted() -> None:
    assert check_image(scans(60)) == (2000, 1500)
    assert check_image(scans(5, 6000, 6000)) == (6000, 6000)


def test_each_bad_image_raises_a_new_exception_object() -> None:
    """A shared exception object would keep the frames of every raise, and the files in them, in memory forever."""
    errors = []
    for _ in range(2):
        with pytest.raises(BadImage) as error:
            by_header(b"not an image")
        errors.append(error.value)
    assert errors[0] is not errors[1]
