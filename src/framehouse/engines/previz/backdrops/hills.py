"""The mountain, meadow, desert and snowfield backdrops."""

from framehouse.engines.previz.backdrops.scenery import (
    GRASS,
    PINE,
    Stage,
    broadleaf,
    draw_path,
    draw_sky,
    ground,
    pine,
    ridge,
    shadow_below,
)
from framehouse.engines.previz.color import Color, darker, lighter, mix
from framehouse.engines.previz.vector import dots

_SNOW: Color = (236, 243, 252)


def mountain(s: Stage) -> None:
    """Draw snowy peaks with a lit side and a shaded side, a row of pines, and the ground in front of the pines."""
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
            light.on(PINE, 0.28),
        )
    ground(s, base, top=v.horizon + v.height * 0.055)
    for n, side in enumerate((-1, 1, -1, 1)):
        x = v.width * (0.5 + side * trees.uniform(0.34, 0.52))
        near = 0.16 + 0.05 * n
        pine(s, x, v.horizon + v.height * (0.1 + 0.035 * n), v.height * (near + 0.08) * v.zoom, light.on(PINE, 0.1))
    draw_path(s, light.on(lighter(base, 0.25), 0.1), v.horizon + v.height * 0.056)


def _peak(s: Stage, x: float, base: float, tall: float, rock: Color, *, far: float, seed: int) -> None:
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


def meadow(s: Stage) -> None:
    """Draw rolling hills, distant trees, and flowers in the foreground."""
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


def _blades(*, dice_count: int, s: Stage, top: float) -> str:
    dice, v = s.dice("blades"), s.view
    d = ""
    for _ in range(dice_count):
        deep = dice.random()
        x, base, tall = dice.uniform(0, v.width), top + (v.height - top) * deep, 8 + 20 * deep
        d += f"M{x:.1f} {base:.1f}q2 {-tall * 0.6:.1f} {dice.uniform(-6, 6):.1f} {-tall:.1f}q3 {tall * 0.4:.1f} 3 {tall:.1f}z"
    return d


def desert(s: Stage) -> None:
    """Draw dunes with a lit side and a shaded side, distant mesas, and a few cacti."""
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


def snowfield(s: Stage) -> None:
    """Draw icy hills, snowdrifts and a few pines. Northern lights are drawn on a clear night."""
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
