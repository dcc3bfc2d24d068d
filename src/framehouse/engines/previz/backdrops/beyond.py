"""The space, sky and underwater backdrops."""

import math

from framehouse.engines.previz.backdrops.scenery import Stage, draw_sky
from framehouse.engines.previz.color import WHITE, Color, darker, lighter, mix
from framehouse.engines.previz.vector import dots, smooth


def space(s: Stage) -> None:
    """Draw stars, nebulae and a planet. The function `moon_ground` adds ground for subjects that do not fly."""
    d, v, light = s.d, s.view, s.light
    deep: Color = light.graded((10, 10, 32))
    d.rect(
        0, 0, v.width, v.height, d.linear((0, deep), (0.6, light.graded((26, 20, 64))), (1, light.graded((52, 30, 92))))
    )
    dice = s.dice("nebula")
    for color in ((150, 70, 210), (50, 120, 230), (240, 90, 150)):
        d.glow(
            dice.uniform(0.1, 0.9) * v.width + v.pan,
            dice.uniform(0.1, 0.7) * v.height,
            dice.uniform(0.28, 0.5) * max(v.width, v.height),
            light.graded(color),
            0.34,
        )
    for size, count in ((0.8, 120), (1.3, 60), (2.0, 18)):
        d.path(dots([(dice.uniform(0, v.width), dice.uniform(0, v.height), size) for _ in range(count)]), WHITE, 0.85)
    x, y, r = v.width * dice.choice((0.2, 0.8)) + v.pan, v.height * dice.uniform(0.2, 0.3), 92 * (0.8 + 0.25 * v.zoom)
    hue: Color = light.graded(dice.choice(((236, 150, 96), (110, 170, 230), (220, 190, 130), (190, 120, 200))))
    d.glow(x, y, r * 1.7, hue, 0.35)
    d.line(
        f"M{x - r * 1.75:.1f} {y + r * 0.5:.1f}Q{x:.1f} {y + r * 0.2:.1f} {x + r * 1.75:.1f} {y - r * 0.5:.1f}",
        lighter(hue, 0.3),
        r * 0.1,
        0.5,
    )
    d.circle(x, y, r, d.linear((0, lighter(hue, 0.25)), (1, darker(hue, 0.5)), slant=True))
    for n, dy in enumerate((-0.45, -0.1, 0.3)):
        half = r * math.sqrt(1 - (dy + 0.06) ** 2) * 0.94
        d.ellipse(x, y + r * dy, half, r * (0.07 + 0.02 * n), lighter(hue, 0.18), 0.4)
    d.line(
        f"M{x - r * 1.75:.1f} {y + r * 0.5:.1f}C{x - r * 1.2:.1f} {y + r * 0.85:.1f} {x + r * 1.5:.1f} {y + r * 0.1:.1f} {x + r * 1.75:.1f} {y - r * 0.5:.1f}",
        lighter(hue, 0.45),
        r * 0.09,
        0.9,
    )


def moon_ground(s: Stage, floor: float) -> None:
    """Draw grey dust and craters below subjects that do not fly."""
    d, v, light = s.d, s.view, s.light
    dust: Color = light.graded((150, 148, 166))
    top = floor - v.height * 0.1
    d.path(
        smooth([(v.width * n / 5, top + 14 * math.sin(n * 2.1)) for n in range(6)], v.height + 5),
        d.linear((0, lighter(dust, 0.15)), (1, darker(dust, 0.55))),
    )
    dice = s.dice("craters")
    for _ in range(9):
        near = dice.random()
        x, y, r = dice.uniform(0, v.width), top + 24 + (v.height - top) * near, (18 + 50 * near)
        d.ellipse(x, y, r, r * 0.28, darker(dust, 0.35), 0.8)
        d.ellipse(x, y + r * 0.07, r * 0.9, r * 0.22, darker(dust, 0.12))


def sky(s: Stage) -> None:
    """Draw a place high in the sky, with three layers of clouds below and individual clouds at the sides."""
    d, v, light = s.d, s.view, s.light
    draw_sky(s, until=v.height * 0.8, clouds=False)
    for layer in range(3):
        dice = s.dice(f"sea of clouds {layer}")
        base = v.height * (0.72 + 0.1 * layer) + (v.height * 0.12 if v.framing == "low angle" else 0)
        color = (
            mix(light.low, WHITE, 0.5 - 0.1 * layer) if not light.dark else lighter(light.middle, 0.06 + 0.06 * layer)
        )
        heaps = [
            (
                v.width * (n + dice.uniform(0, 0.8)) / 9 + v.pan * layer * 0.4,
                base + dice.uniform(-14, 14),
                dice.uniform(50, 96),
            )
            for n in range(-1, 10)
        ]
        d.path(dots(heaps) + f"M-5 {base:.1f}H{v.width + 5:.1f}V{v.height + 5:.1f}H-5z", light.graded(color), 0.92)
        d.path(
            dots([(x - r * 0.12, y - r * 0.14, r * 0.72) for x, y, r in heaps]),
            mix(light.graded(color), light.sun, 0.22),
            0.6,
        )
    dice = s.dice("heaps")
    for side in (0.04, 0.96):
        x, y = v.width * side, v.height * dice.uniform(0.3, 0.55)
        heaps = [(x + dice.uniform(-90, 90), y + dice.uniform(-24, 30), dice.uniform(34, 70)) for _ in range(6)]
        d.path(dots(heaps), mix(light.low, WHITE, 0.5) if not light.dark else lighter(light.middle, 0.16), 0.75)


def underwater(s: Stage) -> None:
    """Draw light from above, rays, bubbles, distant fish, and corals and weeds on the sand."""
    d, v, light = s.d, s.view, s.light
    top: Color = (70, 190, 214) if not light.dark else (24, 70, 120)
    deep: Color = (10, 66, 112) if not light.dark else (6, 22, 56)
    if s.scene.time == "sunset":
        top = (240, 170, 130)
    d.rect(
        0,
        0,
        v.width,
        v.height,
        d.linear((0, light.graded(lighter(top, 0.25))), (0.35, light.graded(top)), (1, light.graded(deep))),
    )
    dice = s.dice("rays")
    for _ in range(6):
        x, wide = dice.uniform(-0.1, 1.0) * v.width, dice.uniform(30, 90)
        d.polygon(
            [(x, -5), (x + wide, -5), (x + wide * 2.4 + 60, v.height * 0.9), (x + 40, v.height * 0.9)],
            d.linear((0, WHITE, 0.26), (1, WHITE, 0.0)),
        )
    fish = ""
    for _ in range(12):
        x, y, size = dice.uniform(0, v.width), dice.uniform(0.15, 0.6) * v.height, dice.uniform(8, 18)
        fish += f"M{x:.1f} {y:.1f}q{size:.1f} {-size * 0.7:.1f} {size * 2:.1f} 0l{size * 0.7:.1f} {-size * 0.5:.1f}v{size:.1f}l{-size * 0.7:.1f} {-size * 0.5:.1f}q{-size:.1f} {size * 0.7:.1f} {-size * 2:.1f} 0z"
    d.path(fish, light.graded(darker(deep, 0.1)), 0.4)
    floor = v.height * 0.86
    for layer in range(2):
        points = [(v.width * n / 6, floor - 40 + 46 * layer + 16 * math.sin(n * 1.9 + layer)) for n in range(7)]
        d.path(smooth(points, v.height + 5), light.graded(mix((232, 214, 164), deep, 0.55 - 0.3 * layer)))
    _corals(s, floor, deep)
    d.path(
        dots([(dice.uniform(0, v.width), dice.uniform(0, v.height * 0.85), dice.uniform(2, 9)) for _ in range(34)]),
        WHITE,
        0.28,
    )


def _corals(s: Stage, floor: float, deep: Color) -> None:
    d, v, light = s.d, s.view, s.light
    dice = s.dice("corals")
    colors: tuple[Color, ...] = ((240, 106, 120), (250, 160, 90), (190, 110, 210), (90, 190, 170))
    for n in range(9):
        x = v.width * (dice.uniform(0, 0.3) if n % 2 else dice.uniform(0.7, 1.0))
        base, tall = floor + dice.uniform(0, 50), dice.uniform(60, 130)
        color = light.graded(mix(colors[n % 4], deep, 0.25))
        if n % 3 == 0:
            weed = "".join(
                f"M{x + k * 14:.1f} {base:.1f}q{18 * (1 if k % 2 else -1):.1f} {-tall * 0.5:.1f} 0 {-tall:.1f}q{-16 * (1 if k % 2 else -1):.1f} {-tall * 0.4:.1f} 4 {-tall * 0.7:.1f}"
                for k in range(3)
            )
            d.line(weed, light.graded(mix((60, 160, 100), deep, 0.3)), 9)
        else:
            branch = f"M{x:.1f} {base:.1f}v{-tall * 0.8:.1f}M{x:.1f} {base - tall * 0.3:.1f}q{tall * 0.3:.1f} -4 {tall * 0.34:.1f} {-tall * 0.46:.1f}M{x:.1f} {base - tall * 0.2:.1f}q{-tall * 0.3:.1f} -4 {-tall * 0.34:.1f} {-tall * 0.4:.1f}M{x:.1f} {base - tall * 0.5:.1f}q{tall * 0.14:.1f} -4 {tall * 0.16:.1f} {-tall * 0.4:.1f}"
            d.line(branch, color, 13)
