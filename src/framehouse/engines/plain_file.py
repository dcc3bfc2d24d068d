"""Convert references to files that every upstream accepts and shows in the same way."""

import io
import re

from isal import isal_zlib
from PIL import Image

from framehouse.adapters.reference_files.clean_file import (
    START_OF_FRAME,
    has_end_marker,
    jpeg_components,
    jpeg_segments,
    png_chunks,
)
from framehouse.adapters.reference_files.colour_profile import find_profile
from framehouse.adapters.reference_files.colours import changes_colours
from framehouse.adapters.reference_files.file_types import PNG_SIGNATURE
from framehouse.adapters.reference_files.header import BadImage, read_header
from framehouse.domain.errors import Broken
from framehouse.domain.reference import MAX_REFERENCE_BYTES
from framehouse.engines.image_files import decode_reference, decode_reference_rgb

_RGB_8_BIT = b"\x08\x02"
"""The bit depth and the colour type of a PNG file."""
_DEPTH_AND_COLOUR = slice(24, 26)
_EXIF_OR_XMP = 0xE1
_METADATA_CHUNKS = frozenset((b"eXIf", b"tEXt", b"zTXt", b"iTXt"))
_ORIENTATION = re.compile(rb"tiff:Orientation|Raw profile type (?:exif|APP1)|eXIf")
"""A pattern for metadata from which some decoders, but no browsers, read a rotation."""
_JPEG_QUALITIES = ({"quality": 95, "subsampling": 0}, {"quality": 85}, {"quality": 75})
_SCALE_PER_STEP = 0.8


def plain_file(content: bytes, *, convert_colours: bool, opaque: bool = False) -> bytes:
    """Return a JPEG or PNG file that every upstream accepts. Blocks the calling thread.

    Files of other types, and rotated, damaged and CMYK files, are converted to an upright sRGB image without metadata.
    If `convert_colours` is true, files with a colour profile other than sRGB are also converted. All other files are
    returned unchanged. If `opaque` is true, transparent areas become white, and the result always has 8-bit RGB pixels.

    Raises Broken if the file cannot be decoded.
    """
    try:
        plain = _is_plain(content, opaque=opaque)
    except BadImage as error:
        raise Broken(f"a reference {error}") from error
    if plain and not (convert_colours and changes_colours(find_profile(content))):
        return content
    image = decode_reference_rgb(content) if opaque else decode_reference(content, max_px=0)
    return _encoded(image, lossless=image.mode == "RGBA" or content.startswith(PNG_SIGNATURE))


def _is_plain(content: bytes, *, opaque: bool) -> bool:
    """Return whether a file is an upright, undamaged JPEG or PNG file whose pixels every upstream accepts."""
    header = read_header(io.BytesIO(content))
    if header.orientation != 1 or header.type not in ("jpg", "png") or not has_end_marker(content):
        return False
    if header.type == "jpg":
        components = (3,) if opaque else (1, 3)
        return jpeg_components(content) in components and not _has_other_orientation(content)
    chunks = list(png_chunks(content))
    names = {name for name, _, _ in chunks}
    if opaque and (content[_DEPTH_AND_COLOUR] != _RGB_8_BIT or b"tRNS" in names):
        return False
    if any(name in _METADATA_CHUNKS and _ORIENTATION.search(content[start:end]) for name, start, end in chunks):
        return False
    return all(
        isal_zlib.crc32(content[start + 4 : end - 4]) == int.from_bytes(content[end - 4 : end])
        for _, start, end in chunks
    )


def _has_other_orientation(jpeg: bytes) -> bool:
    """Return whether metadata that browsers ignore may specify a rotation: XMP, or EXIF after the frame header."""
    after_frame = False
    for marker, start, end in jpeg_segments(jpeg):
        after_frame = after_frame or marker in START_OF_FRAME
        segment = jpeg[start + 4 : end]
        if marker == _EXIF_OR_XMP and (_ORIENTATION.search(segment) or (after_frame and segment.startswith(b"Exif"))):
            return True
    return False


def _encoded(image: Image.Image, *, lossless: bool) -> bytes:
    """Encode an image in at most MAX_REFERENCE_BYTES bytes.

    If the file would be larger, the image is encoded as a JPEG without transparency, then with a lower quality, and
    finally with fewer pixels.
    """
    if lossless and len(file := _save(image, "PNG")) <= MAX_REFERENCE_BYTES:
        return file
    if image.mode == "RGBA":
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    while True:
        for options in _JPEG_QUALITIES:
            file = _save(image, "JPEG", **options)
            if len(file) <= MAX_REFERENCE_BYTES:
                return file
        image = image.resize(
            (round(image.width * _SCALE_PER_STEP), round(image.height * _SCALE_PER_STEP)), Image.Resampling.LANCZOS
        )


def _save(image: Image.Image, file_format: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()
