"""The forest and jungle backdrops."""

import math

from framehouse.engines.previz.backdrops.scenery import (
    GRASS,
    LEAVES,
    PINE,
    Stage,
    broadleaf,
    draw_path,
    draw_sky,
    ground,
    palm,
    pine,
    ridge,
)
from framehouse.engines.previz.color import Color, darker, lighter
from framehouse.engines.previz.vector import boxes, dots


def forest(s: Stage) -> None:
    """Draw rows of trees that fade into haze, trunks at the sides, ferns, and shafts of light."""
    d, v, light = s.d, s.view, s.light
    draw_sky(s, clouds=False)
    d.rect(0, 0, v.width, v.height, light.on((150, 190, 160), 0.6), 0.35)
    deciduous = s.season in ("autumn", "spring")
    for layer in range(3):
        dice = s.dice(f"trees {layer}")
        far = 0.62 - 0.24 * layer
        base = v.horizon + v.height * 0.045 * layer
        d.path(ridge(s, f"floor {layer}", base + 8, 12), light.on(darker(GRASS[s.season], 0.16), far))
        for n in range(round((17 - 4 * layer) * v.width / 1000 / v.zoom) + 3):
            x = dice.uniform(-0.04, 1.04) * v.width + v.pan * 0.3 * layer
            tall = v.height * dice.uniform(0.26, 0.4) * (0.8 + 0.3 * layer) * (0.7 + 0.3 * v.zoom)
            if deciduous:
                broadleaf(s, x, base + 12, tall * 0.8, far=far, pick=n)
            else:
                pine(s, x, base + 12, tall, light.on(PINE if n % 3 else (84, 128, 84), far))
    ground(s, darker(GRASS[s.season], 0.14), top=v.horizon + v.height * 0.11)
    earth: Color = (226, 234, 246) if s.season == "winter" else (206, 182, 138)
    draw_path(s, light.on(earth, 0.12), v.horizon + v.height * 0.11)
    if not s.from_above:
        _trunks(s)
    shaft = lighter(light.sun, 0.2)
    if not light.dark and s.scene.weather in ("", "fog"):
        for n, x in enumerate((0.28, 0.46, 0.68)):
            left = v.width * x
            d.polygon(
                [
                    (left, 0),
                    (left + 70, 0),
                    (left - 60 - 40 * n, v.height * 0.9),
                    (left - 190 - 40 * n, v.height * 0.9),
                ],
                d.linear((0, shaft, 0.34), (1, shaft, 0.0)),
            )
    _ferns(s)


def _trunks(s: Stage) -> None:
    d, v, light = s.d, s.view, s.light
    dice = s.dice("trunks")
    for side in (-1, 1):
        for n in range(2):
            x = v.width * (0.5 + side * (0.5 - 0.13 * n + dice.uniform(-0.02, 0.02))) + v.pan * 0.5
            wide, base = v.width * 0.034 * (1.3 - 0.5 * n) * v.zoom + 8, v.horizon + v.height * (0.26 - 0.1 * n)
            bark = light.on((92, 72, 62), 0.12 * n)
            d.path(
                f"M{x - wide:.1f} {base:.1f}Q{x - wide * 0.5:.1f} {base - 60:.1f} {x - wide * 0.5:.1f} -5H{x + wide * 0.5:.1f}Q{x + wide * 0.5:.1f} {base - 60:.1f} {x + wide:.1f} {base:.1f}z",
                bark,
            )
            d.path(
                f"M{x + wide * 0.1:.1f} {base:.1f}Q{x + wide * 0.15:.1f} {base - 60:.1f} {x + wide * 0.15:.1f} -5H{x + wide * 0.5:.1f}Q{x + wide * 0.5:.1f} {base - 60:.1f} {x + wide:.1f} {base:.1f}z",
                darker(bark, 0.22),
            )
    leaf = light.on(darker(LEAVES[s.season][0], 0.3), 0.05)
    crowns = [
        (v.width * dice.uniform(-0.05, 0.3), dice.uniform(-0.06, 0.09) * v.height, dice.uniform(40, 85))
        for _ in range(9)
    ]
    crowns += [
        (v.width * dice.uniform(0.7, 1.05), dice.uniform(-0.06, 0.09) * v.height, dice.uniform(40, 85))
        for _ in range(9)
    ]
    d.path(dots(crowns), leaf)


def _ferns(s: Stage) -> None:
    d, v, light = s.d, s.view, s.light
    dice = s.dice("ferns")
    blades = ""
    for _ in range(26):
        x, base = dice.uniform(0, v.width), v.horizon + (v.height - v.horizon) * dice.uniform(0.4, 0.98)
        tall = 16 + 40 * (base - v.horizon) / v.height
        for lean in (-0.7, -0.35, 0, 0.35, 0.7):
            blades += f"M{x - 3:.1f} {base:.1f}Q{x + lean * tall * 0.4:.1f} {base - tall * 0.7:.1f} {x + lean * tall:.1f} {base - tall * (1 - abs(lean) * 0.4):.1f}Q{x + lean * tall * 0.3:.1f} {base - tall * 0.4:.1f} {x + 3:.1f} {base:.1f}z"
    d.path(blades, light.on(darker(LEAVES[s.season][-1], 0.1), 0.06), 0.85)


def jungle(s: Stage) -> None:
    """Draw layers of foliage and palms around a clearing, with large leaves at the sides."""
    d, v, light = s.d, s.view, s.light
    draw_sky(s, clouds=False)
    d.rect(0, 0, v.width, v.height, light.on((120, 190, 150), 0.5), 0.4)
    greens: tuple[Color, ...] = ((64, 136, 96), (44, 112, 84), (30, 88, 70))
    for layer in range(3):
        dice = s.dice(f"jungle {layer}")
        far = 0.55 - 0.22 * layer
        base = v.horizon + v.height * 0.05 * layer
        crowns = [
            (
                dice.uniform(-0.05, 1.05) * v.width,
                base - dice.random() * v.height * (0.34 - 0.07 * layer),
                dice.uniform(40, 90),
            )
            for _ in range(26)
        ]
        d.path(dots(crowns) + boxes([(0, base - 20, v.width, v.height)]), light.on(greens[layer], far))
        for _ in range(3):
            palm(
                s,
                dice.uniform(0, 1) * v.width,
                base + 14,
                v.height * dice.uniform(0.34, 0.5),
                light.on(greens[(layer + 1) % 3], far),
                light.on((112, 88, 66), far),
                dice.uniform(-0.2, 0.2),
            )
    ground(s, (86, 124, 70), top=v.horizon + v.height * 0.11)
    draw_path(s, light.on((190, 164, 116), 0.1), v.horizon + v.height * 0.11)
    dice = s.dice("leaves")
    for side in (0.0, 1.0):
        for n in range(5):
            x, y = v.width * side, v.height * (0.06 + 0.22 * n) + dice.uniform(-30, 30)
            _leaf(
                s,
                x,
                y,
                dice.uniform(170, 260),
                (0.2 + dice.uniform(-0.5, 0.5)) if side == 0 else math.pi - 0.2 + dice.uniform(-0.5, 0.5),
                light.on(darker(greens[n % 3], 0.28)),
            )


def _leaf(s: Stage, x: float, y: float, long: float, angle: float, color: Color) -> None:
    cx, cy = math.cos(angle), math.sin(angle)
    tip = (x + cx * long, y + cy * long)
    px, py = -cy * long * 0.22, cx * long * 0.22
    mid = (x + cx * long * 0.5, y + cy * long * 0.5)
    s.d.path(
        f"M{x:.1f} {y:.1f}Q{mid[0] + px:.1f} {mid[1] + py:.1f} {tip[0]:.1f} {tip[1]:.1f}Q{mid[0] - px:.1f} {mid[1] - py:.1f} {x:.1f} {y:.1f}z",
        color,
    )
    s.d.line(f"M{x:.1f} {y:.1f}L{tip[0]:.1f} {tip[1]:.1f}", lighter(color, 0.16), 2.5, 0.7)
