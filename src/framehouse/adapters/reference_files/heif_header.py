"""Read the header of an AVIF or HEIC file. Sources: ISO/IEC 14496-12 (boxes) and 23008-12 (properties of images)."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from framehouse.domain.reference import MAX_REFERENCE_BYTES

_MAX_BOXES = 64
_MAX_ITEMS = 5000
"""The maximum number of items whose properties are read. A photo of a phone has about a hundred items."""
_MAX_META_BYTES = 1_000_000
"""The maximum size of the box that describes the image and contains its colour profile. A file with a larger box is
refused."""
_ORIENTATIONS = {
    (0, None): 1,
    (0, 1): 2,
    (2, None): 3,
    (0, 0): 4,
    (1, 0): 5,
    (3, 1): 5,
    (3, None): 6,
    (3, 0): 7,
    (1, 1): 7,
    (1, None): 8,
    (2, 0): 2,
    (2, 1): 4,
}
"""The EXIF orientation, by the rotation (in counter-clockwise quarter turns) and the axis of the mirror (None: not
mirrored)."""


@dataclass(frozen=True, slots=True)
class HeifHeader:
    """The size of the image in pixels before the rotation, its rotation as an EXIF orientation, and its colours.

    `profile` is the ICC profile, or empty. `code_points` are the colour primaries and the transfer characteristics of
    H.273, or None.
    """

    width: int
    height: int
    orientation: int = 1
    profile: bytes = b""
    code_points: tuple[int, int] | None = None


def read_heif_header(file: BinaryIO) -> HeifHeader | None:
    """Read the properties of the primary image. Returns None if they are missing.

    Raises struct.error or IndexError if the header is truncated or damaged.
    """
    for _ in range(_MAX_BOXES):
        start = file.tell()
        size, name = struct.unpack(">I4s", file.read(8))
        head_bytes = 8
        if size == 1:
            (size,) = struct.unpack(">Q", file.read(8))
            head_bytes = 16
        if name == b"meta" and head_bytes < size <= _MAX_META_BYTES:
            return _from_meta(file.read(size - head_bytes))
        if not head_bytes <= size <= MAX_REFERENCE_BYTES:
            return None
        file.seek(start + size)
    return None


def _from_meta(meta: bytes) -> HeifHeader | None:
    boxes = dict(_boxes(meta[4:]))
    properties = dict(_boxes(boxes.get(b"iprp", b"")))
    all_properties = list(_boxes(properties.get(b"ipco", b"")))
    primary = boxes.get(b"pitm", b"")
    item = int.from_bytes(primary[4:6] if primary[:1] == b"\0" else primary[4:8])
    size: tuple[int, int] | None = None
    rotation, mirror, profile = 0, None, b""
    code_points: tuple[int, int] | None = None
    for index in _associated(properties.get(b"ipma", b""), item):
        name, body = all_properties[index - 1] if 0 < index <= len(all_properties) else (b"", b"")
        match name:
            case b"ispe":
                width, height = struct.unpack_from(">II", body, 4)
                size = width, height
            case b"irot":
                rotation = body[0] & 3
            case b"imir":
                mirror = body[0] & 1
            case b"colr" if body[:4] in (b"prof", b"rICC"):
                profile = body[4:]
            case b"colr" if body[:4] == b"nclx":
                primaries, transfer = struct.unpack_from(">HH", body, 4)
                code_points = primaries, transfer
    if size is None:
        return None
    return HeifHeader(*size, _ORIENTATIONS[rotation, mirror], profile, code_points)


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the name and the content of each box, in order. Stops at the first damaged box."""
    at = 0
    while at + 8 <= len(data):
        size, name = struct.unpack_from(">I4s", data, at)
        if size < 8 or at + size > len(data):
            return
        yield name, data[at + 8 : at + size]
        at += size


def _associated(ipma: bytes, item: int) -> list[int]:
    """Return the numbers of the properties of an item, in order. The first property has the number 1."""
    (entries,) = struct.unpack_from(">I", ipma, 4)
    id_bytes, index_bytes = 4 if ipma[0] else 2, 2 if ipma[3] & 1 else 1
    at = 8
    for _ in range(min(entries, _MAX_ITEMS)):
        found = int.from_bytes(ipma[at : at + id_bytes])
        count = ipma[at + id_bytes]
        at += id_bytes + 1
        if found == item:
            mask = (1 << 8 * index_bytes - 1) - 1
            ends = range(at + index_bytes, at + index_bytes * (count + 1), index_bytes)
            return [int.from_bytes(ipma[end - index_bytes : end]) & mask for end in ends]
        at += index_bytes * count
    return []
