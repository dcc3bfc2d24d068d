"""Recognize the type of a file by its first bytes, and define which types of images are accepted."""

import re
from collections.abc import Collection
from functools import cache
from importlib.util import find_spec
from typing import Literal, get_args

ImageType = Literal["jpg", "png", "webp", "avif", "heic"]
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
HEAD_BYTES = 512
"""The number of bytes at the start of a file that the functions of this module need."""
_AVIF_BRANDS = frozenset((b"avif", b"avis"))
_HEIC_BRANDS = frozenset((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"))
_TYPES: tuple[tuple[bytes, str], ...] = (
    (rb"\x89PNG\r\n", "a PNG image"),
    (rb"\xff\xd8\xff", "a JPEG image"),
    (rb"RIFF....WEBP", "a WebP image"),
    (rb"GIF8[79]a", "a GIF image"),
    (rb"....ftypavi[fs]", "an AVIF image"),
    (rb"....ftyp(?:heic|heix|hevc|hevx|heim|heis)", "a HEIC image"),
    (rb"....ftyp(?:mif1|msf1)", "a HEIF image of an unknown type"),
    (rb"....ftyp", "a video"),
    (rb"\x1aE\xdf\xa3", "a video"),
    (rb"RIFF....AVI ", "a video"),
    (rb"\xff\x0a|\0\0\0\x0cJXL ", "a JPEG XL image"),
    (rb"\0\0\0\x0cjP  |\xffO\xffQ", "a JPEG 2000 image"),
    (rb"II\*\0|MM\0\*|II\+\0|MM\0\+", "a TIFF image or a raw photo"),
    (rb"BM....\0\0\0\0", "a BMP image"),
    (rb"\0\0\x01\0", "an icon file"),
    (rb"8BPS", "a Photoshop file"),
    (rb"%PDF-", "a PDF document"),
    (rb"PK\x03\x04", "a ZIP archive"),
    (rb"\x1f\x8b", "a gzip archive"),
    (
        rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]*>\s*)?(?:<!--(?:(?!-->).)*-->\s*)*(?:<!DOCTYPE svg[^>]*>\s*)?<svg",
        "an SVG drawing",
    ),
    (rb"(?:\xef\xbb\xbf)?\s*<(?:!DOCTYPE html|html|head|body|script|title)", "an HTML page"),
    (rb"(?:\xef\xbb\xbf)?\s*<", "an XML or HTML document"),
    (rb"(?:\xef\xbb\xbf)?\s*[\[{]\s*[\"\[{\]}]", "a JSON text"),
    (rb"https?://", "a URL"),
    (rb"data:", "a data URL"),
)
_PATTERNS = [(re.compile(pattern, re.DOTALL | re.IGNORECASE), name) for pattern, name in _TYPES]
_accepted: list[ImageType] | None = None
"""The accepted types, or None if they are not configured."""


@cache
def available_types() -> list[ImageType]:
    """Return the types that this installation can decode. HEIC needs the package pi-heif."""
    return [name for name in get_args(ImageType) if name != "heic" or find_spec("pi_heif")]


def accept_types(types: Collection[str]) -> None:
    """Accept only these types of references in this process. Types that this installation cannot decode are never
    accepted. Before the first call of this function, all types that can be decoded are accepted."""
    global _accepted
    _accepted = [name for name in available_types() if name in types]


def accepted_types() -> Collection[ImageType]:
    """Return the types of references that this process accepts."""
    return available_types() if _accepted is None else _accepted


def image_type(head: bytes) -> ImageType | None:
    """Return the type of an image, or None if the file has no type that Framehouse can decode."""
    if head.startswith(PNG_SIGNATURE):
        return "png"
    if head.startswith(b"\xff\xd8\xff"):
        return "jpg"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "webp"
    if head[4:8] == b"ftyp":
        brands = {head[at : at + 4] for at in range(8, min(int.from_bytes(head[:4]), HEAD_BYTES), 4)}
        if brands & _AVIF_BRANDS:
            return "avif"
        if brands & _HEIC_BRANDS:
            return "heic"
    return None


def file_type(head: bytes) -> str:
    """Return a description of the file, with an article, or an empty string if the type is unknown."""
    for pattern, name in _PATTERNS:
        if pattern.match(head):
            return name
    text = head.rstrip(b"\0")
    return "a text" if text and text.isascii() and text.decode().replace("\n", " ").strip().isprintable() else ""


def has_manifest(content: bytes) -> bool:
    """Return whether the file seems to contain a C2PA manifest, without parsing the file."""
    return b"jumb" in content and b"c2pa" in content
