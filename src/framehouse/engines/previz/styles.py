"""Styles such as watercolor, ink and blueprint, implemented as filters for the pixels of a panel."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from framehouse.engines.previz.color import Color
from framehouse.engines.previz.sprites import Pixels, Plane

_PAPER: Color = (247, 242, 230)


@dataclass(frozen=True, slots=True)
class Style:
    """A filter, and the layout of the caption on the filtered panel.

    `apply` takes pixels of shape (height, width, 3) and a seed, and returns pixels of the same shape.
    `paper` is true if the caption is drawn in a light box. `inset` is the width of the style's border, as a
    fraction of the shorter side.
    """

    apply: Callable[[Pixels, int], Pixels]
    paper: bool = False
    inset: float = 0.0


def _blur(plane: NDArray[np.generic], radius: float) -> Plane:
    """Return the blurred plane, with values from 0 to 255."""
    image = Image.fromarray(np.clip(plane, 0, 255).astype(np.uint8))
    return np.asarray(image.filter(ImageFilter.GaussianBlur(radius))).astype(np.float32)


def _luma(pixels: Pixels) -> Plane:
    return np.asarray(Image.fromarray(pixels).convert("L")).astype(np.float32)


def _noise(shape: tuple[int, int], seed: int, cell: float) -> Plane:
    """Return smooth noise from 0 to 1, with spots about `cell` pixels wide."""
    rows, columns = max(2, round(shape[0] / cell)), max(2, round(shape[1] / cell))
    rough = np.random.default_rng((seed & 0x7FFFFFFF) + round(cell)).integers(0, 256, (rows, columns), dtype=np.uint8)
    smooth = Image.fromarray(rough).resize((shape[1], shape[0]), Image.Resampling.BICUBIC)
    return np.asarray(smooth).astype(np.float32) / np.float32(255)


def _edges(pixels: Pixels, radius: float, strength: float) -> Plane:
    """Return the strength of the colour edges at each pixel, from 0 to 1."""
    soft = np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(radius))).astype(np.float32)
    across = np.zeros(soft.shape[:2], np.float32)
    across[:, 1:-1] = np.abs(soft[:, 2:] - soft[:, :-2]).max(axis=2)
    down = np.zeros_like(across)
    down[1:-1] = np.abs(soft[2:] - soft[:-2]).max(axis=2)
    edges: Plane = np.clip((np.hypot(across, down) - 7) * np.float32(strength / 255), 0, 1)
    return edges


def _to_pixels(plane: NDArray[np.generic]) -> Pixels:
    pixels: Pixels = np.clip(plane, 0, 255).astype(np.uint8)
    return pixels


def _unit(pixels: Pixels) -> float:
    """Return the size of a unit in pixels: 1/720 of the shorter side."""
    return float(min(pixels.shape[:2])) / 720


def _ragged(shape: tuple[int, int], seed: int, u: float, reach: float) -> Plane:
    """Return a mask with a ragged border: 1 inside, 0 outside. `reach` is the width of the border in units.

    `u` is the size of a unit in pixels.
    """
    height, width = shape
    x = np.minimum(np.arange(width), np.arange(width)[::-1])[None, :].astype(np.float32)
    y = np.minimum(np.arange(height), np.arange(height)[::-1])[:, None].astype(np.float32)
    rough = (_noise(shape, seed, 46 * u) - 0.5) * 26 * u + (_noise(shape, seed + 1, 7 * u) - 0.5) * 15 * u
    return np.clip((np.minimum(x, y) - reach * u + rough) / (3 * u), 0, 1)


def _watercolor(pixels: Pixels, seed: int) -> Pixels:
    u = _unit(pixels)
    shape = pixels.shape[:2]
    soft = np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(1.2 * u))).astype(np.float32)
    pigment = 0.80 + 0.24 * _noise(shape, seed, 90 * u) + 0.14 * _noise(shape, seed + 2, 22 * u)
    dark_edges = 1 - 0.34 * _edges(pixels, 2.2 * u, 7)
    washed = 255 - (255 - soft) * (pigment * 0.92)[..., None]
    washed = washed * dark_edges[..., None]
    paper = np.array(_PAPER, np.float32) * (0.975 + 0.05 * _noise(shape, seed + 3, 3.2 * u))[..., None]
    washed = washed * 0.9 + paper * 0.1
    inside = _ragged(shape, seed, u, 30)
    rim = 1 - 0.3 * np.clip(1 - np.abs(inside - 0.7) * 3, 0, 1)
    return _to_pixels(paper + (washed * rim[..., None] - paper) * inside[..., None])


def _ink(pixels: Pixels, seed: int) -> Pixels:
    u = _unit(pixels)
    shape = pixels.shape[:2]
    tone = _blur(_luma(pixels), 1.6 * u)
    low, high = np.percentile(tone, (1, 72))
    tone = np.clip((tone - low) / max(1.0, float(high - low)), 0, 1)
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]].astype(np.float32)
    wave = (_noise(shape, seed, 60 * u) - 0.5) * 9 * u
    ink = np.zeros(shape, np.float32)
    for level, angle in ((0.62, 1), (0.4, -1), (0.2, 0.2)):
        lines = np.abs(((x + angle * y + wave) / (6.5 * u)) % 1 - 0.5) * 2
        ink = np.maximum(ink, np.clip((level - tone) * 4, 0, 1) * np.clip((lines - 0.62) * 5, 0, 1) * 0.75)
    ink = np.maximum(ink, _edges(pixels, 0.9 * u, 12))
    ink = np.maximum(ink, np.clip((0.1 - tone) * 5, 0, 0.8))
    paper = np.array((250, 247, 240), np.float32) * (0.98 + 0.03 * _noise(shape, seed + 3, 3 * u))[..., None]
    return _to_pixels(paper + (np.array((34, 34, 44), np.float32) - paper) * ink[..., None])


def _sumi(pixels: Pixels, seed: int) -> Pixels:
    u = _unit(pixels)
    shape = pixels.shape[:2]
    tone = _blur(_luma(pixels), 3.0 * u)
    low, high = np.percentile(tone, (1, 62))
    tone = np.clip((tone - low) / max(1.0, float(high - low)), 0, 1)
    wash = 1 - (1 - tone) ** 1.7 * 0.8
    wash = np.clip(
        wash + (_noise(shape, seed, 120 * u) - 0.5) * 0.14 + (_noise(shape, seed + 1, 14 * u) - 0.5) * 0.05, 0, 1
    )
    brush = _blur(_edges(pixels, 1.6 * u, 9) * 255, 1.0 * u) / 255
    ink = np.clip((1 - wash) * 0.85 + brush * (0.5 + 0.5 * _noise(shape, seed + 4, 30 * u)), 0, 1)
    fade = np.clip(
        np.linspace(1.35, 0.55, shape[0], dtype=np.float32)[:, None] + (_noise(shape, seed + 5, 200 * u) - 0.5) * 0.9,
        0.25,
        1,
    )
    paper = np.array((242, 234, 214), np.float32) * (0.97 + 0.05 * _noise(shape, seed + 3, 4 * u))[..., None]
    out = paper + (np.array((30, 30, 38), np.float32) - paper) * np.clip(ink * (1.4 - 0.35 * fade), 0, 1)[..., None]
    color = pixels.astype(np.float32)
    rich = np.clip((color.max(axis=2) - color.min(axis=2) - 120) / 120, 0, 0.35)[..., None]
    out = out + (color * 0.9 - out) * rich
    side = round(44 * u)
    top, left = round(60 * u), shape[1] - round(110 * u)
    seal = out[top : top + side, left : left + side]
    seal[:] = np.array((190, 44, 40), np.float32)
    for at in (0.3, 0.62):
        seal[round(side * at) : round(side * at) + max(2, side // 12), side // 6 : -side // 6] = (244, 232, 214)
        seal[side // 6 : -side // 6, round(side * at) : round(side * at) + max(2, side // 12)] = (244, 232, 214)
    return _to_pixels(out)


def _blueprint(pixels: Pixels, seed: int) -> Pixels:
    u = _unit(pixels)
    height, width = pixels.shape[:2]
    lines = _edges(pixels, 0.8 * u, 12)
    tone = _blur(_luma(pixels), 4 * u) / 255
    blue = (
        np.array((24, 72, 148), np.float32)
        * (0.82 + 0.22 * tone + 0.08 * _noise((height, width), seed, 80 * u))[..., None]
    )
    grid = np.zeros((height, width), np.float32)
    for step, strength in ((24 * u, 0.10), (120 * u, 0.24)):
        thick = max(1, round(u))
        for start in np.arange(0, max(width, height), step):
            at = round(float(start))
            grid[:, at : at + thick] = np.maximum(grid[:, at : at + thick], strength)
            grid[at : at + thick] = np.maximum(grid[at : at + thick], strength)
    edge = round(20 * u)
    for inset in (edge, edge + round(5 * u)):
        frame = np.zeros((height, width), bool)
        frame[inset : height - inset, inset : width - inset] = True
        frame[
            inset + max(1, round(1.4 * u)) : height - inset - max(1, round(1.4 * u)),
            inset + max(1, round(1.4 * u)) : width - inset - max(1, round(1.4 * u)),
        ] = False
        grid[frame] = 0.75
    ink = np.maximum(lines * 0.95, grid)
    return _to_pixels(blue + (np.array((228, 240, 255), np.float32) - blue) * ink[..., None])


def _neon(pixels: Pixels, seed: int) -> Pixels:
    u = _unit(pixels)
    lines = _edges(pixels, 0.9 * u, 10)
    color = pixels.astype(np.float32)
    peak = color.max(axis=2, keepdims=True) + 1
    pure = (color / peak) ** 2.2 * 255
    height = pixels.shape[0]
    fade = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    tint = np.array((80, 230, 255), np.float32) * (1 - fade) + np.array((255, 70, 190), np.float32) * fade
    glow = pure * 0.45 + tint * 0.55
    drawn = _to_pixels(glow * lines[..., None])
    near = np.asarray(Image.fromarray(drawn).filter(ImageFilter.GaussianBlur(3 * u))).astype(np.float32)
    far = np.asarray(Image.fromarray(drawn).filter(ImageFilter.GaussianBlur(14 * u))).astype(np.float32)
    return _to_pixels(color * 0.55 + drawn * 0.75 + near * 0.95 + far * 1.25)


def _papercut(pixels: Pixels, seed: int) -> Pixels:
    u = _unit(pixels)
    shape = pixels.shape[:2]
    half = (max(2, shape[1] // 2), max(2, shape[0] // 2))
    flat = Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(1.6 * u)).resize(half, Image.Resampling.BOX)
    few = flat.quantize(12, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).convert("RGB")
    few = few.filter(ImageFilter.MedianFilter(5)).resize((shape[1], shape[0]), Image.Resampling.BICUBIC)
    paper = np.asarray(few).astype(np.float32)
    level = _luma(_to_pixels(paper))
    present = np.bincount(level.astype(np.uint8).ravel(), minlength=256) > 0
    order = (np.cumsum(present) * (255 / max(1, int(present.sum()))))[level.astype(np.uint8)].astype(np.float32)
    shifted = np.roll(order, (round(7 * u), round(4 * u)), (0, 1))
    shadow = np.clip(_blur(shifted, 5 * u) - order, 0, 255) / 255
    rim = np.clip(order - np.roll(order, (max(1, round(1.4 * u)), max(1, round(1.2 * u))), (0, 1)), 0, 255) / 255
    fibre = 0.965 + 0.06 * _noise(shape, seed, 2.6 * u)
    out = paper * fibre[..., None] * (1 - 0.85 * np.clip(shadow * 2.2, 0, 0.62))[..., None] + (rim * 90)[..., None]
    return _to_pixels(out)


def _photo(pixels: Pixels, seed: int) -> Pixels:
    u = _unit(pixels)
    color = pixels.astype(np.float32)
    bright = _to_pixels((color - 168) * 2.4)
    bloom = np.asarray(Image.fromarray(bright).filter(ImageFilter.GaussianBlur(16 * u))).astype(np.float32)
    out = 255 - (255 - color) * (255 - bloom * 0.42) / 255
    out = out / 255
    out = np.clip(out + 0.11 * np.sin((out - 0.5) * np.pi) * (1 - np.abs(out - 0.5)), 0, 1) * 255
    warm = _luma(_to_pixels(out))[..., None] / 255
    out += (warm - 0.5) * np.array((12, 3, -10), np.float32)
    shift = max(1, round(0.9 * u))
    out[..., 0] = np.roll(out[..., 0], shift, 1)
    out[..., 2] = np.roll(out[..., 2], -shift, 1)
    noise = np.random.default_rng(seed & 0x7FFFFFFF).normal(0, 4.2, pixels.shape[:2]).astype(np.float32)
    return _to_pixels(out + noise[..., None])


def _oil(pixels: Pixels, seed: int) -> Pixels:
    """Draw two layers of brush strokes with a relief at their edges.

    Each stroke is a short rectangle, and has the colour of the image at the centre of the stroke. The direction of the
    strokes varies gradually across the image.
    """
    u = _unit(pixels)
    height, width = pixels.shape[:2]
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    turn = (_noise((height, width), seed, 190 * u) - 0.5) * 5.0
    cos, sin = np.cos(turn), np.sin(turn)
    out = pixels.astype(np.float32)
    relief = np.zeros((height, width), np.float32)
    for layer, (long, wide, share) in enumerate(((20 * u, 5.2 * u, 0.9), (11 * u, 3.2 * u, 0.6))):
        along, over = (x * cos + y * sin) / long, (y * cos - x * sin) / wide
        row = np.floor(over)
        shift = np.sin(row * 12.9898 + layer * 3) * 43758.547
        brick = np.floor(along + (shift - np.floor(shift)))
        mid_a = (brick + 0.5 - (shift - np.floor(shift)) - along) * long
        mid_o = (row + 0.5 - over) * wide
        sy = np.clip(y + mid_a * sin + mid_o * cos, 0, height - 1).astype(np.intp)
        sx = np.clip(x + mid_a * cos - mid_o * sin, 0, width - 1).astype(np.intp)
        tone = np.sin(row * 7.13 + brick * 3.71 + layer) * 9
        out += (pixels[sy, sx] + tone[..., None] - out) * share
        relief += np.clip(1 - np.abs(over - row - 0.5) * 2, 0, 1) * (3 + 4 * layer)
    edge = relief - np.roll(relief, (max(1, round(u)), max(1, round(u))), (0, 1))
    vivid = out + (out - out.mean(axis=2, keepdims=True)) * 0.2
    return _to_pixels(vivid + np.clip(edge * 5, -22, 22)[..., None])


def _comic(pixels: Pixels, seed: int) -> Pixels:
    u = _unit(pixels)
    height, width = pixels.shape[:2]
    flat = np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(1.4 * u))).astype(np.float32)
    stepped = np.round(flat / 36) * 36
    vivid = stepped + (stepped - stepped.mean(axis=2, keepdims=True)) * 0.5
    tone = _blur(_luma(pixels), 3 * u) / 255
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    cell = 8.4 * u
    a, b = (x + y) / cell, (x - y) / cell
    spot = np.hypot(a % 1 - 0.5, b % 1 - 0.5)
    dots = np.clip(((0.52 - tone) * 0.9 - spot) * 9, 0, 1)
    out = vivid * (1 - 0.42 * dots)[..., None]
    line = _edges(pixels, 1.0 * u, 14)
    return _to_pixels(out * (1 - 0.94 * line)[..., None])


def _pixel(pixels: Pixels, seed: int) -> Pixels:
    height, width = pixels.shape[:2]
    cell = max(2, round(min(height, width) / 150))
    small = Image.fromarray(pixels).resize((max(1, width // cell), max(1, height // cell)), Image.Resampling.BOX)
    few = small.quantize(28, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).convert("RGB")
    return np.array(few.resize((width, height), Image.Resampling.NEAREST))


def _riso(pixels: Pixels, seed: int) -> Pixels:
    """Imitate a print: slightly misaligned layers of four inks on cream-coloured paper."""
    u = _unit(pixels)
    shape = pixels.shape[:2]
    tone = _blur(_luma(pixels), 1.4 * u) / 255
    low, high = np.percentile(tone, (2, 98))
    tone = np.clip((tone - low) / max(0.01, float(high - low)), 0, 1)
    warm = pixels[..., 0].astype(np.float32) - pixels[..., 2]
    speck = _noise(shape, seed, 1.7 * u)
    out = np.full((*shape, 3), (245, 236, 216), np.float32)
    inks: tuple[tuple[Color, Plane, tuple[int, int]], ...] = (
        ((246, 190, 74), np.clip((0.86 - tone) * 6, 0, 1) * np.clip(0.55 + warm / 160, 0, 1), (2, 1)),
        ((232, 92, 82), np.clip((0.62 - tone) * 6, 0, 1) * np.clip(0.5 + warm / 110, 0, 1), (-1, 2)),
        ((44, 120, 150), np.clip((0.66 - tone) * 6, 0, 1) * np.clip(0.55 - warm / 120, 0, 1), (1, -2)),
        ((32, 42, 84), np.clip((0.3 - tone) * 7, 0, 1), (0, 0)),
    )
    for color, plate, (dy, dx) in inks:
        moved = np.roll(plate, (round(dy * u), round(dx * u)), (0, 1)) * np.clip(0.7 + speck * 0.5, 0, 1)
        ink = np.array(color, np.float32)
        out = out * (1 - moved[..., None]) + (out * ink / 255 * 0.35 + ink * 0.65) * moved[..., None]
    line = _edges(pixels, 1.1 * u, 9) * 0.8
    return _to_pixels(out + (np.array((32, 42, 84), np.float32) - out) * line[..., None])


def _mono(pixels: Pixels, seed: int) -> Pixels:
    tone = _luma(pixels) / 255
    tone = np.clip(tone + 0.14 * np.sin((tone - 0.5) * np.pi), 0, 1) * 255
    noise = np.random.default_rng(seed & 0x7FFFFFFF).normal(0, 5, tone.shape).astype(np.float32)
    return _to_pixels(np.repeat((tone + noise)[..., None], 3, axis=2))


def _sepia(pixels: Pixels, seed: int) -> Pixels:
    u = _unit(pixels)
    shape = pixels.shape[:2]
    tone = _blur(_luma(pixels), 0.8 * u)[..., None] / 255
    dark, pale = np.array((58, 36, 22), np.float32), np.array((244, 224, 186), np.float32)
    out = dark + (pale - dark) * np.clip(tone * 0.92 + 0.05, 0, 1)
    out *= (0.88 + 0.2 * _noise(shape, seed, 140 * u))[..., None]
    noise = np.random.default_rng(seed & 0x7FFFFFFF).normal(0, 5, shape).astype(np.float32)
    inside = _ragged(shape, seed, u, 16)[..., None]
    paper = np.array((240, 228, 204), np.float32)
    return _to_pixels(paper + (out + noise[..., None] - paper) * inside)


STYLES = {
    "watercolor": Style(_watercolor, paper=True, inset=0.045),
    "ink": Style(_ink, paper=True),
    "sumi": Style(_sumi, paper=True),
    "blueprint": Style(_blueprint, inset=0.02),
    "neon": Style(_neon),
    "papercut": Style(_papercut, paper=True),
    "photo": Style(_photo),
    "oil": Style(_oil),
    "comic": Style(_comic, paper=True),
    "pixel": Style(_pixel),
    "risograph": Style(_riso, paper=True),
    "mono": Style(_mono),
    "sepia": Style(_sepia, paper=True, inset=0.03),
}
