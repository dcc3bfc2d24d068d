"""Operations on the canvas (the RGB pixels of a panel) and on sprites (the RGBA pixels of one subject each).

Many operations process bands of rows to limit memory usage at 4k.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from framehouse.engines.previz.color import Color, darker, luma, mix
from framehouse.engines.previz.light import Light

Pixels = NDArray[np.uint8]
Plane = NDArray[np.float32]
_BAND_ROWS = 192


def enlarged(canvas: Pixels, size: tuple[int, int], resampling: Image.Resampling) -> Pixels:
    """Return the canvas scaled to another size (width, height).

    The result is copied in bands, because a second complete frame at 4k would occupy 50 MB.
    """
    image = Image.fromarray(canvas).resize(size, resampling)
    result: Pixels = np.empty((size[1], size[0], 3), np.uint8)
    for top in range(0, size[1], _BAND_ROWS):
        result[top : top + _BAND_ROWS] = np.asarray(image.crop((0, top, size[0], min(size[1], top + _BAND_ROWS))))
    return result


def recolored(sprite: Pixels, color: Color, material: str) -> Pixels:
    """Return the sprite recoloured with one colour.

    Contrasts are preserved, and greys and whites change less than colours. If `material` is not empty, the colour is
    applied more strongly. The material "glass" also makes the sprite transparent.
    """
    shown = sprite[::8, ::8]
    middle = np.float32(np.median(_light(shown)[shown[..., 3] > 128])) if (shown[..., 3] > 128).any() else 0.5
    base = np.array(color, np.float32) / 255
    out = sprite.copy()
    for start in range(0, sprite.shape[0], _BAND_ROWS):
        band = out[start : start + _BAND_ROWS]
        rgb = band[..., :3].astype(np.float32) / np.float32(255)
        light = _light(band)
        spread = rgb.max(axis=2) - rgb.min(axis=2)
        level = np.clip(light - middle, -0.5, 0.5)[..., None]
        toned = np.where(level < 0, base * (1 + level * 1.3), base + (1 - base) * level * 1.1)
        share = np.clip(0.35 + spread * 1.6, 0, 0.92)[..., None]
        share = share * np.where(light < 0.16, np.float32(0.25), np.float32(1))[..., None]
        if material:
            share = np.maximum(share, 0.85)
        band[..., :3] = np.clip((rgb + (toned - rgb) * share) * 255, 0, 255).astype(np.uint8)
    if material == "glass":
        out[..., 3] = (out[..., 3] * np.float32(0.72)).astype(np.uint8)
    return out


def _light(sprite: Pixels) -> Plane:
    """Return the perceived brightness of each pixel, from 0 to 1."""
    return sprite[..., :3].astype(np.float32) @ (np.array([0.299, 0.587, 0.114], np.float32) / np.float32(255))


def lay(
    canvas: Pixels, sprite: Pixels, left: int, top: int, light: Light, *, dim: float = 0.0, lit: bool = True
) -> None:
    """Draw a sprite (RGBA, not premultiplied) on the canvas, lit by the light of the scene.

    The ambient light tints the sprite. Towards the upper left, the sprite is brighter and has a rim of light. `dim` is
    the strength of the haze, from 0 to 1. If `lit` is false, the colours of the sprite stay unchanged.
    """
    height, width = sprite.shape[:2]
    y0, y1 = max(0, -top), min(height, canvas.shape[0] - top)
    x0, x1 = max(0, -left), min(width, canvas.shape[1] - left)
    if y0 >= y1 or x0 >= x1:
        return
    box = (y0, y1, x0, x1)
    if not lit:
        _cover(canvas, sprite, left, top, box, None)
        return
    rim = max(1, round(height * 0.008))
    # The silhouette gets a margin, so that it can be shifted by the width of the rim.
    around = np.pad(sprite[..., 3], rim, mode="edge")
    glow = np.array(mix(light.sun, (255, 255, 255), 0.25), np.float32)
    haze = np.array(light.low, np.float32)
    ambient = np.array(mix((255, 255, 255), light.ambient, 0.55), np.float32) / 255
    across = np.linspace(1.07, 0.9, width, dtype=np.float32)[x0:x1, None] * ambient
    down = np.linspace(1.06, 0.86, height, dtype=np.float32)
    strength = np.float32((0.6 if light.dark else 0.5) / 255)

    def shine(color: Plane, start: int, end: int) -> None:
        color *= across
        color *= down[start:end, None, None]
        after = around[start + 2 * rim : end + 2 * rim, x0 + 2 * rim : x1 + 2 * rim].astype(np.float32)
        after -= around[start:end, x0:x1]
        edge = np.clip(after, 0, 255, out=after)
        edge *= strength
        color += (glow - color) * edge[..., None]
        if dim:
            color += (haze - color) * np.float32(dim)

    _cover(canvas, sprite, left, top, box, shine)


def _cover(
    canvas: Pixels,
    sprite: Pixels,
    left: int,
    top: int,
    box: tuple[int, int, int, int],
    change: Callable[[Plane, int, int], None] | None,
) -> None:
    """Blend the part of the sprite in `box` onto the canvas. `change` first edits the colours of each band in place."""
    y0, y1, x0, x1 = box
    for start in range(y0, y1, _BAND_ROWS):
        end = min(start + _BAND_ROWS, y1)
        part = sprite[start:end, x0:x1]
        color = part[..., :3].astype(np.float32)
        if change:
            change(color, start, end)
        place = canvas[top + start : top + end, left + x0 : left + x1]
        color -= place
        color *= part[..., 3:] * np.float32(1 / 255)
        color += place
        np.clip(color, 0, 255, out=color)
        place[:] = color.astype(np.uint8)


def shade(canvas: Pixels, x: float, y: float, half_x: float, half_y: float, strength: float) -> None:
    """Darken a soft ellipse on the ground around (x, y)."""
    x0, x1 = max(0, round(x - half_x)), min(canvas.shape[1], round(x + half_x))
    y0, y1 = max(0, round(y - half_y)), min(canvas.shape[0], round(y + half_y))
    if x0 >= x1 or y0 >= y1:
        return
    dx = (np.arange(x0, x1, dtype=np.float32) - x)[None, :] / half_x
    dy = (np.arange(y0, y1, dtype=np.float32) - y)[:, None] / half_y
    fall = np.clip(1 - (dx * dx + dy * dy), 0, 1)
    place = canvas[y0:y1, x0:x1]
    place[:] = (place * (1 - strength * fall * fall)[..., None]).astype(np.uint8)


def glow(canvas: Pixels, x: float, y: float, radius: float, color: Color, strength: float) -> None:
    """Add soft light around (x, y), like the light of a lamp."""
    x0, x1 = max(0, round(x - radius)), min(canvas.shape[1], round(x + radius))
    y0, y1 = max(0, round(y - radius)), min(canvas.shape[0], round(y + radius))
    dx = (np.arange(x0, max(x0, x1), dtype=np.float32) - x)[None, :] / radius
    for start in range(y0, y1, _BAND_ROWS):
        end = min(start + _BAND_ROWS, y1)
        dy = (np.arange(start, end, dtype=np.float32) - y)[:, None] / radius
        fall = np.clip(1 - np.hypot(dx, dy), 0, 1) ** 2 * np.float32(strength)
        place = canvas[start:end, x0:x1]
        place[:] = np.clip(place + fall[..., None] * np.array(color, np.float32), 0, 255).astype(np.uint8)


def lit_windows(sprite: Pixels, color: Color) -> Pixels:
    """Return the lit windows and doors of a building, without the rest of the sprite.

    In the drawings, windows are dark or blue. A blue area in the top 28% of the rows is a flag, not a window.
    """
    lit = np.empty_like(sprite)
    lit[..., :3] = color
    for start in range(0, len(sprite), _BAND_ROWS):
        part = sprite[start : start + _BAND_ROWS]
        red, green, blue = (part[..., channel].astype(np.int16) for channel in range(3))
        below = (np.arange(start, start + len(part)) > len(sprite) * 0.28)[:, None]
        is_blue = (blue > red + 60) & (blue > green) & below
        is_pane = (part[..., :3].max(axis=2) < 70) | is_blue
        lit[start : start + _BAND_ROWS, :, 3] = np.where(is_pane, part[..., 3], 0)
    return lit


def drop_shadow(canvas: Pixels, sprite: Pixels, left: int, top: int, blur: float) -> None:
    """Draw the soft shadow of a sprite on the ground, as seen from above."""
    pad = round(blur * 2.5)
    small = 4 if sprite.shape[0] > 400 else 1
    alpha = Image.fromarray(np.pad(sprite[::small, ::small, 3], pad // small + 1)).filter(
        ImageFilter.GaussianBlur(blur / small)
    )
    size = (alpha.width * small, alpha.height * small)
    soft = np.asarray(alpha.resize(size, Image.Resampling.BILINEAR) if small > 1 else alpha)
    left, top = left - (pad // small + 1) * small, top - (pad // small + 1) * small
    y0, y1, x0, x1 = (
        max(0, -top),
        min(size[1], canvas.shape[0] - top),
        max(0, -left),
        min(size[0], canvas.shape[1] - left),
    )
    if y0 < y1 and x0 < x1:
        place = canvas[top + y0 : top + y1, left + x0 : left + x1]
        place[:] = (place * (1 - soft[y0:y1, x0:x1, None].astype(np.float32) * (0.5 / 255))).astype(np.uint8)


def veil(canvas: Pixels, mask: Image.Image, color: Color, strength: float) -> None:
    """Blend a colour into the canvas according to the brightness of the mask.

    The mask has the mode L and can have any size.
    """
    height, width = canvas.shape[:2]
    if mask.size != (width, height):
        mask = mask.resize((width, height), Image.Resampling.BILINEAR)
    cover = np.asarray(mask)
    tone = np.array(color, np.float32)
    for start in range(0, height, _BAND_ROWS):
        part = cover[start : start + _BAND_ROWS]
        rows = np.flatnonzero(part.any(axis=1))
        if not len(rows):
            continue
        place = canvas[start : start + _BAND_ROWS]
        covered = tone - place
        covered *= (part * np.float32(strength / 255))[..., None]
        covered += place
        place[:] = covered.astype(np.uint8)


def outlined(sprite: Pixels, width_px: int, color: Color = (255, 255, 255)) -> Pixels:
    """Return the sprite with a border around its silhouette, like a sticker."""
    alpha = Image.fromarray(np.pad(sprite[..., 3], width_px))
    for _ in range(max(1, width_px // 4)):
        alpha = alpha.filter(ImageFilter.MaxFilter(2 * min(4, width_px) + 1))
    grown = alpha.filter(ImageFilter.GaussianBlur(max(0.6, width_px * 0.12)))
    base = Image.new("RGBA", grown.size, (*color, 0))
    base.putalpha(grown)
    base.alpha_composite(Image.fromarray(sprite), (width_px, width_px))
    return np.array(base)


def grain(canvas: Pixels, seed: int, *, strength: int = 3, vignette: float = 0.24) -> None:
    """Add fine noise, which hides banding, and darken the corners. If `vignette` is 0, the corners stay unchanged."""
    height, width = canvas.shape[:2]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :] ** 2
    noise = np.random.default_rng(seed & 0x7FFFFFFF).integers(-strength, strength + 1, (height, width), dtype=np.int8)
    for start in range(0, height, _BAND_ROWS):
        part = canvas[start : start + _BAND_ROWS]
        y = np.linspace(-1, 1, height, dtype=np.float32)[start : start + _BAND_ROWS, None] ** 2
        dark = 1 - vignette * np.clip(x + y - 0.45, 0, 1.3)
        part[:] = np.clip(part * dark[..., None] + noise[start : start + _BAND_ROWS, :, None], 0, 255).astype(np.uint8)


def tone_of(light: Light) -> Color:
    """Return a dark colour based on the scene's sky, for text boxes and silhouettes."""
    base = darker(mix(light.top, light.middle, 0.3), 0.62)
    return base if luma(base) < 0.3 else darker(base, 0.5)
