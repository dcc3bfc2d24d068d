"""Convert the colours of a decoded image to sRGB, as browsers do.

An image without colour information is an sRGB image. Damaged colour information is ignored.
"""

import io

import numpy as np
from PIL import Image, ImageChops, ImageCms

from framehouse.adapters.reference_files.icc_profile import SRGB_CHROMATICITIES, SRGB_CURVE, rgb_profile

_SRGB = rgb_profile(SRGB_CHROMATICITIES, SRGB_CURVE)
_MODES = {b"RGB ": "RGB", b"GRAY": "L", b"CMYK": "CMYK"}
"""The image mode that a profile describes, by the colour space in the header of the profile."""
_GREY_MODES = ("1", "L", "LA")
_COLOUR_SPACE, _CONNECTION_SPACE = slice(16, 20), slice(20, 24)
"""The positions of two fields in the header of a profile."""
_TAGS_START, _TAG_BYTES, _MAX_TAGS = 132, 12, 100
_MAX_DIFFERENCE = 1
"""The maximum difference of two colour values that are regarded as identical. Colour values are from 0 to 255."""


def to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """Return the image as an RGB image in sRGB, or as an RGBA image if it has transparency. `image` may be modified.

    `profile` is an ICC profile, or empty if the colours are sRGB colours. A profile is ignored if it is damaged, or if
    it describes another kind of image.
    """
    if image.mode.startswith("I"):
        image = _eight_bits(image)
    alpha = alpha_channel(image)
    mode = _MODES.get(profile[_COLOUR_SPACE])
    if mode == "L" and image.mode in _GREY_MODES and (table := _grey_table(profile)):
        converted = image.convert("L").point(table).convert("RGB")
    elif mode == "RGB" and image.mode != "CMYK" and (transform := _transform(profile, mode)):
        converted = transform.apply_in_place(_opaque(image))
    elif mode == "CMYK" == image.mode and (transform := _transform(profile, mode)):
        converted = transform.apply(_without_black(image))
    else:
        converted = _opaque(image)
    if alpha is not None:
        converted.putalpha(alpha)
    converted.info = {}  # otherwise a copy of the image would be saved with a profile or other metadata
    return converted


def alpha_channel(image: Image.Image) -> Image.Image | None:
    """Return the transparency of the image in the mode L, or None if the image has no transparency."""
    if image.mode.startswith("I"):
        image = _eight_bits(image)
    if not image.has_transparency_data:
        return None
    return image.getchannel("A") if "A" in image.getbands() else image.convert("RGBA").getchannel("A")


def _eight_bits(image: Image.Image) -> Image.Image:
    """Convert a 16-bit greyscale image to an 8-bit greyscale image."""
    values, transparent = np.asarray(image), image.info.get("transparency")
    converted = Image.fromarray((values / 257 + 0.5).clip(0, 255).astype(np.uint8))
    if isinstance(transparent, int):
        converted.putalpha(Image.fromarray((values != transparent).astype(np.uint8) * 255))
    return converted


def changes_colours(profile: bytes) -> bool:
    """Return whether ignoring the profile of an image may change its colours. `profile` is the result of
    `find_profile`. The result is always true for CMYK profiles."""
    match _MODES.get(profile[_COLOUR_SPACE]):
        case "RGB":
            return _transform(profile, "RGB") is not None
        case "L":
            table = _grey_table(profile) or range(256)
            return any(abs(converted - value) > _MAX_DIFFERENCE for value, converted in enumerate(table))
        case None:
            return False
    return True


def _opaque(image: Image.Image) -> Image.Image:
    """Return the image as an RGB image. The colours of transparent pixels stay unchanged. An opaque RGB image is not
    copied."""
    if image.has_transparency_data:
        return image.convert("RGBA").convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _without_black(image: Image.Image) -> Image.Image:
    """Return a CMYK image in which cyan, magenta and yellow replace black.

    Chromium applies the profile to these colours, so dark colours are slightly lighter than in print.
    """
    cyan, magenta, yellow = ImageChops.invert(image.convert("RGB")).split()
    return Image.merge("CMYK", (cyan, magenta, yellow, Image.new("L", image.size)))


def _without_process_elements(profile: bytes) -> bytes:
    """Return the profile without its tags for multi-process elements.

    Browsers ignore these tags. In a hostile profile, Little CMS would need hours or gigabytes for them.
    """
    edited = bytearray(profile)
    for at in range(_TAGS_START, min(len(profile), _TAGS_START + _TAG_BYTES * _MAX_TAGS), _TAG_BYTES):
        if bytes(edited[at : at + 3]) in (b"D2B", b"B2D"):
            edited[at : at + 4] = b"none"
    return bytes(edited)


def _grey_table(profile: bytes) -> list[int] | None:
    """Return the sRGB value for each grey value from 0 to 255. Returns None if the profile must be ignored.

    Browsers ignore grey profiles that do not use XYZ colours.
    """
    if profile[_CONNECTION_SPACE] != b"XYZ ":
        return None
    # without the optimizations of Little CMS, which make dark greys too dark
    transform = _transform(profile, "L", ImageCms.Flags.NOOPTIMIZE)
    values = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(1, 256))
    return None if transform is None else np.asarray(transform.apply(values))[0, :, 0].tolist()


def _transform(
    profile: bytes, mode: str, flags: ImageCms.Flags = ImageCms.Flags.NONE
) -> ImageCms.ImageCmsTransform | None:
    """Return a conversion of images of this mode to sRGB.

    Returns None if the profile must be ignored, or if the conversion would not change the colours of an RGB image.
    """
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(_without_process_elements(profile)))
        target = ImageCms.ImageCmsProfile(io.BytesIO(_SRGB))
        transform = ImageCms.ImageCmsTransform(source, target, mode, "RGB", ImageCms.Intent.PERCEPTUAL, flags=flags)
    except (OSError, ValueError, ImageCms.PyCMSError):
        return None
    if mode == "RGB":
        levels = np.linspace(0, 255, 9).astype(np.uint8)
        colours = np.stack(np.meshgrid(levels, levels, levels), -1).reshape(27, 27, 3)
        changed = np.asarray(transform.apply(Image.fromarray(colours)), np.int16)
        if abs(changed - colours).max() <= _MAX_DIFFERENCE:
            return None
    return transform
