"""WebP, AVIF and HEIC references, and the setting `reference_types`."""

import io
from collections.abc import Iterator
from contextlib import suppress
from importlib import util
from pathlib import Path

import pytest
from PIL import Image

from framehouse.adapters.images.checker import ImageChecker
from framehouse.adapters.images.decode import check_image
from framehouse.adapters.reference_files import file_types
from framehouse.adapters.reference_files.file_types import accept_types, available_types
from framehouse.adapters.reference_files.header import BadImage, inspect, read_header
from framehouse.adapters.reference_files.open_image import open_image
from tests.support.image_files import image_file

HEIC = (Path(__file__).parent / "files/rotated.heic").read_bytes()
"""A file of 480x360 pixels that is rotated by 90 degrees. Its four quarters have different colours."""
FILES = {kind: image_file(400, 300, name) for kind, name in (("png", "PNG"), ("jpg", "JPEG"), ("webp", "WEBP"))}
FILES["avif"] = image_file(400, 300, "AVIF")


@pytest.fixture(autouse=True)
def all_types() -> Iterator[None]:
    yield
    file_types._accepted = None
    available_types.cache_clear()


def animation(file_format: str) -> bytes:
    buffer = io.BytesIO()
    frames = [Image.new("RGB", (400, 300), colour) for colour in ("red", "green", "blue")]
    frames[0].save(buffer, file_format, save_all=True, append_images=frames[1:], duration=100)
    return buffer.getvalue()


def test_all_types_are_accepted_by_default() -> None:
    for content in FILES.values():
        assert inspect(io.BytesIO(content), len(content)) == check_image(content) == (400, 300)
    assert check_image(image_file(401, 303, "WEBP", lossless=True)) == (401, 303)


def test_a_heic_photo_is_upright() -> None:
    assert read_header(io.BytesIO(HEIC)).orientation == 6
    assert inspect(io.BytesIO(HEIC), len(HEIC)) == check_image(HEIC) == (360, 480)
    image = open_image(HEIC)
    corners = [image.getpixel(at) for at in ((9, 9), (350, 9), (9, 470), (350, 470))]
    expected = [(0, 0, 255), (255, 0, 0), (255, 255, 0), (0, 255, 0)]
    for colour, wanted in zip(corners, expected, strict=True):
        assert max(abs(a - b) for a, b in zip(colour, wanted, strict=True)) < 4  # type: ignore[arg-type]


async def test_the_setting_limits_the_types() -> None:
    accept_types(["jpg", "png"])
    with pytest.raises(BadImage, match=r"^is a WebP image; accepted types: jpg, png$"):
        inspect(io.BytesIO(FILES["webp"]), len(FILES["webp"]))
    checker = ImageChecker(processes=1)
    try:
        assert await checker.check(FILES["jpg"]) == (400, 300)
        with pytest.raises(BadImage, match=r"^is an AVIF image; accepted types: jpg, png$"):
            await checker.check(FILES["avif"])
    finally:
        await checker.close()
    accept_types(["png"])
    with pytest.raises(BadImage, match=r"^is a JPEG image; accepted types: png$"):
        inspect(io.BytesIO(FILES["jpg"]), len(FILES["jpg"]))


def test_files_stay_usable_after_their_type_is_no_longer_accepted() -> None:
    accept_types(["png"])
    assert open_image(FILES["webp"]).size == (400, 300)


def test_a_server_without_the_codec_refuses_heic(monkeypatch: pytest.MonkeyPatch) -> None:
    available_types.cache_clear()
    monkeypatch.setattr(file_types, "find_spec", lambda name: None if name == "pi_heif" else util.find_spec(name))
    assert available_types() == ["jpg", "png", "webp", "avif"]
    with pytest.raises(BadImage, match=r"^is a HEIC image; accepted types: jpg, png, webp, avif$"):
        inspect(io.BytesIO(HEIC), len(HEIC))


@pytest.mark.parametrize("file_format", ["WEBP", "AVIF"])
def test_animations_are_refused(file_format: str) -> None:
    with pytest.raises(BadImage, match="is an animation; it must have a single frame"):
        check_image(animation(file_format))


@pytest.mark.parametrize("kind", ["webp", "avif"])
def test_damaged_files_are_refused(kind: str) -> None:
    """Each changed byte of the header is harmless or causes a BadImage, and each truncation causes a BadImage."""
    content = FILES[kind]
    for end in (*range(12, len(content) - 1, 7), len(content) - 1):
        with pytest.raises(BadImage):
            check_image(content[:end])
    for at in range(12, min(600, len(content)), 5):
        for value in (0, 0x7F, 0xFF):
            with suppress(BadImage):
                check_image(content[:at] + bytes([value]) + content[at + 1 :])


async def test_a_photo_that_kills_the_decoder_is_refused() -> None:
    """pi-heif 1.4 crashes on some damaged files. The file is refused, and the next file is accepted."""
    checker = ImageChecker(processes=1)
    try:
        for end in (100, 700, len(HEIC) - 1):
            with pytest.raises(BadImage):
                await checker.check(HEIC[:end])
        with pytest.raises(BadImage, match="cannot be decoded"):
            await checker.check(HEIC[:177] + b"\xff" + HEIC[178:])
        assert await checker.check(HEIC) == (360, 480)
    finally:
        await checker.close()


def test_wrong_sizes_in_headers_are_found() -> None:
    lying = FILES["avif"].replace((400).to_bytes(4) + (300).to_bytes(4), (40_000).to_bytes(4) + (30_000).to_bytes(4))
    with pytest.raises(BadImage, match="megapixels"):
        inspect(io.BytesIO(lying), len(lying))
    smaller = FILES["avif"].replace((400).to_bytes(4) + (300).to_bytes(4), (310).to_bytes(4) + (300).to_bytes(4))
    assert smaller != FILES["avif"]
    assert check_image(smaller) == open_image(smaller).size, "the size of the pixels counts"
