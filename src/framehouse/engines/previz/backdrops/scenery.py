"""The input for all backdrop functions (`Stage`), and functions that draw shared scenery, such as sky and trees."""

import math
import random
from dataclasses import dataclass

from framehouse.engines.previz.color import BLACK, WHITE, Color, darker, lighter, mix
from framehouse.engines.previz.light import Light
from framehouse.engines.previz.scene import Scene, stream
from framehouse.engines.previz.vector import Drawing, dots, outline, smooth
from framehouse.engines.previz.view import View

GRASS: dict[str, Color] = {
    "spring": (142, 196, 104), "summer": (112, 178, 86), "autumn": (196, 160, 84), "winter": (232, 240, 248), "": (118, 176, 96),
}  # fmt: skip
PINE: Color = (62, 112, 92)
LEAVES: dict[str, tuple[Color, ...]] = {
    "spring": ((250, 190, 208), (240, 160, 190), (148, 196, 108)),
    "summer": ((70, 140, 78), (92, 160, 84), (56, 122, 74)),
    "autumn": ((226, 126, 52), (206, 82, 48), (238, 176, 70)),
    "winter": ((206, 220, 234), (226, 236, 246), (180, 200, 220)),
    "": ((78, 146, 84), (98, 164, 88), (60, 124, 78)),
}


@dataclass(frozen=True, slots=True)
class Stage:
    """The input for a backdrop: the drawing `d`, the camera, the light and the scene.

    `seed` is the same for all shots of a series, so that they all show the same place. `shot_seed` is the seed of this
    shot.
    """

    d: Drawing
    view: View
    light: Light
    scene: Scene
    seed: int
    shot_seed: int

    def dice(self, decision: str) -> random.Random:
        return stream(self.seed, decision)

    @property
    def season(self) -> str:
        return "winter" if self.scene.weather == "snow" else self.scene.season

    @property
    def from_above(self) -> bool:
        return self.view.framing == "top view"


def draw_sky(s: Stage, *, until: float | None = None, clouds: bool = True, body: bool = True) -> None:
    """Draw the sky with stars, sun or moon, rainbow and clouds.

    `until` is the y coordinate of the lower edge of the sky. None means the horizon. If `body` is false, no sun or moon
    is drawn.
    """
    d, v, light = s.d, s.view, s.light
    bottom = until if until is not None else max(v.horizon, 1)
    d.rect(
        0,
        0,
        v.width,
        v.height,
        d.linear((0, light.top), (0.55 * bottom / v.height, light.middle), (bottom / v.height, light.low)),
    )
    if bottom < 30:
        return
    dice = s.dice("sky")
    if light.dark and s.scene.weather in ("", "snow", "rainbow"):
        stars = [
            (dice.uniform(0, v.width), bottom * dice.random() ** 1.3, dice.choice((0.7, 0.9, 1.1, 1.6)))
            for _ in range(110)
        ]
        d.path(dots(stars), lighter(light.sun, 0.4), 0.8)
        band = [
            (-0.1, 0.62),
            (0.3, 0.42),
            (0.62, 0.3),
            (1.1, -0.05),
            (1.1, 0.16),
            (0.66, 0.46),
            (0.34, 0.56),
            (-0.1, 0.86),
        ]
        d.path(outline([(x * v.width, y * bottom) for x, y in band]), lighter(light.low, 0.3), 0.08)
    x, y = v.width * dice.choice((0.24, 0.76, 0.7)) + v.pan * 0.2, bottom * dice.uniform(0.22, 0.36)
    radius = 46 * (0.85 + 0.15 * v.zoom)
    if body and s.scene.weather not in ("storm", "fog", "rain", "cloudy"):
        if light.dark:
            d.glow(x, y, radius * 3.6, light.sun, 0.42)
            d.circle(x, y, radius, mix(light.sun, light.low, 0.06))
            for dx, dy, r in ((-0.34, -0.14, 0.2), (0.3, 0.18, 0.15), (-0.08, 0.44, 0.13), (0.34, -0.36, 0.09)):
                d.circle(x + dx * radius, y + dy * radius, r * radius, darker(light.sun, 0.14), 0.8)
        elif light.time in ("sunset", "dawn"):
            y = bottom - radius * 0.7
            d.glow(x, y, radius * 6, light.sun, 0.55)
            d.circle(x, y, radius * 1.55, lighter(light.sun, 0.2))
        else:
            d.glow(x, y, radius * 5, light.sun, 0.75)
            d.circle(x, y, radius * 0.95, lighter(light.sun, 0.5))
    if s.scene.weather == "rainbow":
        _rainbow(s, bottom)
    if clouds and "cloudy" not in s.scene.unwanted:
        _clouds(s, bottom)


def _rainbow(s: Stage, bottom: float) -> None:
    colors = ((228, 66, 66), (244, 150, 60), (250, 220, 90), (96, 190, 110), (74, 140, 226), (140, 100, 210))
    v = s.view
    radius = min(v.width * 0.46, bottom * 1.02)
    for n, color in enumerate(colors):
        r = radius - n * 13
        s.d.line(
            f"M{v.width / 2 - r:.1f} {bottom:.1f}A{r:.1f} {r:.1f} 0 0 1 {v.width / 2 + r:.1f} {bottom:.1f}",
            color,
            13.5,
            0.55,
        )


def _clouds(s: Stage, bottom: float) -> None:
    """Draw clouds: round heaps by day and in bad weather, and stacks of rounded bars at other times."""
    d, v, light = s.d, s.view, s.light
    dice = s.dice("clouds")
    heavy = s.scene.weather in ("rain", "storm", "cloudy", "snow")
    color = mix(light.low, WHITE, 0.55) if not light.dark else lighter(light.middle, 0.14)
    if heavy:
        color = mix(light.middle, darker(light.top, 0.1) if s.scene.weather == "storm" else WHITE, 0.3)
    for _ in range(dice.randint(3, 5) + (4 if heavy else 0)):
        x, y = (
            dice.uniform(-0.05, 0.95) * v.width + v.pan * 0.4,
            bottom * dice.uniform(0.06, 0.6 if not heavy else 0.42),
        )
        wide = dice.uniform(0.13, 0.26) * max(v.width, 760) * (1 + 0.35 * heavy)
        share = 0.75 if not light.dark else 0.5
        if light.time == "day" or heavy:
            parts = []
            count = dice.randint(4, 6)
            for n in range(count):
                at = (n + 0.5) / count
                r = wide * 0.15 * (0.7 + math.sin(at * math.pi)) * dice.uniform(0.85, 1.15)
                parts.append((x + wide * at, y - r * 0.35, r))
            d.path(
                dots(parts)
                + f"M{x:.1f} {y - 2:.1f}h{wide:.1f}a12 12 0 0 1 0 {wide * 0.13:.1f}h{-wide:.1f}a12 12 0 0 1 0 {-wide * 0.13:.1f}z",
                color,
                share,
            )
        else:
            fill = d.linear((0, mix(color, light.sun, 0.35)), (1, mix(color, light.middle, 0.5)))
            for n in range(3):
                part = wide * dice.uniform(0.6, 1.0)
                d.rect(x + dice.uniform(-0.15, 0.15) * wide, y + n * 13, part, 15, fill, share, radius=7.5)


def ridge(s: Stage, decision: str, base: float, rise: float, *, bumps: int = 5) -> str:
    """Return the SVG path of soft hills across the entire frame. The path is closed along the bottom of the frame."""
    dice, v = s.dice(decision), s.view
    count = max(2, round(bumps / v.zoom))
    points = [
        (v.width * n / count + dice.uniform(-0.1, 0.1) * v.width / count + v.pan * 0.5, base - dice.random() * rise)
        for n in range(-1, count + 2)
    ]
    return smooth(points, v.height + 5)


def ground(s: Stage, color: Color, *, top: float | None = None) -> None:
    """Draw the ground. The ground is hazy at the horizon and dark at the lower edge."""
    v, light = s.view, s.light
    start = v.horizon if top is None else top
    fill = s.d.linear((0, light.on(color, 0.3)), (0.35, light.on(color, 0.08)), (1, light.on(darker(color, 0.3))))
    s.d.rect(0, start, v.width, v.height - start + 1, fill)


def pine(s: Stage, x: float, base: float, tall: float, color: Color) -> None:
    """Draw a conifer with a lit side and a shaded side, and with snow in winter."""
    d = s.d
    half = tall * 0.26
    lit, shade = (lighter(color, 0.2), darker(color, 0.12))
    if s.season == "winter":
        lit = mix(lit, s.light.on((240, 246, 252)), 0.6)
    left, right = "", ""
    for part in range(3):
        top, bottom = base - tall * (1 - 0.24 * part), base - tall * (0.56 - 0.22 * part)
        wide = half * (0.55 + 0.24 * part)
        left += f"M{x:.1f} {top:.1f}L{x - wide:.1f} {bottom:.1f}Q{x - wide * 0.4:.1f} {bottom + tall * 0.03:.1f} {x:.1f} {bottom:.1f}z"
        right += f"M{x:.1f} {top:.1f}L{x + wide:.1f} {bottom:.1f}Q{x + wide * 0.4:.1f} {bottom + tall * 0.03:.1f} {x:.1f} {bottom:.1f}z"
    d.rect(x - tall * 0.028, base - tall * 0.14, tall * 0.056, tall * 0.14, darker(color, 0.45))
    d.path(left, shade)
    d.path(right, lit)


def broadleaf(s: Stage, x: float, base: float, tall: float, *, far: float = 0.0, pick: int = 0) -> None:
    """Draw a broadleaf tree with a round crown, in the leaf colours of the season."""
    d, light = s.d, s.light
    colors = LEAVES[s.season]
    color = colors[pick % len(colors)]
    d.polygon(
        [
            (x - tall * 0.035, base),
            (x - tall * 0.02, base - tall * 0.5),
            (x + tall * 0.02, base - tall * 0.5),
            (x + tall * 0.04, base),
        ],
        light.on((96, 70, 54), far),
    )
    crown = [
        (x - tall * 0.17, base - tall * 0.52, tall * 0.17),
        (x + tall * 0.16, base - tall * 0.5, tall * 0.18),
        (x, base - tall * 0.72, tall * 0.24),
        (x + tall * 0.02, base - tall * 0.48, tall * 0.17),
    ]
    d.path(dots(crown), light.on(darker(color, 0.14), far))
    d.path(dots([(cx - r * 0.16, cy - r * 0.2, r * 0.74) for cx, cy, r in crown]), light.on(color, far))
    d.path(
        dots([(cx - r * 0.3, cy - r * 0.38, r * 0.4) for cx, cy, r in crown[:3]]), light.on(lighter(color, 0.2), far)
    )


def shadow_below(s: Stage, x: float, y: float, half: float, strength: float = 0.3) -> None:
    """Draw a soft shadow on the ground."""
    fill = s.d.radial((0, BLACK, strength), (0.6, BLACK, strength * 0.6), (1, BLACK, 0.0))
    s.d.ellipse(x, y, half, half * 0.2, fill)


def draw_spot(s: Stage) -> None:
    """Draw a glow and three rings on the ground around the subjects. Used if the camera looks down from above."""
    d, v, light = s.d, s.view, s.light
    x, y = v.center, v.floor - v.hero * 0.45
    reach = max(v.width, v.height) * 0.62
    d.glow(x, y, reach, mix(light.sun, WHITE, 0.4), 0.30)
    for n, share in enumerate((0.92, 0.74, 0.56)):
        d.circle(x, y, v.hero * share, light.on(WHITE, 0.2), 0.09 + 0.03 * n)


def draw_path(s: Stage, color: Color, top: float) -> None:
    """Draw a winding path from the lower edge to the horizon."""
    v = s.view
    x = v.width * 0.5 + v.pan
    s.d.path(
        f"M{x - 6:.1f} {top:.1f}C{x + 60:.1f} {top + (v.height - top) * 0.3:.1f} {x - 150:.1f} {top + (v.height - top) * 0.5:.1f} "
        f"{x - 190:.1f} {v.height:.1f}H{x + 190:.1f}C{x + 60:.1f} {top + (v.height - top) * 0.55:.1f} "
        f"{x + 110:.1f} {top + (v.height - top) * 0.3:.1f} {x + 10:.1f} {top:.1f}z",
        color, 0.5,
    )  # fmt: skip


def palm(s: Stage, x: float, base: float, tall: float, leaf: Color, trunk: Color, lean: float) -> None:
    """Draw a leaning palm tree."""
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
