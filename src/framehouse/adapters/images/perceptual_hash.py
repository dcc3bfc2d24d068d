"""Compute a perceptual hash: 256 bits that remain almost the same if an image is resized or compressed.

The hash contains the signs of 16x16 low frequencies of a discrete cosine transform, relative to their median. The
frequencies 0 of rows and columns are not used, because they have similar signs in unrelated images.
"""

import numpy as np
from PIL import Image, ImageChops

HASH_BYTES = 32
_FINE_PX, _PX, _TERMS = 128, 64, 16
_MIN_CONTRAST = 6.0
"""The minimum standard deviation of the grey values of an image. The hashes of flatter images are mostly noise."""
_MAX_BORDER_DIFFERENCE = 24
"""The maximum difference between the colours of a border. JPEG compression changes the colours near the image."""
_MIN_TRIMMED_SHARE = 0.3
_COSINES = np.cos(np.pi / _PX * np.outer(np.arange(1, _TERMS + 1), np.arange(_PX) + 0.5)).astype(np.float32)
_ROWS, _COLUMNS = np.divmod(np.arange(_TERMS * _TERMS), _TERMS)
_ORDER = np.lexsort((_COLUMNS, (_ROWS + _COLUMNS) % _TERMS))
"""The order of the bits. Each two bytes of the hash contain a diagonal of the frequencies. The database searches pairs
of bytes, and frequencies on a diagonal are less correlated than frequencies of a row."""


def perceptual_hash(image: Image.Image) -> bytes:
    """Return the hash of an image in the mode RGB as HASH_BYTES bytes, or an empty value for an image of one colour."""
    # the image is first shrunk by an integer factor, which is faster
    grey = image.reduce(max(1, min(image.size) // _FINE_PX)).convert("L")
    values = np.asarray(grey.resize((_PX, _PX), Image.Resampling.BILINEAR), np.float32)
    if values.std() < _MIN_CONTRAST:
        return b""
    terms = (_COSINES @ values @ _COSINES.T).ravel()
    return np.packbits((terms > np.median(terms))[_ORDER]).tobytes()


def hashes_to_find(image: Image.Image) -> tuple[bytes, ...]:
    """Return the hashes under which an image may be recorded: its hash, and its hash without a border of one colour.

    Screenshots often have such a border.
    """
    trimmed = _without_border(image)
    hashes = [perceptual_hash(image), perceptual_hash(trimmed) if trimmed else b""]
    return tuple(dict.fromkeys(filter(None, hashes)))


def _without_border(image: Image.Image) -> Image.Image | None:
    """Return the image without its border of one colour, or None if it has no such border."""
    corner = image.getpixel((0, 0))
    assert isinstance(corner, tuple)
    difference = ImageChops.difference(image, Image.new("RGB", image.size, corner)).convert("L")
    box = difference.point([0] * _MAX_BORDER_DIFFERENCE + [255] * (256 - _MAX_BORDER_DIFFERENCE)).getbbox()
    if box is None or box == (0, 0, *image.size):
        return None
    width, height = box[2] - box[0], box[3] - box[1]
    return image.crop(box) if width * height >= _MIN_TRIMMED_SHARE * image.width * image.height else None
