"""Convert references to files that every upstream accepts and shows in the same way."""

import io

from isal import isal_zlib
from PIL import Image

from framehouse.adapters.reference_files.clean_file import START_OF_FRAME, has_end_marker, jpeg_segments, png_chunks
from framehouse.adapters.reference_files.colour_profile import find_profile
from framehouse.adapters.reference_files.colours import changes_colours
from framehouse.adapters.reference_files.file_types import PNG_SIGNATURE
from framehouse.adapters.reference_files.header import read_header
from framehouse.domain.reference import MAX_REFERENCE_BYTES
from framehouse.engines.image_files import decode_reference, decode_reference_rgb

_RGB_8_BIT = b"\x08\x02"
"""The bit depth and the colour type of a PNG file."""
_DEPTH_AND_COLOUR = slice(24, 26)
_COMPONENTS_OFFSET = 9
"""The position of the number of colour components in the frame header of a JPEG."""
_JPEG_QUALITIES = (95, 85)
_SCALE_PER_STEP = 0.8


def plain_file(content: bytes, *, convert_colours: bool, opaque: bool = False) -> bytes:
    """Return a JPEG or PNG file that every upstream accepts. Blocks the calling thread.

    Files of other types, and rotated, damaged and CMYK files, are converted to an upright sRGB image without metadata.
    If `convert_colours` is true, files with a colour profile other than sRGB are also converted. All other files are
    returned unchanged. If `opaque` is true, transparent areas become white, and the result always has 8-bit RGB pixels.

    Raises Broken if the file cannot be decoded.
    """
    if _is_plain(content, opaque=opaque) and not (convert_colours and changes_colours(find_profile(content))):
        return content
    image = decode_reference_rgb(content) if opaque else decode_reference(content, max_px=0)
    return _encoded(image, lossless=image.mode == "RGBA" or content.startswith(PNG_SIGNATURE))


def _is_plain(content: bytes, *, opaque: bool) -> bool:
    """Return whether a file is an upright, undamaged JPEG or PNG file whose pixels every upstream accepts."""
    header = read_header(io.BytesIO(content))
    if header.orientation != 1 or header.type not in ("jpg", "png") or not has_end_marker(content):
        return False
    if header.type == "jpg":
        segments = ((start, marker) for marker, start, _ in jpeg_segments(content))
        frame = next((start for start, marker in segments if marker in START_OF_FRAME), 0)
        return content[frame + _COMPONENTS_OFFSET] == 3 or (content[frame + _COMPONENTS_OFFSET] == 1 and not opaque)
    names = {name for name, _, _ in png_chunks(content)}
    if opaque and (content[_DEPTH_AND_COLOUR] != _RGB_8_BIT or b"tRNS" in names):
        return False
    return all(
        isal_zlib.crc32(content[start + 4 : end - 4]) == int.from_bytes(content[end - 4 : end])
        for _, start, end in png_chunks(content)
    )


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
        for quality in _JPEG_QUALITIES:
            file = _save(image, "JPEG", quality=quality, subsampling=0)
            if len(file) <= MAX_REFERENCE_BYTES:
                return file
        image = image.resize(
            (round(image.width * _SCALE_PER_STEP), round(image.height * _SCALE_PER_STEP)), Image.Resampling.LANCZOS
        )


def _save(image: Image.Image, file_format: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()
