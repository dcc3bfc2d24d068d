"""Recognize the type of a file by its first bytes, so that an error message can name the type."""

import re

_TYPES: tuple[tuple[bytes, str], ...] = (
    (rb"RIFF....WEBP", "a WebP image"),
    (rb"GIF8[79]a", "a GIF image"),
    (rb"....ftyp(?:heic|heix|hevc|hevx|heim|heis|mif1|msf1)", "a HEIC image"),
    (rb"....ftypavi[fs]", "an AVIF image"),
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
        rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)*(?:<!DOCTYPE svg[^>]*>\s*)?<svg",
        "an SVG drawing",
    ),
    (rb"(?:\xef\xbb\xbf)?\s*<(?:!DOCTYPE html|html|head|body|script|title)", "an HTML page"),
    (rb"(?:\xef\xbb\xbf)?\s*<", "an XML or HTML document"),
    (rb"(?:\xef\xbb\xbf)?\s*[\[{]\s*[\"\[{\]}]", "a JSON text"),
    (rb"https?://", "a URL"),
    (rb"data:", "a data URL"),
)
_PATTERNS = [(re.compile(pattern, re.DOTALL | re.IGNORECASE), name) for pattern, name in _TYPES]
HEAD_BYTES = 512
"""The number of bytes at the start of a file that `file_type` needs."""


def file_type(head: bytes) -> str:
    """Return a description of the file, with an article, or an empty string if the type is unknown."""
    for pattern, name in _PATTERNS:
        if pattern.match(head):
            return name
    text = head.rstrip(b"\0")
    return "a text" if text and text.isascii() and text.decode().replace("\n", " ").strip().isprintable() else ""
