"""Find the colour profile of an image file, as browsers do."""

import io
import struct
import zlib

from framehouse.adapters.reference_files.clean_file import START_OF_SCAN, jpeg_components, jpeg_segments, png_chunks
from framehouse.adapters.reference_files.file_types import HEAD_BYTES, image_type
from framehouse.adapters.reference_files.heif_header import HeifHeader, read_heif_header
from framehouse.adapters.reference_files.icc_profile import SRGB_CHROMATICITIES, profile_of_code_points, rgb_profile
from framehouse.adapters.reference_files.webp_header import webp_profile

MAX_PROFILE_BYTES = 4_000_000
"""The maximum size of a profile in bytes. A larger profile is ignored. Profiles of printers have up to 3 MB."""
_COMPONENTS = {b"RGB ": (1, 3), b"GRAY": (1,), b"CMYK": (4,)}
"""The numbers of colour components of the images that a profile can describe, by its colour space."""
_PNG_COMPONENTS = {0: 1, 2: 3, 3: 3, 4: 1, 6: 3}
"""The number of colour components, by the colour type of a PNG file. A palette contains RGB colours."""
_SRGB, _VIDEO = 13, (1, 6, 14, 15)
"""Transfer characteristics of H.273."""
_ICC_SEGMENT, _ICC_MARK = 0xE2, b"ICC_PROFILE\0"
_COLOUR_CHUNKS = frozenset((b"cICP", b"iCCP", b"sRGB", b"gAMA", b"cHRM"))
_CHUNK_HEADER_BYTES, _CHECKSUM_BYTES = 8, 4
_CHROMATICITIES_BYTES = 32
_ONE = 100_000
"""The number that stands for 1 in the chunks gAMA and cHRM."""
_SRGB_GAMMA, _GAMMA_TOLERANCE = 45_455, 0.05
"""The value of gAMA in sRGB images, and the relative difference that browsers ignore if the file has no cHRM."""


def find_profile(content: bytes) -> bytes:
    """Return the ICC profile of an image file, or a profile for its code points, gamma and chromaticities.

    Returns b"" if the file has no colour information, or if the information is too large, is not supported (for example
    high dynamic range) or describes another kind of image. The profile may be damaged, and may describe sRGB.
    """
    components = 3
    match image_type(content[:HEAD_BYTES]):
        case "png":
            profile, components = _png_profile(content), _PNG_COMPONENTS.get(content[25], 3)
        case "jpg":
            profile, components = _jpeg_profile(content), jpeg_components(content)
        case "webp":
            profile = webp_profile(content)
        case _:
            header = read_heif_header(io.BytesIO(content))
            profile = _heif_profile(header) if header else b""
    fits = components in _COMPONENTS.get(profile[16:20], ())
    return profile if fits and len(profile) <= MAX_PROFILE_BYTES else b""


def _heif_profile(header: HeifHeader) -> bytes:
    """Return the profile of an AVIF or HEIC file. The curves of video are regarded as the curve of sRGB."""
    primaries, transfer = header.code_points or (0, 0)
    return header.profile or profile_of_code_points(primaries, _SRGB if transfer in _VIDEO else transfer)


def _jpeg_profile(content: bytes) -> bytes:
    """Join the segments of the profile. The number of a segment follows its mark."""
    parts: dict[int, bytes] = {}
    for marker, start, end in jpeg_segments(content):
        if marker == START_OF_SCAN:
            break
        segment = content[start + 4 : end]
        if marker == _ICC_SEGMENT and segment.startswith(_ICC_MARK) and len(segment) > len(_ICC_MARK) + 2:
            parts.setdefault(segment[len(_ICC_MARK)], segment[len(_ICC_MARK) + 2 :])
    profile = b"".join(parts[number] for number in sorted(parts))
    return profile if len(profile) <= MAX_PROFILE_BYTES else b""


def _png_profile(content: bytes) -> bytes:
    chunks: dict[bytes, bytes] = {}
    for name, start, end in png_chunks(content):
        if name == b"IDAT":
            break
        if name in _COLOUR_CHUNKS:
            chunks.setdefault(name, content[start + _CHUNK_HEADER_BYTES : end - _CHECKSUM_BYTES])
    return _coded(chunks.get(b"cICP", b"")) or _unpacked(chunks.get(b"iCCP", b"")) or _gamma(chunks)


def _coded(chunk: bytes) -> bytes:
    """Return a profile for a cICP chunk. Only RGB colours with the full range of values are used."""
    return profile_of_code_points(chunk[0], chunk[1]) if chunk[2:] == b"\0\1" else b""


def _gamma(chunks: dict[bytes, bytes]) -> bytes:
    """Return a profile for the chunks gAMA and cHRM. The chunk cHRM is used only together with gAMA.

    Returns b"" if the file has an sRGB chunk, or if it has no cHRM and its gamma is almost that of sRGB.
    """
    gamma = int.from_bytes(chunks.get(b"gAMA", b"")[:4])
    if b"sRGB" in chunks or not gamma:
        return b""
    if len(chunks.get(b"cHRM", b"")) != _CHROMATICITIES_BYTES:
        is_srgb = abs(gamma / _SRGB_GAMMA - 1) < _GAMMA_TOLERANCE
        return b"" if is_srgb else rgb_profile(SRGB_CHROMATICITIES, (_ONE / gamma,))
    values = [value / _ONE for value in struct.unpack(">8I", chunks[b"cHRM"])]
    return rgb_profile(tuple(zip(values[::2], values[1::2], strict=True)), (_ONE / gamma,))


def _unpacked(chunk: bytes) -> bytes:
    """Return the profile in an iCCP chunk.

    The chunk consists of a name, a null byte, the compression method (0) and the compressed profile. Returns b"" if the
    chunk is damaged or the profile is too large.
    """
    _, _, packed = chunk.partition(b"\0")
    inflater = zlib.decompressobj()
    try:
        profile = inflater.decompress(packed[1:], MAX_PROFILE_BYTES)
    except zlib.error:
        return b""
    return profile if inflater.eof else b""
