"""Read the type, the size and the orientation of an image from its header, without decoding pixels.

The first bytes of the file determine the type. This parser does not use Pillow, because Pillow keeps in memory all data
that precedes the pixels: for a file with ten megabytes of tiny segments, Pillow needs several seconds and hundreds of
megabytes of memory. The processes in which this parser runs have no limits on time and memory that could stop Pillow.
Incorrect values in a header are detected later, by the module `decode`.
"""

import struct
from typing import BinaryIO

from framehouse.domain.reference import MAX_REFERENCE_BYTES, reference_problem

_PNG = b"\x89PNG\r\n\x1a\n"
_MAX_PARTS = 2000
"""The maximum number of segments, chunks or padding bytes before the pixels. A colour profile of ten megabytes needs
160 segments."""
_FRAME_HEADERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_MARKERS_WITHOUT_SEGMENT = frozenset((0x01, *range(0xD0, 0xD8)))
_EXIF_BYTES = 65536
_ORIENTATION = 0x0112


class BadImage(Exception):
    """Raised when a file cannot be used as a reference.

    The message is the end of a sentence that starts with a request field, for example "image_list[0].image".
    """


def inspect(file: BinaryIO, size: int) -> tuple[int, int]:
    """Check the header of a file against the rules for references. `size` is the length of the file in bytes.

    Returns the width and height in pixels after the EXIF rotation. Raises BadImage if the file breaks a rule.
    """
    if not size:
        raise BadImage("is empty")
    if size > MAX_REFERENCE_BYTES:
        raise BadImage(f"has {size:,} bytes; at most {MAX_REFERENCE_BYTES:,} are allowed")
    try:
        begin = file.read(8)
        if begin == _PNG:
            width, height, rotated = _png(file)
        elif begin.startswith(b"\xff\xd8\xff"):
            file.seek(2)
            width, height, rotated = _jpeg(file)
        else:
            raise BadImage(_UNREADABLE)
    except struct.error:
        raise BadImage(_UNREADABLE) from None
    if problem := reference_problem(width, height):
        raise BadImage(problem)
    return (height, width) if rotated else (width, height)


_UNREADABLE = "cannot be read as a jpg or png image"


def _png(file: BinaryIO) -> tuple[int, int, bool]:
    length, name = struct.unpack(">I4s", file.read(8))
    if name != b"IHDR" or length != 13:
        raise BadImage(_UNREADABLE)
    width, height = struct.unpack(">II", file.read(8))
    file.seek(5 + 4, 1)
    rotated = False
    for _ in range(_MAX_PARTS):
        length, name = struct.unpack(">I4s", file.read(8))
        if name == b"IDAT":
            return width, height, rotated
        if name == b"acTL":
            raise BadImage("is an animation; it must be a jpg or png with one frame")
        if name == b"eXIf":
            rotated = _is_rotated(file.read(min(length, _EXIF_BYTES)))
            length -= min(length, _EXIF_BYTES)
        file.seek(length + 4, 1)
    raise BadImage(f"has more than {_MAX_PARTS:,} segments, chunks or padding bytes before its pixels")


def _jpeg(file: BinaryIO) -> tuple[int, int, bool]:
    rotated = False
    for _ in range(_MAX_PARTS):
        prefix, marker = struct.unpack("BB", file.read(2))
        # not a marker, or a marker that starts the scan or ends the image before any frame header
        if prefix != 0xFF or marker in (0x00, 0xD9, 0xDA):
            raise BadImage(_UNREADABLE)
        if marker == 0xFF:  # padding
            file.seek(-1, 1)
        elif marker in _FRAME_HEADERS:
            height, width = struct.unpack(">3xHH", file.read(7))
            return width, height, rotated
        elif marker not in _MARKERS_WITHOUT_SEGMENT:
            (length,) = struct.unpack(">H", file.read(2))
            segment = file.read(length - 2) if marker == 0xE1 and length > 2 else b""
            if segment.startswith(b"Exif\0\0"):
                rotated = rotated or _is_rotated(segment[6:])
            file.seek(max(length, 2) - 2 - len(segment), 1)
    raise BadImage(f"has more than {_MAX_PARTS:,} segments, chunks or padding bytes before its pixels")


def _is_rotated(exif: bytes) -> bool:
    """Return whether the EXIF orientation swaps width and height. Returns False if the EXIF data cannot be read."""
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    if order is None:
        return False
    try:
        (start,) = struct.unpack_from(order + "4xI", exif)
        (entries,) = struct.unpack_from(order + "H", exif, start)
        for index in range(min(entries, _EXIF_BYTES // 12)):
            tag, kind, value = struct.unpack_from(order + "HH4xH", exif, start + 2 + 12 * index)
            if tag == _ORIENTATION:
                return kind == 3 and value in (5, 6, 7, 8)
    except struct.error:
        pass
    return False
