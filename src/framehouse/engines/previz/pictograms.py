"""Find drawings by name in the vendored pack and among our own drawings, and return them as vectors or pixels.

The pack is the file assets/pictograms/pack.json.gz.
"""

import gzip
import json
from functools import cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from framehouse.engines.previz.color import Color, darker, hex_of, lighter, mix
from framehouse.engines.previz.drawings import OWN, Pictogram
from framehouse.engines.previz.vector import rasterized


@cache
def pack() -> dict[str, Pictogram]:
    """Return all drawings, keyed by name. Our own drawings replace drawings in the pack that have the same name.

    The script scripts/build_pictograms.py builds the pack.
    """
    packed = (files("framehouse") / "assets" / "pictograms" / "pack.json.gz").read_bytes()
    pictograms = {}
    for entry in json.loads(gzip.decompress(packed)):
        left, top, right, bottom = entry["box"]
        pictograms[entry["name"]] = Pictogram(
            entry["name"],
            entry["kind"],
            tuple(entry["en"]),
            tuple(entry["zh"]),
            (left, top, right - left, bottom - top),
            entry["body"],
            tuple(entry["cut"]) if "cut" in entry else None,
        )
    return pictograms | OWN


@cache
def pictogram(name: str, dress: Color | None = None) -> Pictogram:
    """Return the drawing with this name. Incomplete figures are completed.

    If the drawing shows only a head, a body is added. The clothes have the colour `dress`. If `dress` is None, their
    colour depends on the name. If the figure ends at the waist, legs are added.
    """
    drawing = pack()[name]
    if name in _FURS:
        return _sitting(drawing, *_FURS[name])
    if is_dressed(name):
        return _with_body(drawing, dress)
    return _with_legs(drawing) if drawing.cut else drawing


def is_dressed(name: str) -> bool:
    """Return whether the drawing is a figure whose clothes can be coloured."""
    return (pack()[name].kind == "person" and not name.startswith("people-")) or name in _CREATURES


_CREATURES = {"alien": "#8bd346", "clown-face": "#ffc83d", "goblin": "#f8312f", "ogre": "#b4305e"}
_FURS = {
    "bear": ((143, 88, 60), (190, 142, 106), "stub"),
    "fox": ((255, 130, 45), (255, 240, 226), "bush"),
    "wolf": ((150, 152, 158), (222, 224, 230), "bush"),
    "raccoon": ((128, 128, 134), (196, 196, 202), "bush"),
    "lion": ((240, 164, 60), (255, 214, 140), "tuft"),
    "panda": ((48, 48, 58), (246, 246, 250), "stub"),
    "polar-bear": ((226, 232, 240), (250, 252, 255), "stub"),
    "koala": ((150, 150, 156), (222, 222, 228), "none"),
    "hamster": ((243, 173, 97), (255, 244, 232), "none"),
    "frog": ((24, 190, 92), (250, 226, 96), "none"),
    "dog-face": ((232, 170, 104), (255, 238, 216), "thin"),
}
"""The colours of the fur and the belly, and the kind of tail, of animals whose drawings in the pack show only the
head."""


def _sitting(head: Pictogram, fur: Color, belly: Color, tail: str) -> Pictogram:
    """Return the head on the body of a small sitting animal."""
    coat, shade, pale = hex_of(fur), hex_of(darker(fur, 0.18)), hex_of(belly)
    torso = pale if head.name == "panda" else coat
    tails = {
        "bush": f'<path fill="{coat}" d="M23 44q9 1 9.500-9 .3-6-3.500-9 .8 6-2.500 9-3 2.600-4.500 5z"/><path fill="{pale}" d="M29 26q3.800 3 3.500 9'
        f'-1.500-.8-3.400-3.600Q29.800 28.600 29 26z"/>',
        "tuft": f'<path fill="none" stroke="{coat}" stroke-width="2" stroke-linecap="round" d="M24 44q7 0 6.500-8"/><circle cx="30.500" cy="34.500" r="2.600" fill="#8a4b2a"/>',
        "thin": f'<path fill="none" stroke="{coat}" stroke-width="3" stroke-linecap="round" d="M24 44q6-1 6-8"/>',
        "stub": f'<circle cx="25.500" cy="42" r="2.600" fill="{shade}"/>',
        "none": "",
    }
    left, top, width, height = head.view
    scale = 23.0 / width
    body = (
        f'{tails[tail]}<path fill="{torso}" d="M9.500 25q6.500-3 13 0 3.800 8 3 17-.6 4-4 4h-11q-3.400 0-4-4-.8-9 3-17z"/>'
        f'<path fill="{pale}" d="M16 27q5 0 5.400 8 .2 6-5.400 6t-5.400-6Q11 27 16 27z"/>'
        f'<path fill="{coat}" d="M6.600 38q3-3.600 5.600 0 1.400 4 .4 8H7.600q-2.600-3-1-8zM25.400 38q-3-3.600-5.600 0-1.400 4-.4 8h5q2.600-3 1-8z"/>'
        f'<path fill="{shade}" d="M12.600 33h2.500v13h-2.500zM16.900 33h2.500v13h-2.500z"/>'
        f'<ellipse cx="12.700" cy="45.800" rx="3" ry="1.700" fill="{coat}"/><ellipse cx="19.300" cy="45.800" rx="3" ry="1.700" fill="{coat}"/>'
        f'<g transform="translate({16 - scale * (left + width / 2):.2f} {29 - scale * (top + height):.2f}) scale({scale:.3f})">{head.body}</g>'
    )
    upper = 29 - scale * height
    wide = 33.0 if tail in ("bush", "tuft", "thin") else 27.0
    x = min(4.5, 16 - scale * width / 2)
    return Pictogram(head.name, head.kind, head.english, head.chinese, (x, upper, wide - x, 47.5 - upper), body)


_DRESSES = ((226, 88, 80), (70, 120, 200), (240, 170, 60), (90, 160, 120), (150, 100, 180), (60, 70, 110))


def _with_body(head: Pictogram, dress: Color | None) -> Pictogram:
    """Return the head on a small figure with shoulders, arms, a coat or a dress, legs and shoes."""
    small = head.name in ("boy", "girl", "child", "baby")
    color = dress or _DRESSES[sum(map(ord, head.name)) % len(_DRESSES)]
    cloth, shade, light = hex_of(color), hex_of(darker(color, 0.22)), hex_of(lighter(color, 0.18))
    skin, shoe = _CREATURES.get(head.name, "#ffc83d"), "#3d2f45"
    skirt = "girl" in head.name or "woman" in head.name
    leg = skin if skirt or small else hex_of(mix(darker(color, 0.5), (50, 54, 78), 0.7))
    length = 10.0 if small else 15.0
    hem = 34 + (4 if skirt else 1)
    left, top, width, height = head.view
    scale = 19.0 / width
    parts = [
        f'<path fill="{leg}" d="M11.6 {hem - 2}h3.6v{length}h-3.6zM16.8 {hem - 2}h3.6v{length}h-3.6z"/>',
        f'<path fill="{shoe}" d="M9.6 {hem + length - 1.4}q0-2 2.6-2h3.2v3h-5.8zM16.8 {hem + length - 3.4}h3.4'
        f'q2.4 0 2.4 2v1h-5.8z"/>',
        f'<path fill="{shade}" d="M8.4 22.5q-3 1.4-3.4 5.2l-.6 5q2 1.4 3.4.2l2.4-7.6zM23.6 22.5q3 1.4 3.4 5.2l.6 5'
        f'q-2 1.4-3.4.2l-2.4-7.6z"/>',
        f'<circle cx="6" cy="33.6" r="1.7" fill="{skin}"/><circle cx="26" cy="33.6" r="1.7" fill="{skin}"/>',
    ]
    if skirt:
        parts.append(
            f'<path fill="{cloth}" d="M10 20.5h12q2.4.6 2.6 4l2.6 13.2q-11.2 3-22.4 0l2.6-13.2q.2-3.4 2.6-4z"/>'
        )
        parts.append(f'<path fill="{light}" d="M9.4 29.6q6.6 1.6 13.2 0l.3 1.6q-6.9 1.7-13.8 0z"/>')
    else:
        parts.append(f'<path fill="{cloth}" d="M10 20.5h12q3 .6 3 4v11.2q-9 1.6-18 0V24.5q0-3.4 3-4z"/>')
        parts.append(f'<path fill="{shade}" d="M15.5 22h1v13.9h-1z"/>')
    parts.append(f'<path fill="{light}" d="M12.6 20.3q3.4 3.4 6.8 0l1.6 1q-5 4.6-10 0z"/>')
    parts.append(
        f'<g transform="translate({16 - scale * (left + width / 2):.2f} {22.2 - scale * (top + height):.2f}) '
        f'scale({scale:.3f})">{head.body}</g>'
    )
    bottom = hem + length - 0.2
    upper = 22.2 - scale * height
    body = "".join(parts)
    return Pictogram(head.name, head.kind, head.english, head.chinese, (4.2, upper, 23.6, bottom - upper), body)


def _with_legs(bust: Pictogram) -> Pictogram:
    """Add legs and shoes to a figure that ends at the waist."""
    assert bust.cut is not None
    left, right, color = bust.cut
    rgb = (int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16))
    leg, shoe = hex_of(darker(rgb, 0.18)), hex_of(darker(mix(rgb, (60, 50, 70), 0.6), 0.4))
    middle, wide = (left + right) / 2, min(right - left, 20.0)
    thick, bottom = wide * 0.3, bust.view[1] + bust.view[3]
    x1, x2 = middle - thick * 1.15, middle + thick * 0.15
    down = bottom + 9
    legs = (
        f'<path fill="{leg}" d="M{x1:.1f} {bottom - 1}h{thick:.1f}v11h-{thick:.1f}zM{x2:.1f} {bottom - 1}h{thick:.1f}'
        f'v11h-{thick:.1f}z"/><path fill="{shoe}" d="M{x1 - 1.4:.1f} {down + 2.2:.1f}q0-2.6 2.8-2.6h{thick - 1.4:.1f}v2.6z'
        f'M{x2:.1f} {down - 0.4:.1f}h{thick - 1.4:.1f}q2.8 0 2.8 2.6h-{thick + 1.4:.1f}z"/>'
    )
    x, y, width, height = bust.view
    return Pictogram(bust.name, bust.kind, bust.english, bust.chinese, (x, y, width, height + 11.2), legs + bust.body)


def raster(name: str, dress: Color | None, height_px: int) -> NDArray[np.uint8]:
    """Return the drawing as RGBA pixels of shape (height, width, 4), not premultiplied.

    The drawing has a transparent border of at least 2 pixels.
    """
    drawn = pictogram(name, dress)
    x, y, width, height = drawn.view
    rim = max(2, height_px // 40)
    scale = (height_px - 2 * rim) / height
    across = max(1, round(width * scale)) + 2 * rim
    pad = rim / scale
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{across}" height="{height_px}" preserveAspectRatio="xMidYMid"'
        f' viewBox="{x - pad:.3f} {y - pad:.3f} {width + 2 * pad:.3f} {height + 2 * pad:.3f}">{drawn.body}</svg>'
    )
    return rasterized(svg)
