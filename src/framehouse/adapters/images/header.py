"""What a picture's header says: type by content, size, orientation. Reads a few hundred bytes, decodes nothing.

Our own parser, because Pillow keeps everything that stands before the pixels: a file of ten megabytes of tiny segments
costs it seconds and hundreds of megabytes. It runs where no limits guard it; decode.py finds whether it is true.
"""

import struct
from typing import BinaryIO

from framehouse.domain.reference import MAX_REFERENCE_BYTES, reference_problem

_PNG = b"\x89PNG\r\n\x1a\n"
_MOST_PARTS = 2000
"""Segments or chunks before the pixels. Ten megabytes of colour profile are 160."""
_SIZES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # the frame headers
_BARE = frozenset((0x01, *range(0xD0, 0xD8)))  # markers without a segment
_EXIF_BYTES = 65536
_ORIENTATION = 0x0112


class BadImage(Exception):
    """The bytes are not a usable reference; the message continues "image_list[0].image …"."""


def inspect(file: BinaryIO, size: int) -> tuple[int, int]:
    """Width and height in pixels, as shown (EXIF rotation applied), of a file that meets the contract's rules as far as
    its header goes. `size` is in bytes. Raises BadImage."""
    if not size:
        raise BadImage("is empty")
    if size > MAX_REFERENCE_BYTES:
        raise BadImage(f"has {size:,} bytes; at most {MAX_REFERENCE_BYTES:,} are allowed")
    try:
        begin = file.read(8)
        if begin == _PNG:
            width, height, turned = _png(file)
        elif begin.startswith(b"\xff\xd8\xff"):
            file.seek(2)
            width, height, turned = _jpeg(file)
        else:
            raise BadImage(_UNREADABLE)
    except struct.error:
        raise BadImage(_UNREADABLE) from None
    if problem := reference_problem(width, height):
        raise BadImage(problem)
    return (height, width) if turned else (width, height)


_UNREADABLE = "cannot be read as a jpg or png image"


def _png(file: BinaryIO) -> tuple[int, int, bool]:
    length, name = struct.unpack(">I4s", file.read(8))
    if name != b"IHDR" or length != 13:
        raise BadImage(_UNREADABLE)
    width, height = struct.unpack(">II", file.read(8))
    file.seek(5 + 4, 1)
    turned = False
    for _ in range(_MOST_PARTS):
        length, name = struct.unpack(">I4s", file.read(8))
        if name == b"IDAT":
            return width, height, turned
        if name == b"acTL":
            raise BadImage("is an animation; a still jpg or png is needed")
        if name == b"eXIf":
            turned = _is_turned(file.read(min(length, _EXIF_BYTES)))
            length -= min(length, _EXIF_BYTES)
        file.seek(length + 4, 1)
    raise BadImage(f"has more than {_MOST_PARTS:,} parts before its pixels, which is not accepted")


def _jpeg(file: BinaryIO) -> tuple[int, int, bool]:
    turned = False
    for _ in range(_MOST_PARTS):
        mark, marker = struct.unpack("BB", file.read(2))
        if mark != 0xFF or marker in (0x00, 0xD9, 0xDA):  # pixels, or the end, without a size
            raise BadImage(_UNREADABLE)
        if marker == 0xFF:  # padding
            file.seek(-1, 1)
        elif marker in _SIZES:
            height, width = struct.unpack(">3xHH", file.read(7))
            return width, height, turned
        elif marker not in _BARE:
            (length,) = struct.unpack(">H", file.read(2))
            segment = file.read(length - 2) if marker == 0xE1 and length > 2 else b""
            if segment.startswith(b"Exif\0\0"):
                turned = turned or _is_turned(segment[6:])
            file.seek(max(length, 2) - 2 - len(segment), 1)
    raise BadImage(f"has more than {_MOST_PARTS:,} parts before its pixels, which is not accepted")


def _is_turned(exif: bytes) -> bool:
    """Whether the orientation lays the picture on its side. What cannot be read is upright."""
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
