"""Convert references to sprites. A subject on a plain or transparent background is cut out.

A reference with any other background becomes a card, which shows the complete image in a white frame.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageOps

from framehouse.engines.image_files import decode_reference
from framehouse.engines.interface import ReferenceImage
from framehouse.engines.previz.sprites import Pixels, outlined

_MASK_PX = 200
_LARGEST_PX = 1400
_PLAIN_RANGE = 26
_BACKGROUND_RANGE = 10
_SAME_HUE, _DARKEST_SHADOW = 0.05, 0.84
"""The limits for shadows. A pixel is a shadow if it has the hue of the background and is slightly darker than the
background. `_DARKEST_SHADOW` is the lowest brightness of a shadow, relative to the background."""


@lru_cache(maxsize=10)
def cutout(reference: ReferenceImage) -> tuple[Image.Image, bool]:
    """Return the reference as an RGBA image, and whether this image is cut out and cropped to its subject.

    A transparent background stays transparent, and a plain background is removed. A reference with any other background
    is not cut out. Raises Broken if the file is damaged.
    """
    image = _open(reference)
    alpha = np.asarray(image.getchannel("A"))
    mask = alpha if alpha.min() < 16 and (alpha > 128).mean() < 0.94 else _plain_mask(image)
    if mask is None:
        return image, False
    if isinstance(mask, np.ndarray) and mask.shape != alpha.shape:
        grown = Image.fromarray(mask).resize(image.size, Image.Resampling.BICUBIC)
        edge = grown.filter(ImageFilter.GaussianBlur(max(image.size) / 300)).point(
            lambda a: max(0, min(255, (a - 110) * 4))
        )
        image.putalpha(edge)
    box = image.getchannel("A").point(lambda a: 255 if a > 40 else 0).getbbox()
    return (image.crop(box), True) if box else (image, False)


def sprite_aspect(reference: ReferenceImage) -> float:
    """Return the aspect ratio (width / height) of the sprite, including the frame if the sprite is a card."""
    image, cut = cutout(reference)
    return image.width / image.height if cut else (image.width * 1.06) / (image.height + image.width * 0.06)


def sprite_of(reference: ReferenceImage, height_px: int) -> tuple[Pixels, bool]:
    """Return the reference as a sprite that is about `height_px` pixels tall, and whether the sprite is a cutout.

    A cutout has a white outline. Any other reference becomes a card: the complete image in a white frame.
    """
    image, cut = cutout(reference)
    border = max(2, round(height_px * (0.014 if cut else 0.022)))
    tall = max(8, height_px - 2 * border)
    wide = max(8, round(tall * image.width / image.height))
    small = image.resize((wide, tall), Image.Resampling.LANCZOS, reducing_gap=2.0)
    if cut:
        return outlined(np.asarray(small), border), True
    card = Image.new("RGBA", (wide + 2 * border, tall + 2 * border), (250, 248, 244, 255))
    card.paste(small.convert("RGB"), (border, border))
    ImageDraw.Draw(card).rectangle(
        (0, 0, card.width - 1, card.height - 1), outline=(214, 208, 200, 255), width=max(1, border // 5)
    )
    return np.asarray(card), False


def background_of(reference: ReferenceImage, width_px: int, height_px: int) -> Pixels:
    """Return the reference for use as the background, scaled and cropped to fill the frame."""
    return np.array(ImageOps.fit(_open(reference).convert("RGB"), (width_px, height_px), Image.Resampling.LANCZOS))


def _open(reference: ReferenceImage) -> Image.Image:
    image = decode_reference(reference.content, max_px=_LARGEST_PX).convert("RGBA")
    image.thumbnail((_LARGEST_PX, _LARGEST_PX), Image.Resampling.LANCZOS, reducing_gap=2.0)
    return image


def _plain_mask(image: Image.Image) -> NDArray[np.uint8] | None:
    """Return a mask of the subject (255) in front of a plain background (0), or None.

    The search for the background starts at the border of a scaled-down copy of the image. The background then grows
    through pixels of similar colour until nothing changes. Returns None if too many border pixels differ from the
    background colour, or if the subject covers less than 2 % or more than 90 % of the image.
    """
    small = image.convert("RGB")
    small.thumbnail((_MASK_PX, _MASK_PX), Image.Resampling.BILINEAR)
    pixels = np.asarray(small).astype(np.int16)
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    background = np.median(border, axis=0)
    if (np.abs(border - background).max(axis=1) > _PLAIN_RANGE).mean() > 0.08:
        return None
    noise = float(np.percentile(np.abs(border - background), 90))
    ratio = pixels / np.maximum(background, 1)
    shadow = (np.ptp(ratio, axis=2) < _SAME_HUE) & (ratio.mean(axis=2) > _DARKEST_SHADOW) & (ratio.mean(axis=2) < 1.02)
    near = (np.abs(pixels - background).max(axis=2) < _BACKGROUND_RANGE + 1.5 * noise) | shadow
    outside = np.zeros(near.shape, bool)
    outside[0], outside[-1], outside[:, 0], outside[:, -1] = near[0], near[-1], near[:, 0], near[:, -1]
    for _ in range(sum(near.shape)):
        grown = outside.copy()
        grown[1:] |= outside[:-1]
        grown[:-1] |= outside[1:]
        grown[:, 1:] |= outside[:, :-1]
        grown[:, :-1] |= outside[:, 1:]
        grown &= near
        if (grown == outside).all():
            break
        outside = grown
    inside = ~outside
    if not 0.02 < inside.mean() < 0.9:
        return None
    return (inside * 255).astype(np.uint8)
