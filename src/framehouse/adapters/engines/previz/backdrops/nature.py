"""Mountains, forests, meadows, deserts, snow and water."""

import math

from framehouse.adapters.engines.previz.backdrops.set import (
    GRASS,
    LEAVES,
    Set,
    broadleaf,
    draw_sky,
    ground,
    pine,
    ridge,
    shadow_below,
)
from framehouse.adapters.engines.previz.color import WHITE, Color, darker, lighter, mix
from framehouse.adapters.engines.previz.vector import boxes, dots, smooth

_PINE: Color = (62, 112, 92)
_SNOW: Color = (236, 243, 252)


def mountain(s: Set) -> None:
    """Peaks with a lit and a shaded side, snow on top, a row of pines, and ground before them."""
    d, v, light = s.d, s.view, s.light
    draw_sky(s)
    d.path(ridge(s, "far ridge", v.horizon, v.height * 0.2, bumps=7), light.on((120, 140, 170), 0.62))
    dice = s.dice("peaks")
    rock: Color = (96, 110, 140) if s.season != "autumn" else (128, 112, 118)
    for n, place in enumerate((0.14, 0.86, 0.47)):
        x = (place + dice.uniform(-0.05, 0.05) - 0.5) * v.width * (0.7 + 0.3 * v.zoom) + v.width / 2 + v.pan
        tall = v.height * dice.uniform(0.3, 0.4) * (1.25 if n == 2 else 0.8) * (0.75 + 0.25 * v.zoom)
        _peak(s, x, v.horizon + v.height * 0.04, tall, rock, far=0.34 if n < 2 else 0.2, seed=n)
    base = GRASS[s.season] if s.season != "winter" else _SNOW
    d.path(ridge(s, "foot", v.horizon + v.height * 0.03, v.height * 0.05), light.on(mix(base, rock, 0.35), 0.3))
    trees = s.dice("pines")
    for _ in range(round(26 / v.zoom)):
        x = trees.uniform(-0.02, 1.02) * v.width
        pine(
            s,
            x,
            v.horizon + v.height * trees.uniform(0.03, 0.06),
            v.height * trees.uniform(0.07, 0.12) * v.zoom,
            light.on(_PINE, 0.28),
        )
    ground(s, base, top=v.horizon + v.height * 0.055)
    for n, side in enumerate((-1, 1, -1, 1)):
        x = v.width * (0.5 + side * trees.uniform(0.34, 0.52))
        near = 0.16 + 0.05 * n
        pine(s, x, v.horizon + v.height * (0.1 + 0.035 * n), v.height * (near + 0.08) * v.zoom, light.on(_PINE, 0.1))
    _path_to_horizon(s, light.on(lighter(base, 0.25), 0.1), v.horizon + v.height * 0.056)


def _peak(s: Set, x: float, base: float, tall: float, rock: Color, *, far: float, seed: int) -> None:
    d, light = s.d, s.light
    dice = s.dice(f"peak {seed}")
    half = tall * dice.uniform(0.95, 1.25)
    k = [dice.uniform(0.9, 1.1) for _ in range(8)]
    left = [
        (x - half, base),
        (x - half * 0.56, base - tall * 0.42 * k[0]),
        (x - half * 0.3, base - tall * 0.66 * k[1]),
        (x, base - tall),
    ]
    right = [(x + half * 0.26, base - tall * 0.7 * k[2]), (x + half * 0.6, base - tall * 0.36 * k[3]), (x + half, base)]
    d.polygon([*left, *right], light.on(rock, far))
    crease = [
        (x, base - tall),
        (x + half * 0.1, base - tall * 0.6),
        (x - half * 0.06, base - tall * 0.34),
        (x + half * 0.16, base),
    ]
    d.polygon([*crease, (x + half, base), right[1], right[0]], light.on(darker(rock, 0.24), far))
    snow = light.on(_SNOW, far * 0.5)
    line = [
        (x - half * 0.3, base - tall * 0.66 * k[1]), (x - half * 0.2, base - tall * 0.58), (x - half * 0.1, base - tall * 0.7),
        (x + half * 0.02, base - tall * 0.56), (x + half * 0.08, base - tall * 0.72), (x, base - tall),
    ]  # fmt: skip
    d.polygon(line, snow)
    d.polygon(
        [
            (x, base - tall),
            (x + half * 0.08, base - tall * 0.72),
            (x + half * 0.17, base - tall * 0.62),
            (x + half * 0.26, base - tall * 0.7 * k[2]),
        ],
        mix(snow, light.on(rock), 0.4),
    )


def _path_to_horizon(s: Set, color: Color, top: float) -> None:
    v = s.view
    x = v.width * 0.5 + v.pan
    s.d.path(
        f"M{x - 6:.1f} {top:.1f}C{x + 60:.1f} {top + (v.height - top) * 0.3:.1f} {x - 150:.1f} {top + (v.height - top) * 0.5:.1f} "
        f"{x - 190:.1f} {v.height:.1f}H{x + 190:.1f}C{x + 60:.1f} {top + (v.height - top) * 0.55:.1f} "
        f"{x + 110:.1f} {top + (v.height - top) * 0.3:.1f} {x + 10:.1f} {top:.1f}z",
        color, 0.5,
    )  # fmt: skip


def forest(s: Set) -> None:
    """Rows of trees that fade into haze, trunks that frame the view, light falling through."""
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
                pine(s, x, base + 12, tall, light.on(_PINE if n % 3 else (84, 128, 84), far))
    ground(s, darker(GRASS[s.season], 0.14), top=v.horizon + v.height * 0.11)
    earth: Color = (226, 234, 246) if s.season == "winter" else (206, 182, 138)
    _path_to_horizon(s, light.on(earth, 0.12), v.horizon + v.height * 0.11)
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


def _trunks(s: Set) -> None:
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


def _ferns(s: Set) -> None:
    d, v, light = s.d, s.view, s.light
    dice = s.dice("ferns")
    blades = ""
    for _ in range(26):
        x, base = dice.uniform(0, v.width), v.horizon + (v.height - v.horizon) * dice.uniform(0.4, 0.98)
        tall = 16 + 40 * (base - v.horizon) / v.height
        for lean in (-0.7, -0.35, 0, 0.35, 0.7):
            blades += f"M{x - 3:.1f} {base:.1f}Q{x + lean * tall * 0.4:.1f} {base - tall * 0.7:.1f} {x + lean * tall:.1f} {base - tall * (1 - abs(lean) * 0.4):.1f}Q{x + lean * tall * 0.3:.1f} {base - tall * 0.4:.1f} {x + 3:.1f} {base:.1f}z"
    d.path(blades, light.on(darker(LEAVES[s.season][-1], 0.1), 0.06), 0.85)


def jungle(s: Set) -> None:
    """Layers of large leaves, palms and vines around a clearing."""
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
            _palm(
                s,
                dice.uniform(0, 1) * v.width,
                base + 14,
                v.height * dice.uniform(0.34, 0.5),
                light.on(greens[(layer + 1) % 3], far),
                light.on((112, 88, 66), far),
                dice.uniform(-0.2, 0.2),
            )
    ground(s, (86, 124, 70), top=v.horizon + v.height * 0.11)
    _path_to_horizon(s, light.on((190, 164, 116), 0.1), v.horizon + v.height * 0.11)
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


def _leaf(s: Set, x: float, y: float, long: float, angle: float, color: Color) -> None:
    cx, cy = math.cos(angle), math.sin(angle)
    tip = (x + cx * long, y + cy * long)
    px, py = -cy * long * 0.22, cx * long * 0.22
    mid = (x + cx * long * 0.5, y + cy * long * 0.5)
    s.d.path(
        f"M{x:.1f} {y:.1f}Q{mid[0] + px:.1f} {mid[1] + py:.1f} {tip[0]:.1f} {tip[1]:.1f}Q{mid[0] - px:.1f} {mid[1] - py:.1f} {x:.1f} {y:.1f}z",
        color,
    )
    s.d.line(f"M{x:.1f} {y:.1f}L{tip[0]:.1f} {tip[1]:.1f}", lighter(color, 0.16), 2.5, 0.7)


def _palm(s: Set, x: float, base: float, tall: float, leaf: Color, trunk: Color, lean: float) -> None:
    d = s.d
    top = (x + lean * tall, base - tall)
    d.path(
        f"M{x - tall * 0.035:.1f} {base:.1f}Q{x + lean * tall * 0.2:.1f} {base - tall * 0.5:.1f} {top[0] - 3:.1f} {top[1]:.1f}h6Q{x + lean * tall * 0.3 + tall * 0.05:.1f} {base - tall * 0.5:.1f} {x + tall * 0.035:.1f} {base:.1f}z",
        trunk,
    )
    fronds = ""
    for n in range(7):
        angle = math.pi * (1.08 + n * 0.142) if n < 6 else math.pi * 1.5
        reach = tall * 0.42
        ex, ey = top[0] + math.cos(angle) * reach, top[1] + math.sin(angle) * reach * 0.6 + reach * 0.42
        mx, my = top[0] + math.cos(angle) * reach * 0.55, top[1] + math.sin(angle) * reach * 0.75 - reach * 0.12
        fronds += f"M{top[0]:.1f} {top[1]:.1f}Q{mx:.1f} {my:.1f} {ex:.1f} {ey:.1f}Q{mx:.1f} {my + reach * 0.24:.1f} {top[0]:.1f} {top[1] + 5:.1f}z"
    d.path(fronds, leaf)


def meadow(s: Set) -> None:
    """Rolling hills, trees in the distance, flowers near by."""
    d, v, light = s.d, s.view, s.light
    draw_sky(s)
    grass = GRASS[s.season]
    d.path(
        ridge(s, "blue hills", v.horizon - v.height * 0.02, v.height * 0.14, bumps=4), light.on((126, 156, 176), 0.5)
    )
    for layer, far in enumerate((0.42, 0.26)):
        base = v.horizon + v.height * 0.04 * layer
        d.path(
            ridge(s, f"hill {layer}", base, v.height * 0.07, bumps=3 + layer),
            light.on(mix(grass, (96, 150, 120), 0.35 - 0.2 * layer), far),
        )
        dice = s.dice(f"trees {layer}")
        for n in range(round(6 / v.zoom) + 2):
            broadleaf(
                s,
                dice.uniform(0, 1) * v.width + v.pan * 0.4,
                base + v.height * 0.015,
                v.height * dice.uniform(0.09, 0.15) * v.zoom,
                far=far,
                pick=n,
            )
    ground(s, grass, top=v.horizon + v.height * 0.07)
    d.path(
        ridge(s, "near", v.horizon + v.height * 0.12, v.height * 0.03, bumps=3),
        light.on(lighter(grass, 0.08), 0.05),
        0.6,
    )
    dice = s.dice("flowers")
    top = v.horizon + v.height * 0.1
    if s.season != "winter":
        petals: tuple[Color, ...] = ((255, 255, 255), (255, 214, 92), (246, 140, 176), (196, 150, 236))
        for color in petals:
            spots = []
            for _ in range(26):
                deep = dice.random() ** 0.7
                spots.append(
                    (dice.uniform(0, v.width), top + (v.height - top) * deep, 1.4 + 4.2 * deep * (0.7 + 0.3 * v.zoom))
                )
            d.path(dots(spots), light.on(color, 0.04), 0.9)
        d.path(_blades(dice_count=70, s=s, top=top), light.on(darker(grass, 0.25)), 0.55)


def _blades(*, dice_count: int, s: Set, top: float) -> str:
    dice, v = s.dice("blades"), s.view
    d = ""
    for _ in range(dice_count):
        deep = dice.random()
        x, base, tall = dice.uniform(0, v.width), top + (v.height - top) * deep, 8 + 20 * deep
        d += f"M{x:.1f} {base:.1f}q2 {-tall * 0.6:.1f} {dice.uniform(-6, 6):.1f} {-tall:.1f}q3 {tall * 0.4:.1f} 3 {tall:.1f}z"
    return d


def desert(s: Set) -> None:
    """Dunes with a lit and a shaded side, mesas far away, a few cacti."""
    d, v, light = s.d, s.view, s.light
    draw_sky(s, clouds=s.scene.weather != "")
    sand: Color = (232, 188, 128)
    dice = s.dice("mesa")
    for n in range(3):
        x, wide, tall = (
            v.width * (0.12 + 0.33 * n + dice.uniform(-0.05, 0.05)),
            v.width * dice.uniform(0.08, 0.16),
            v.height * dice.uniform(0.06, 0.13),
        )
        d.polygon(
            [
                (x - wide * 0.62, v.horizon + 6),
                (x - wide * 0.5, v.horizon - tall),
                (x + wide * 0.46, v.horizon - tall),
                (x + wide * 0.66, v.horizon + 6),
            ],
            light.on((196, 120, 88), 0.45),
        )
        d.polygon(
            [
                (x + wide * 0.1, v.horizon - tall),
                (x + wide * 0.46, v.horizon - tall),
                (x + wide * 0.66, v.horizon + 6),
                (x + wide * 0.2, v.horizon + 6),
            ],
            light.on((160, 92, 74), 0.45),
        )
    ground(s, sand)
    for layer in range(3):
        dice = s.dice(f"dune {layer}")
        base = v.horizon + v.height * (0.05 + 0.09 * layer)
        crest_x = v.width * dice.uniform(0.25, 0.75) + v.pan
        crest_y = base - v.height * dice.uniform(0.05, 0.09)
        far = 0.3 - 0.13 * layer
        d.path(
            f"M-5 {v.height + 5:.0f}V{base:.1f}Q{crest_x * 0.6:.1f} {base:.1f} {crest_x:.1f} {crest_y:.1f}Q{crest_x + (v.width - crest_x) * 0.4:.1f} {base + 26:.1f} {v.width + 5:.1f} {base + 14:.1f}V{v.height + 5:.0f}z",
            light.on(sand, far),
        )
        d.path(
            f"M{crest_x:.1f} {crest_y:.1f}Q{crest_x + 30:.1f} {base + 10:.1f} {crest_x - 50:.1f} {base + v.height * 0.13:.1f}Q{crest_x + 160:.1f} {base + v.height * 0.12:.1f} {v.width + 5:.1f} {base + 14:.1f}Q{crest_x + (v.width - crest_x) * 0.4:.1f} {base + 26:.1f} {crest_x:.1f} {crest_y:.1f}z",
            light.on(darker(sand, 0.2), far),
        )
    dice = s.dice("cacti")
    for n in range(3):
        x = v.width * (0.1, 0.9, 0.8)[n] + dice.uniform(-30, 30)
        base, tall = v.horizon + v.height * (0.12 + 0.06 * n), v.height * (0.1 + 0.05 * n) * v.zoom
        green = light.on((92, 146, 96), 0.1)
        d.line(
            f"M{x:.1f} {base:.1f}v{-tall:.1f}M{x:.1f} {base - tall * 0.4:.1f}h{tall * 0.22:.1f}v{-tall * 0.24:.1f}M{x:.1f} {base - tall * 0.28:.1f}h{-tall * 0.2:.1f}v{-tall * 0.26:.1f}",
            green,
            tall * 0.13,
        )
        shadow_below(s, x, base, tall * 0.24)


def snowfield(s: Set) -> None:
    """Icy hills, drifts, a few pines."""
    d, v, light = s.d, s.view, s.light
    draw_sky(s)
    if light.dark and s.scene.weather == "":
        for n, color in enumerate(((90, 240, 170), (110, 200, 250), (180, 130, 250))):
            y = v.horizon * (0.2 + 0.09 * n)
            d.path(
                f"M-10 {y + 60:.1f}C{v.width * 0.3:.1f} {y - 70:.1f} {v.width * 0.55:.1f} {y + 110:.1f} {v.width + 10:.1f} {y - 40:.1f}V{y + 40:.1f}C{v.width * 0.6:.1f} {y + 220:.1f} {v.width * 0.3:.1f} {y + 50:.1f} -10 {y + 190:.1f}z",
                d.linear((0, color, 0.0), (0.5, color, 0.26), (1, color, 0.0)),
            )
    ice: Color = (198, 222, 244)
    for n, place in enumerate((0.18, 0.8, 0.5)):
        _peak(
            s,
            v.width * place + v.pan,
            v.horizon + 20,
            v.height * (0.2 + 0.06 * n) * (0.8 + 0.2 * v.zoom),
            ice,
            far=0.5 - 0.1 * n,
            seed=10 + n,
        )
    ground(s, _SNOW, top=v.horizon + 6)
    for layer in range(3):
        d.path(
            ridge(s, f"drift {layer}", v.horizon + v.height * (0.06 + 0.1 * layer), v.height * 0.05, bumps=3),
            light.on(mix(_SNOW, (190, 214, 242), 0.32 - 0.1 * layer), 0.2 - 0.08 * layer),
        )
    dice = s.dice("pines")
    for n in range(6):
        pine(
            s,
            v.width * dice.choice((0.06, 0.14, 0.88, 0.95)) + dice.uniform(-20, 20),
            v.horizon + v.height * (0.06 + 0.03 * n),
            v.height * (0.13 + 0.025 * n) * v.zoom,
            light.on((96, 132, 140), 0.2),
        )


def _water(s: Set, top: float, bottom: float) -> None:
    """Water with the sky in it, glints of the sun, and lines that widen towards us."""
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


def sea(s: Set) -> None:
    """Water to the horizon, hills beyond it; a quay before it, where the subject does not float."""
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


def quay(s: Set, floor: float) -> None:
    """Stone by the water, for whoever does not float."""
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


def beach(s: Set) -> None:
    """Sand, foam, palms."""
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
    _palm(
        s,
        v.width * side,
        shore + v.height * 0.16,
        v.height * 0.52 * (0.7 + 0.3 * v.zoom),
        green,
        bark,
        0.16 if side < 0.5 else -0.16,
    )
    _palm(
        s,
        v.width * (side + (0.09 if side < 0.5 else -0.09)),
        shore + v.height * 0.12,
        v.height * 0.4 * (0.7 + 0.3 * v.zoom),
        lighter(green, 0.08),
        bark,
        -0.08 if side < 0.5 else 0.1,
    )
