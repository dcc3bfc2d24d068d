"""Read the header of a WebP file. Source: RFC 9649."""

import struct
from dataclasses import dataclass
from typing import BinaryIO

_RIFF_HEADER_BYTES = 12
_CHUNK_HEADER_BYTES = 8
_ANIMATION = 0x02
_LOSSY_START = b"\x9d\x01\x2a"
_LOSSLESS_START = 0x2F


@dataclass(frozen=True, slots=True)
class WebpHeader:
    """The size of the image in pixels, and whether the file is an animation. Browsers ignore the EXIF orientation."""

    width: int
    height: int
    animated: bool = False


def read_webp_header(file: BinaryIO) -> WebpHeader | None:
    """Read the header of a WebP file. `file` must be at its start. Returns None if the header is damaged.

    Raises struct.error if the file ends within the header.
    """
    file.seek(_RIFF_HEADER_BYTES, 1)
    name, _ = struct.unpack("<4sI", file.read(_CHUNK_HEADER_BYTES))
    match name:
        case b"VP8X":
            flags, width, width_high, height, height_high = struct.unpack("<B3xHBHB", file.read(10))
            return WebpHeader(
                width + (width_high << 16) + 1, height + (height_high << 16) + 1, bool(flags & _ANIMATION)
            )
        case b"VP8L":
            start, bits = struct.unpack("<BI", file.read(5))
            return WebpHeader((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1) if start == _LOSSLESS_START else None
        case b"VP8 ":
            start, width, height = struct.unpack("<3x3sHH", file.read(10))
            return WebpHeader(width & 0x3FFF, height & 0x3FFF) if start == _LOSSY_START else None
    return None


def webp_profile(content: bytes) -> bytes:
    """Return the ICC profile of a WebP file, or b"" if there is none."""
    at = _RIFF_HEADER_BYTES
    while at + _CHUNK_HEADER_BYTES <= len(content):
        name, length = struct.unpack_from("<4sI", content, at)
        at += _CHUNK_HEADER_BYTES
        if name == b"ICCP":
            return content[at : at + length]
        if name not in (b"VP8X",):
            break
        at += length + length % 2
    return b""
