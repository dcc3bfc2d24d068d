"""Read the type, the size and the orientation of an image from its header, without decoding pixels.

The first bytes of the file determine the type. This parser does not use Pillow, because Pillow keeps in memory all data
that precedes the pixels: for a file with ten megabytes of tiny segments, Pillow needs several seconds and hundreds of
megabytes of memory. The processes in which this parser runs have no limits on time and memory that could stop Pillow.
Incorrect values in a header are detected later, by the module `decode`.
"""

import struct
from dataclasses import dataclass
from typing import BinaryIO, Literal, get_args

from framehouse.adapters.reference_files.clean_file import START_OF_FRAME
from framehouse.adapters.reference_files.file_types import (
    HEAD_BYTES,
    PNG_SIGNATURE,
    ImageType,
    accepted_types,
    available_types,
    file_type,
    image_type,
)
from framehouse.adapters.reference_files.heif_header import read_heif_header
from framehouse.adapters.reference_files.webp_header import read_webp_header
from framehouse.domain.mask import NO_ALPHA, NOT_PNG
from framehouse.domain.reference import MAX_REFERENCE_BYTES, reference_problem

ANIMATION = "is an animation; it must have a single frame"
_MAX_PARTS = 2000
"""The maximum number of segments, chunks or padding bytes before the pixels. A colour profile of ten megabytes needs
160 segments."""
_MARKERS_WITHOUT_SEGMENT = frozenset((0x01, *range(0xD0, 0xD8)))
_EXIF_BYTES = 65536
_ORIENTATION = 0x0112
_SIZES_OF_TYPES = {1: 1, 3: 2, 4: 4}
"""The sizes in bytes of the EXIF types BYTE, SHORT and LONG. The standard allows only SHORT for the orientation."""
_COLOUR_TYPES_WITH_ALPHA = (4, 6)
"""The colour types of PNG files with an alpha channel: greyscale and RGB."""
_FIRST_SWAPPED = 5
"""From this orientation on, the width and the height are swapped."""


class BadImage(Exception):
    """Raised when a file cannot be used as a reference.

    The message is the end of a sentence that starts with a request field, for example "image_list[0].image".
    """


@dataclass(frozen=True, slots=True)
class Header:
    """The type of an image, its size in pixels before the rotation, and its EXIF orientation, which is 1 by default.

    `alpha` is true for a PNG file with an alpha channel, or with transparent colours (chunk `tRNS`). It is false for
    files of other types.
    """

    type: ImageType
    width: int
    height: int
    orientation: int
    alpha: bool = False

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
    head = file.read(HEAD_BYTES)
    if image_type(head) not in accepted_types():
        raise _wrong_type(head)
    file.seek(0)
    header = read_header(file)
    if problem := reference_problem(header.width, header.height):
        raise BadImage(problem)
    return header.upright_size


def inspect_mask(file: BinaryIO, size: int) -> tuple[int, int]:
    """Check the header of a mask against the rules for references and for masks, as `inspect` does for a reference."""
    upright_size = inspect(file, size)
    file.seek(0)
    header = read_header(file)
    if header.type != "png":
        raise BadImage(NOT_PNG)
    if not header.alpha:
        raise BadImage(NO_ALPHA)
    return upright_size


def read_header(file: BinaryIO) -> Header:
    """Read the header of an image of any available type. Raises BadImage if there is no complete header."""
    head = file.read(HEAD_BYTES)
    type_ = image_type(head)
    if type_ not in available_types():
        raise _wrong_type(head)
    file.seek(0)
    try:
        match type_:
            case "png":
                return _png(file)
            case "jpg":
                return _jpeg(file)
            case "webp":
                return _webp(file)
            case _:
                return _heif(file, type_)
    except (struct.error, IndexError):
        raise _unreadable() from None


def _wrong_type(head: bytes) -> BadImage:
    found = file_type(head)
    if not found:
        return _unreadable()
    return BadImage(f"is {found}; {_accepted()}")


def _unreadable() -> BadImage:
    return BadImage(f"cannot be read as an image; {_accepted()}")


def _accepted() -> str:
    return f"accepted types: {', '.join(name for name in get_args(ImageType) if name in accepted_types())}"


def _webp(file: BinaryIO) -> Header:
    header = read_webp_header(file)
    if header is None:
        raise _unreadable()
    if header.animated:
        raise BadImage(ANIMATION)
    return Header("webp", header.width, header.height, 1)


def _heif(file: BinaryIO, type_: ImageType) -> Header:
    header = read_heif_header(file)
    if header is None:
        raise _unreadable()
    return Header(type_, header.width, header.height, header.orientation)


def _png(file: BinaryIO) -> Header:
    file.seek(len(PNG_SIGNATURE))
    length, name = struct.unpack(">I4s", file.read(8))
    if name != b"IHDR" or length != 13:
        raise _unreadable()
    width, height, _, colour_type = struct.unpack(">IIBB", file.read(10))
    file.seek(3 + 4, 1)
    orientation, alpha = 1, colour_type in _COLOUR_TYPES_WITH_ALPHA
    for _ in range(_MAX_PARTS):
        length, name = struct.unpack(">I4s", file.read(8))
        if name == b"IDAT":
            return Header("png", width, height, orientation, alpha)
        alpha = alpha or name == b"tRNS"
        if name == b"acTL":
            raise BadImage(ANIMATION)
        if name == b"eXIf":
            orientation = _orientation(file.read(min(length, _EXIF_BYTES)))
            length -= min(length, _EXIF_BYTES)
        file.seek(length + 4, 1)
    raise BadImage(f"has more than {_MAX_PARTS:,} segments, chunks or padding bytes before its pixels")


def _jpeg(file: BinaryIO) -> Header:
    file.seek(2)
    orientation = 1
    for _ in range(_MAX_PARTS):
        prefix, marker = struct.unpack("BB", file.read(2))
        # not a marker, or a marker that starts the scan or ends the image before any frame header
        if prefix != 0xFF or marker in (0x00, 0xD9, 0xDA):
            raise _unreadable()
        if marker == 0xFF:  # padding
            file.seek(-1, 1)
        elif marker in START_OF_FRAME:
            height, width = struct.unpack(">3xHH", file.read(7))
            return Header("jpg", width, height, orientation)
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
