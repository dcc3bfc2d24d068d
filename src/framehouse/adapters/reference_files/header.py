"""Read the type, the size and the orientation of an image from its header, without decoding pixels.

The first bytes of the file determine the type. This parser does not use Pillow, because Pillow keeps in memory all data
that precedes the pixels: for a file with ten megabytes of tiny segments, Pillow needs several seconds and hundreds of
megabytes of memory. The processes in which this parser runs have no limits on time and memory that could stop Pillow.
Incorrect values in a header are detected later, by the module `decode`.
"""

import struct
from dataclasses import dataclass
from typing import BinaryIO, Literal

from framehouse.adapters.reference_files.file_types import HEAD_BYTES, file_type
from framehouse.domain.reference import MAX_REFERENCE_BYTES, reference_problem

_PNG = b"\x89PNG\r\n\x1a\n"
_MAX_PARTS = 2000
"""The maximum number of segments, chunks or padding bytes before the pixels. A colour profile of ten megabytes needs
160 segments."""
_FRAME_HEADERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_MARKERS_WITHOUT_SEGMENT = frozenset((0x01, *range(0xD0, 0xD8)))
_EXIF_BYTES = 65536
_ORIENTATION = 0x0112
_SIZES_OF_TYPES = {1: 1, 3: 2, 4: 4}
"""The sizes in bytes of the EXIF types BYTE, SHORT and LONG. The standard allows only SHORT for the orientation."""
_FIRST_SWAPPED = 5
"""From this orientation on, the width and the height are swapped."""


class BadImage(Exception):
    """Raised when a file cannot be used as a reference.

    The message is the end of a sentence that starts with a request field, for example "image_list[0].image".
    """


@dataclass(frozen=True, slots=True)
class Header:
    """The size of an image in pixels before the rotation, and its EXIF orientation, which is 1 if it is missing."""

    width: int
    height: int
    orientation: int

    @property
    def upright_size(self) -> tuple[int, int]:
        """The width and the height after the rotation."""
        return (self.height, self.width) if self.orientation >= _FIRST_SWAPPED else (self.width, self.height)


def inspect(file: BinaryIO, size: int) -> tuple[int, int]:
    """Check the header of a file against the rules for references. `size` is the length of the file in bytes.

    Returns the width and height in pixels after the EXIF rotation. Raises BadImage if the file breaks a rule.
    """
    if not size:
        raise BadImage("is empty")
    if size > MAX_REFERENCE_BYTES:
        raise BadImage(f"has {size:,} bytes; at most {MAX_REFERENCE_BYTES:,} are allowed")
    header = read_header(file)
    if problem := reference_problem(header.width, header.height):
        raise BadImage(problem)
    return header.upright_size


def read_header(file: BinaryIO) -> Header:
    """Read the header of a JPEG or PNG file. Raises BadImage if there is no complete header."""
    head = file.read(HEAD_BYTES)
    try:
        if head.startswith(_PNG):
            file.seek(len(_PNG))
            return _png(file)
        if head.startswith(b"\xff\xd8\xff"):
            file.seek(2)
            return _jpeg(file)
    except struct.error:
        raise BadImage(_UNREADABLE) from None
    found = file_type(head)
    raise BadImage(f"is {found}, not a jpg or png image" if found else _UNREADABLE)


_UNREADABLE = "cannot be read as a jpg or png image"


def _png(file: BinaryIO) -> Header:
    length, name = struct.unpack(">I4s", file.read(8))
    if name != b"IHDR" or length != 13:
        raise BadImage(_UNREADABLE)
    width, height = struct.unpack(">II", file.read(8))
    file.seek(5 + 4, 1)
    orientation = 1
    for _ in range(_MAX_PARTS):
        length, name = struct.unpack(">I4s", file.read(8))
        if name == b"IDAT":
            return Header(width, height, orientation)
        if name == b"acTL":
            raise BadImage("is an animation; it must be a jpg or png with one frame")
        if name == b"eXIf":
            orientation = _orientation(file.read(min(length, _EXIF_BYTES)))
            length -= min(length, _EXIF_BYTES)
        file.seek(length + 4, 1)
    raise BadImage(f"has more than {_MAX_PARTS:,} segments, chunks or padding bytes before its pixels")


def _jpeg(file: BinaryIO) -> Header:
    orientation = 1
    for _ in range(_MAX_PARTS):
        prefix, marker = struct.unpack("BB", file.read(2))
        # not a marker, or a marker that starts the scan or ends the image before any frame header
        if prefix != 0xFF or marker in (0x00, 0xD9, 0xDA):
            raise BadImage(_UNREADABLE)
        if marker == 0xFF:  # padding
            file.seek(-1, 1)
        elif marker in _FRAME_HEADERS:
            height, width = struct.unpack(">3xHH", file.read(7))
            return Header(width, height, orientation)
        elif marker not in _MARKERS_WITHOUT_SEGMENT:
            (length,) = struct.unpack(">H", file.read(2))
            segment = file.read(length - 2) if marker == 0xE1 and length > 2 else b""
            if segment.startswith(b"Exif\0\0"):
                orientation = _orientation(segment[6:]) if orientation == 1 else orientation
            file.seek(max(length, 2) - 2 - len(segment), 1)
    raise BadImage(f"has more than {_MAX_PARTS:,} segments, chunks or padding bytes before its pixels")


def _orientation(exif: bytes) -> int:
    """Return the EXIF orientation. Returns 1 if there is no valid orientation. All other EXIF data is ignored."""
    order: Literal["little", "big"] | None = {b"II": "little", b"MM": "big"}.get(exif[:2])  # type: ignore[assignment]
    if order is None:
        return 1

    def number(at: int, size: int) -> int:
        return int.from_bytes(exif[at : at + size], order)

    start = number(4, 4)
    for index in range(min(number(start, 2), _EXIF_BYTES // 12)):
        entry = start + 2 + 12 * index
        if number(entry, 2) == _ORIENTATION:
            value = number(entry + 8, _SIZES_OF_TYPES.get(number(entry + 2, 2), 0))
            return value if 1 <= value <= 8 else 1
    return 1
