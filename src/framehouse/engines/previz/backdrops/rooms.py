"""The indoor backdrops: room, library, café and kitchen."""

import math

from framehouse.engines.previz.backdrops.scenery import Stage, shadow_below
from framehouse.engines.previz.color import WHITE, Color, darker, lighter, mix
from framehouse.engines.previz.vector import boxes, dots

_LAMP: Color = (255, 214, 140)


def _interior(s: Stage, wall: Color, boards: Color) -> float:
    """Draw a wall, a baseboard and a floor. Returns the y coordinate of the upper edge of the floor."""
    d, v = s.d, s.view
    floor = v.horizon + v.height * 0.06 if not s.from_above else -10.0
    lit = _indoor_color(s, wall)
    d.rect(0, 0, v.width, v.height, d.linear((0, lighter(lit, 0.06)), (1, darker(lit, 0.1))))
    base = _indoor_color(s, boards)
    d.rect(0, floor, v.width, v.height - floor + 1, d.linear((0, base), (1, darker(base, 0.34))))
    lines = ""
    for n in range(-7, 8):
        lines += f"M{v.width / 2 + n * 90:.1f} {floor:.1f}L{v.width / 2 + n * 230:.1f} {v.height:.1f}"
    d.line(lines, darker(base, 0.22), 2, 0.6)
    d.rect(0, floor - 14, v.width, 15, mix(lit, WHITE, 0.35))
    return floor


def _indoor_color(s: Stage, color: Color) -> Color:
    """Return the color that a surface has in indoor light. Lamps reduce the effect of the time of day."""
    if s.light.dark:
        return s.light.graded(mix(mix(color, s.light.on(color), 0.55), _LAMP, 0.1))
    return mix(s.light.graded(color), s.light.on(color), 0.5)


def _window(s: Stage, x: float, y: float, wide: float, tall: float) -> None:
    """Draw a window that shows the sky. Unless the scene is dark, the window casts light on the floor."""
    d, light = s.d, s.light
    d.rect(x - 9, y - 9, wide + 18, tall + 18, _indoor_color(s, (246, 240, 230)), radius=4)
    d.rect(x, y, wide, tall, d.linear((0, light.top), (0.6, light.middle), (1, light.low)))
    dice = s.dice("window")
    if light.dark:
        d.path(
            dots([(x + dice.uniform(6, wide - 6), y + dice.uniform(6, tall * 0.6), 1.2) for _ in range(16)]), WHITE, 0.9
        )
        d.circle(x + wide * 0.7, y + tall * 0.26, min(wide, tall) * 0.1, light.sun)
    else:
        d.circle(
            x + wide * 0.72,
            y + tall * (0.68 if light.time in ("sunset", "dawn") else 0.24),
            min(wide, tall) * 0.12,
            lighter(light.sun, 0.3),
        )
    hills = light.on((120, 150, 140), 0.4)
    d.path(
        f"M{x:.1f} {y + tall:.1f}V{y + tall * 0.8:.1f}Q{x + wide * 0.3:.1f} {y + tall * 0.62:.1f} {x + wide * 0.6:.1f} {y + tall * 0.82:.1f}T{x + wide:.1f} {y + tall * 0.74:.1f}V{y + tall:.1f}z",
        hills,
    )
    d.path(boxes([(x + wide / 2 - 3, y, 6, tall), (x, y + tall * 0.42, wide, 6)]), _indoor_color(s, (246, 240, 230)))
    d.rect(x - 18, y + tall + 6, wide + 36, 11, _indoor_color(s, (232, 224, 210)), radius=3)
    if not light.dark:
        v = s.view
        d.polygon(
            [(x, y + tall), (x + wide, y + tall), (x + wide * 1.9, v.height), (x + wide * 0.5, v.height)],
            d.linear((0, light.sun, 0.04), (1, light.sun, 0.26)),
        )


def _curtain(s: Stage, x: float, top: float, wide: float, bottom: float, color: Color) -> None:
    lit = _indoor_color(s, color)
    s.d.rect(
        x,
        top,
        wide,
        bottom - top,
        s.d.linear((0, lit), (0.3, lighter(lit, 0.14)), (0.6, darker(lit, 0.12)), (1, lit), across=True),
        radius=4,
    )


def _framed_image(s: Stage, x: float, y: float, wide: float, tall: float, color: Color) -> None:
    d = s.d
    d.rect(x, y, wide, tall, _indoor_color(s, (96, 74, 62)), radius=2)
    d.rect(x + 7, y + 7, wide - 14, tall - 14, _indoor_color(s, (246, 240, 228)))
    d.rect(x + 14, y + 14, wide - 28, tall - 28, _indoor_color(s, lighter(color, 0.3)))
    d.path(
        f"M{x + 14:.1f} {y + tall - 14:.1f}L{x + wide * 0.4:.1f} {y + tall * 0.45:.1f}L{x + wide * 0.62:.1f} {y + tall * 0.7:.1f}L{x + wide * 0.76:.1f} {y + tall * 0.55:.1f}L{x + wide - 14:.1f} {y + tall - 14:.1f}z",
        _indoor_color(s, color),
    )


def _plant(s: Stage, x: float, base: float, tall: float) -> None:
    d = s.d
    pot, leaf = _indoor_color(s, (206, 122, 86)), _indoor_color(s, (86, 150, 98))
    shadow_below(s, x, base, tall * 0.26)
    for n, lean in enumerate((-0.5, -0.25, 0.04, 0.3, 0.52)):
        tip_x, tip_y = x + lean * tall * 0.9, base - tall * (0.98 - abs(lean) * 0.55)
        fill = leaf if n % 2 else darker(leaf, 0.16)
        d.path(
            f"M{x:.1f} {base - tall * 0.28:.1f}Q{x + lean * tall * 0.2 - 14:.1f} {base - tall * 0.7:.1f} {tip_x:.1f} {tip_y:.1f}Q{x + lean * tall * 0.5 + 16:.1f} {base - tall * 0.5:.1f} {x:.1f} {base - tall * 0.28:.1f}z",
            fill,
        )
    d.polygon(
        [
            (x - tall * 0.15, base - tall * 0.32),
            (x + tall * 0.15, base - tall * 0.32),
            (x + tall * 0.11, base),
            (x - tall * 0.11, base),
        ],
        pot,
    )


def _hanging_lamp(s: Stage, x: float, y: float, size: float, color: Color) -> None:
    d = s.d
    if s.from_above:
        return
    d.line(f"M{x:.1f} -5V{y - size * 0.5:.1f}", (40, 38, 46), 2.5)
    d.glow(x, y + size * 0.2, size * 3.2, _LAMP, 0.5 if s.light.dark else 0.28)
    d.path(
        f"M{x - size:.1f} {y + size * 0.3:.1f}Q{x - size * 0.8:.1f} {y - size * 0.6:.1f} {x:.1f} {y - size * 0.6:.1f}Q{x + size * 0.8:.1f} {y - size * 0.6:.1f} {x + size:.1f} {y + size * 0.3:.1f}z",
        _indoor_color(s, color),
    )
    d.ellipse(x, y + size * 0.3, size, size * 0.14, lighter(_LAMP, 0.45))


def room(s: Stage) -> None:
    """Draw a window, framed paintings, a rug, a plant and a lamp."""
    d, v = s.d, s.view
    dice = s.dice("room")
    wall: Color = (
        s.scene.tints[0]
        if s.scene.tints
        else dice.choice(((226, 206, 180), (188, 206, 204), (214, 190, 196), (198, 200, 224)))
    )
    floor = _interior(s, wall, (186, 136, 96))
    accent: Color = dice.choice(((196, 96, 86), (82, 122, 150), (206, 152, 76), (110, 140, 110)))
    z = 0.62 + 0.38 * v.zoom
    if floor > 0:
        wide, tall = min(250 * z, v.width * 0.36), min(270 * z, floor * 0.66)
        x, y = v.width * (0.1 if v.tall else 0.12) + v.pan * 0.5, floor * 0.16
        _window(s, x, y, wide, tall)
        for dx in (-0.22, 1.0):
            _curtain(s, x + wide * dx, y - 22, wide * 0.22, floor - 6, accent)
        d.rect(x - wide * 0.3, y - 30, wide * 1.6, 7, (86, 70, 62), radius=3)
        for n, (dx, dy) in enumerate(((0.6, 0.2), (0.74, 0.3), (0.88, 0.18))):
            if not v.tall or n == 1:
                _framed_image(
                    s,
                    v.width * dx,
                    floor * dy,
                    88 * z,
                    (100 if n % 2 else 76) * z,
                    (accent, (120, 150, 170), (210, 170, 110))[n],
                )
        _plant(s, v.width * 0.94 - 20, floor + 26, 190 * z)
        lamp_x = v.width * 0.8
        d.line(f"M{lamp_x:.1f} {floor + 14:.1f}v{-200 * z:.1f}", (70, 62, 66), 5)
        d.glow(lamp_x, floor - 190 * z, 210 * z, _LAMP, 0.55 if s.light.dark else 0.2)
        d.polygon(
            [
                (lamp_x - 28 * z, floor - 200 * z + 14),
                (lamp_x + 28 * z, floor - 200 * z + 14),
                (lamp_x + 44 * z, floor - 130 * z),
                (lamp_x - 44 * z, floor - 130 * z),
            ],
            _indoor_color(s, (250, 230, 190)),
        )
    rug = _indoor_color(s, accent)
    d.ellipse(v.center, max(v.floor, floor + 60) - 6, v.width * 0.34, 54 if floor > 0 else v.height * 0.34, rug, 0.85)
    d.ellipse(
        v.center,
        max(v.floor, floor + 60) - 6,
        v.width * 0.29,
        44 if floor > 0 else v.height * 0.29,
        lighter(rug, 0.2),
        0.85,
    )


def library(s: Stage) -> None:
    """Draw bookshelves from wall to wall, a ladder, lamps and a rug."""
    d, v = s.d, s.view
    floor = _interior(s, (150, 112, 86), (150, 104, 74))
    wood = _indoor_color(s, (124, 82, 56))
    spines: tuple[Color, ...] = (
        (176, 66, 60),
        (66, 108, 130),
        (206, 160, 84),
        (96, 124, 90),
        (130, 88, 122),
        (224, 206, 176),
    )
    dice = s.dice("books")
    z = 0.62 + 0.38 * v.zoom
    if floor > 0:
        row = 84 * z
        books: dict[Color, list[tuple[float, float, float, float]]] = {color: [] for color in spines}
        for n in range(math.ceil(floor / row)):
            bottom = floor - 22 - n * row
            d.rect(0, bottom - row, v.width, row, darker(wood, 0.45))
            x = dice.uniform(0, 20)
            while x < v.width:
                wide, tall = dice.uniform(10, 22) * z, row * dice.uniform(0.58, 0.84)
                if dice.random() < 0.9:
                    books[dice.choice(spines)].append((x, bottom - tall, wide, tall))
                x += wide + 1.5
            d.rect(0, bottom, v.width, 10, wood)
        for color, rects in books.items():
            d.path(boxes(rects), _indoor_color(s, color))
        for n in range(5):
            d.rect(v.width * n / 4 - 9 + v.pan * 0.3, 0, 18, floor, lighter(wood, 0.06))
        lx = v.width * 0.83
        d.line(
            f"M{lx:.1f} {floor + 20:.1f}L{lx - 50 * z:.1f} {floor * 0.2:.1f}M{lx + 64 * z:.1f} {floor + 20:.1f}L{lx + 14 * z:.1f} {floor * 0.2:.1f}",
            _indoor_color(s, (206, 160, 104)),
            8,
        )
        d.line(
            "".join(
                f"M{lx - 50 * z * k / 7:.1f} {floor + 20 - (floor * 0.8 + 20) * k / 7:.1f}h{64 * z:.1f}"
                for k in range(1, 7)
            ),
            _indoor_color(s, (206, 160, 104)),
            6,
        )
    for x in (0.25, 0.75):
        _hanging_lamp(s, v.width * x, v.height * 0.12, 34 * z, (70, 96, 80))
    d.ellipse(
        v.center,
        max(v.floor, floor + 60) - 6,
        v.width * 0.34,
        54 if floor > 0 else v.height * 0.34,
        _indoor_color(s, (150, 62, 62)),
        0.8,
    )


def cafe(s: Stage) -> None:
    """Draw a wide window, shelves and hanging lamps. The function `table` adds a table for small subjects."""
    d, v = s.d, s.view
    floor = _interior(s, (202, 164, 132), (140, 98, 72))
    z = 0.62 + 0.38 * v.zoom
    if floor > 0:
        wide, tall = v.width * 0.4, min(floor * 0.6, 300 * z)
        _window(s, v.width * 0.08 + v.pan * 0.5, floor * 0.2, wide, tall)
        dice = s.dice("shelf")
        left = v.width * 0.6
        for n in range(3):
            y = floor * (0.3 + 0.19 * n)
            d.rect(left, y, v.width * 0.34, 9, _indoor_color(s, (110, 74, 52)))
            x = left + 10
            while x < left + v.width * 0.32:
                wide = dice.uniform(16, 30) * z
                tall = dice.uniform(24, 52) * z
                color = _indoor_color(
                    s, dice.choice(((236, 226, 210), (184, 86, 70), (96, 130, 116), (216, 168, 92), (90, 74, 70)))
                )
                d.rect(x, y - tall, wide, tall, color, radius=wide * 0.22)
                x += wide + dice.uniform(5, 16)
    for n, x in enumerate((0.2, 0.5, 0.8)):
        _hanging_lamp(s, v.width * x + v.pan * 0.3, v.height * (0.13 + 0.03 * (n % 2)), 36 * z, (52, 66, 70))


def kitchen(s: Stage) -> None:
    """Draw tiles, a window, pots on a rail and hanging lamps. The function `table` adds a countertop for small subjects."""
    d, v = s.d, s.view
    floor = _interior(s, (222, 226, 220), (176, 150, 124))
    z = 0.62 + 0.38 * v.zoom
    if floor > 0:
        tile = _indoor_color(s, (236, 240, 236))
        size = 46 * z
        grid = "".join(f"M0 {floor * 0.52 + n * size:.1f}H{v.width:.1f}" for n in range(9)) + "".join(
            f"M{n * size * 1.6:.1f} {floor * 0.52:.1f}V{floor:.1f}" for n in range(1 + int(v.width / size / 1.6))
        )
        d.rect(0, floor * 0.52, v.width, floor * 0.48, tile)
        d.line(grid, darker(tile, 0.12), 2)
        _window(s, v.width * 0.58, floor * 0.12, min(230 * z, v.width * 0.32), min(floor * 0.5, 210 * z))
        rail = floor * 0.26
        d.line(f"M{v.width * 0.05:.1f} {rail:.1f}H{v.width * 0.48:.1f}", _indoor_color(s, (120, 110, 104)), 5)
        for n, color in enumerate(((190, 108, 76), (110, 116, 128), (204, 130, 88))):
            x, r = v.width * (0.11 + 0.13 * n), 32 * z
            d.line(f"M{x:.1f} {rail:.1f}v26", (80, 76, 80), 3)
            d.rect(
                x - r,
                rail + 26,
                2 * r,
                r * 1.3,
                d.linear(
                    (0, _indoor_color(s, lighter(color, 0.25))), (1, _indoor_color(s, darker(color, 0.2))), across=True
                ),
                radius=8,
            )
    for x in (0.3, 0.72):
        _hanging_lamp(s, v.width * x + v.pan * 0.3, v.height * 0.1, 34 * z, (226, 180, 90))


def table(s: Stage, floor: float, *, countertop: bool) -> None:
    """Draw a tabletop or a countertop across the bottom of the view, for small subjects."""
    d, v = s.d, s.view
    top = floor - v.height * 0.075
    color = _indoor_color(s, (220, 216, 210) if countertop else (166, 112, 74))
    d.rect(
        0, top, v.width, v.height - top + 1, d.linear((0, lighter(color, 0.2)), (0.4, color), (1, darker(color, 0.35)))
    )
    d.rect(0, top, v.width, 4, lighter(color, 0.4))
    dice = s.dice("grain")
    grain = "".join(
        f"M{dice.uniform(0, v.width):.1f} {top + 10 + (v.height - top) * dice.random():.1f}h{dice.uniform(40, 200):.1f}"
        for _ in range(26)
    )
    d.line(grain, darker(color, 0.2), 2, 0.35)
