"""Copy a PNG or JPEG file without its metadata, so that damaged metadata cannot prevent the decoding of the pixels.

Browsers show images whose EXIF data, texts or checksums of optional chunks are damaged. Pillow refuses some of these
images. The metadata that matters, such as the orientation, is read by other modules.
"""

import re
import struct
import zlib
from collections.abc import Iterator

from framehouse.adapters.reference_files.file_types import PNG_SIGNATURE

_PIXEL_CHUNKS = frozenset((b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"))
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""The number of values per pixel, by the colour type of a PNG file."""
PNG_END = b"\0\0\0\0IEND\xaeB`\x82"
START_OF_SCAN, END_OF_IMAGE = 0xDA, 0xD9
START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""The markers of the frame header, which contains the size of the image and the number of its components."""
_COMPONENTS_OFFSET = 9
"""The position of the number of colour components in the frame header of a JPEG."""
_JPEG_END = b"\xff\xd9"
_MARKER = re.compile(rb"\xff[\x01\xc0-\xcf\xd8-\xfe]")
"""A pattern for JPEG markers. The pattern does not match restart markers, fill bytes or stuffed bytes."""
_ADOBE = 0xEE
"""The segment that specifies whether the colours of a JPEG are RGB, YCbCr, CMYK or YCCK."""


def without_metadata(content: bytes) -> bytes:
    """Return a PNG or JPEG file that contains only the data for its pixels. A missing end marker is added."""
    return _clean_png(content) if content.startswith(PNG_SIGNATURE) else _clean_jpeg(content)


def has_end_marker(content: bytes) -> bool:
    """Return whether a PNG or JPEG file contains the marker for the end of the image."""
    if content.startswith(PNG_SIGNATURE):
        return any(name == b"IEND" for name, _, _ in png_chunks(content))
    return any(marker == END_OF_IMAGE for marker, _, _ in jpeg_segments(content))


def pixel_data(png: bytes) -> bytes:
    """Return the decompressed pixel data of a PNG file, as far as it is present. At most the needed bytes are
    returned."""
    packed = b"".join(png[start + 8 : end - 4] for name, start, end in png_chunks(png) if name == b"IDAT")
    try:
        return zlib.decompressobj().decompress(packed, pixel_bytes(png))
    except zlib.error:
        return b""


def pixel_bytes(png: bytes) -> int:
    """Return the number of bytes of the decompressed pixel data of a PNG file, or less for an interlaced file."""
    width, height, depth, colour = struct.unpack_from(">IIBB", png, 16)
    return int(height * (1 + (width * depth * _CHANNELS.get(colour, 1) + 7) // 8))


def _clean_png(content: bytes) -> bytes:
    kept = [content[start:end] for name, start, end in png_chunks(content) if name in _PIXEL_CHUNKS]
    return b"".join((PNG_SIGNATURE, *kept, b"" if has_end_marker(content) else PNG_END))


def png_chunks(content: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield the name of each chunk, and the positions of its start and its end. The last chunk may be incomplete."""
    at, name = len(PNG_SIGNATURE), b""
    while at + 8 <= len(content) and name != b"IEND":
        (length,) = struct.unpack_from(">I", content, at)
        name = content[at + 4 : at + 8]
        yield name, at, at + 12 + length
        at += 12 + length


def _clean_jpeg(content: bytes) -> bytes:
    kept, first_scan = [content[:2]], None
    for marker, start, end in jpeg_segments(content):
        if marker == START_OF_SCAN and first_scan is None:
            first_scan = start  # all later segments belong to the pixels
        if marker == END_OF_IMAGE and first_scan is not None:
            return b"".join((*kept, content[first_scan:end]))
        is_metadata = marker == 0xFE or (0xE0 <= marker <= 0xEF and marker != _ADOBE)
        if first_scan is None and not is_metadata:
            kept.append(content[start:end])
    return content if first_scan is None else b"".join((*kept, content[first_scan:], _JPEG_END))


def jpeg_components(content: bytes) -> int:
    """Return the number of colour components of a JPEG file, or 0 if it has no frame header."""
    for marker, start, _ in jpeg_segments(content):
        if marker in START_OF_FRAME:
            return content[start + _COMPONENTS_OFFSET] if start + _COMPONENTS_OFFSET < len(content) else 0
    return 0


def jpeg_segments(content: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield the marker of each segment, and the positions of its start and its end, up to the end of the image.

    The pixels of a scan follow its segment. The content of segments is skipped, because a segment can contain a preview
    with its own markers. The last segment may be incomplete.
    """
    at, marker = 2, 0
    while marker != END_OF_IMAGE and (match := _MARKER.search(content, at)):
        marker, at = match[0][-1], match.end()
        if marker not in (0x01, END_OF_IMAGE):
            at += int.from_bytes(content[at : at + 2])
        yield marker, match.start(), at
