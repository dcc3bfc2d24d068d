"""The sea and beach backdrops."""

import math

from framehouse.engines.previz.backdrops.scenery import (
    Stage,
    draw_sky,
    palm,
    ridge,
)
from framehouse.engines.previz.color import WHITE, Color, darker, lighter, mix
from framehouse.engines.previz.vector import dots, smooth


def _water(s: Stage, top: float, bottom: float) -> None:
    """Draw water with the reflected sky, glints of the sun, and waves that become wider towards the foreground."""
    d, v, light = s.d, s.view, s.light
    deep: Color = (34, 96, 140) if not light.dark else (16, 34, 74)
    d.rect(
        0,
        top,
        v.width,
        bottom - top,
        d.linear(
            (0, mix(light.low, light.on(deep), 0.35)),
            (0.4, mix(light.middle, light.on(deep), 0.55)),
            (1, light.on(darker(deep, 0.2))),
        ),
    )
    dice = s.dice("water")
    for share, color in ((0.5, light.low), (0.3, WHITE)):
        marks = ""
        for _ in range(46):
            near = dice.random() ** 1.5
            y, half = top + (bottom - top) * near, v.width * (0.008 + 0.05 * near) * v.zoom
            thick = 1.4 + 3.6 * near
            x = dice.uniform(0, v.width)
            marks += f"M{x - half:.1f} {y:.1f}q{half:.1f} {-thick:.1f} {2 * half:.1f} 0q{-half:.1f} {thick:.1f} {-2 * half:.1f} 0z"
        d.path(marks, light.graded(color), share * (0.5 if light.dark else 0.8))
    glints = ""
    sun_x = v.width * s.dice("sky").choice((0.24, 0.76, 0.7)) + v.pan * 0.2
    for n in range(22):
        y = top + 6 + (bottom - top) * 0.8 * (n / 22) ** 1.2
        half = (14 + 52 * n / 22) * dice.uniform(0.4, 1.0)
        x = sun_x + dice.uniform(-1, 1) * (8 + n * 2.4)
        glints += f"M{x - half:.1f} {y:.1f}h{2 * half:.1f}a2 2 0 0 1 0 4h{-2 * half:.1f}a2 2 0 0 1 0 -4z"
    if s.scene.weather in ("", "rainbow") and top > 0:
        d.path(glints, lighter(light.sun, 0.2), 0.75)


def sea(s: Stage) -> None:
    """Draw water to the horizon, a boat, and hills behind the boat.

    The function `quay` adds ground for subjects that do not float.
    """
    d, v, light = s.d, s.view, s.light
    draw_sky(s)
    d.path(ridge(s, "islands", v.horizon + 2, v.height * 0.07, bumps=5), light.on((120, 138, 160), 0.5))
    _water(s, v.horizon, v.height + 1)
    dice = s.dice("boat")
    x, y, size = v.width * dice.choice((0.1, 0.88)), v.horizon + 16, 34 * v.zoom
    d.polygon(
        [(x - size * 0.7, y), (x + size * 0.7, y), (x + size * 0.45, y + size * 0.3), (x - size * 0.5, y + size * 0.3)],
        light.on((196, 90, 74), 0.25),
    )
    d.polygon([(x - 2, y - 4), (x - 2, y - size * 1.3), (x + size * 0.55, y - 6)], light.on((246, 240, 230), 0.2))
    d.polygon([(x - 6, y - 4), (x - 6, y - size), (x - size * 0.45, y - 6)], light.on((246, 220, 190), 0.25))


def quay(s: Stage, floor: float) -> None:
    """Draw a stone quay for subjects that do not float."""
    d, v, light = s.d, s.view, s.light
    top = min(floor - v.height * 0.05, v.height * 0.92)
    stone: Color = (176, 160, 150)
    d.polygon(
        [(0, top), (v.width, top + 10), (v.width, v.height + 1), (0, v.height + 1)],
        d.linear((0, light.on(stone)), (1, light.on(darker(stone, 0.35)))),
    )
    d.polygon([(0, top - 9), (v.width, top + 1), (v.width, top + 12), (0, top + 2)], light.on(lighter(stone, 0.4)))
    joints = "".join(
        f"M{v.width * (n / 9):.1f} {top + 6:.1f}L{v.width * (0.5 + (n / 9 - 0.5) * 1.5):.1f} {v.height:.1f}"
        for n in range(10)
    )
    d.line(joints, light.on(darker(stone, 0.3)), 2, 0.5)


def beach(s: Stage) -> None:
    """Draw sea, sand, foam and palms."""
    d, v, light = s.d, s.view, s.light
    draw_sky(s)
    d.path(ridge(s, "islands", v.horizon + 2, v.height * 0.05, bumps=4), light.on((110, 150, 140), 0.5))
    shore = v.horizon + (v.height - v.horizon) * 0.32
    _water(s, v.horizon, shore + 40)
    sand: Color = (244, 222, 178)
    wave = [(v.width * n / 6, shore + (10 if n % 2 else -8) + 14 * math.sin(n * 1.7)) for n in range(7)]
    d.path(smooth([(x, y - 10) for x, y in wave], v.height + 5), light.on((250, 252, 255), 0.05), 0.85)
    d.path(smooth([(x, y + 6) for x, y in wave], v.height + 5), light.on(mix(sand, (140, 120, 96), 0.3)))
    d.path(
        smooth([(x, y + 22) for x, y in wave], v.height + 5),
        d.linear((0, light.on(sand)), (1, light.on(darker(sand, 0.24)))),
    )
    dice = s.dice("sand")
    d.path(
        dots(
            [
                (dice.uniform(0, v.width), shore + 40 + (v.height - shore) * dice.random(), dice.uniform(1, 3))
                for _ in range(60)
            ]
        ),
        light.on(darker(sand, 0.24)),
        0.6,
    )
    green, bark = light.on((70, 142, 96), 0.08), light.on((140, 106, 78), 0.08)
    side = dice.choice((0.06, 0.93))
    palm(
        s,
        v.width * side,
        shore + v.height * 0.16,
        v.height * 0.52 * (0.7 + 0.3 * v.zoom),
        green,
        bark,
        0.16 if side < 0.5 else -0.16,
    )
    palm(
        s,
        v.width * (side + (0.09 if side < 0.5 else -0.09)),
        shore + v.height * 0.12,
        v.height * 0.4 * (0.7 + 0.3 * v.zoom),
        lighter(green, 0.08),
        bark,
        -0.08 if side < 0.5 else 0.1,
    )
