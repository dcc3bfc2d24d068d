"""The city and street backdrops."""

from itertools import pairwise

from framehouse.engines.previz.backdrops.scenery import Stage, broadleaf, draw_sky, ground
from framehouse.engines.previz.color import WHITE, Color, darker, lighter, mix
from framehouse.engines.previz.vector import Point, boxes, outline

_SIGNS: tuple[Color, ...] = ((255, 92, 150), (92, 220, 255), (120, 255, 180), (255, 206, 92))
_WALLS: tuple[Color, ...] = ((196, 150, 130), (170, 176, 196), (206, 186, 150), (150, 160, 176))


def city(s: Stage) -> None:
    """Draw a skyline in three layers with a paved plaza in front of it. At night, windows are lit."""
    d, v, light = s.d, s.view, s.light
    draw_sky(s)
    for layer in range(3):
        _skyline(s, layer)
    pave: Color = (150, 150, 160)
    ground(s, pave, top=v.horizon + v.height * 0.02)
    lines = ""
    for n in range(-8, 9):
        lines += (
            f"M{v.width / 2 + n * 46:.1f} {v.horizon + v.height * 0.02:.1f}L{v.width / 2 + n * 260:.1f} {v.height:.1f}"
        )
    for n in range(1, 6):
        y = v.horizon + v.height * 0.02 + (v.height - v.horizon) * (n / 5.5) ** 1.8
        lines += f"M0 {y:.1f}H{v.width:.1f}"
    d.line(lines, light.on(darker(pave, 0.25), 0.1), 1.6, 0.45)
    if s.from_above:
        return
    for n, x in enumerate((0.06, 0.2, 0.8, 0.94)):
        if light.dark:
            _lamp(
                s,
                v.width * x,
                v.horizon + v.height * (0.13 if n in (0, 3) else 0.07),
                v.height * (0.3 if n in (0, 3) else 0.18),
                n < 2,
            )
        else:
            broadleaf(
                s,
                v.width * x,
                v.horizon + v.height * (0.12 if n in (0, 3) else 0.06),
                v.height * (0.24 if n in (0, 3) else 0.15) * v.zoom,
                far=0.1,
                pick=n,
            )


def _skyline(s: Stage, layer: int) -> None:
    d, v, light = s.d, s.view, s.light
    dice = s.dice(f"skyline {layer}")
    far = 0.6 - 0.24 * layer
    base = v.horizon + v.height * 0.03
    x = -0.03 * v.width + v.pan * 0.3 * layer
    faces: dict[Color, list[tuple[float, float, float, float]]] = {}
    shades, panes = [], {False: [], True: []}  # type: ignore[var-annotated]
    while x < v.width:
        wide = dice.uniform(56, 104) * (0.75 + 0.4 * v.zoom) * (0.8 + 0.2 * layer)
        tall = v.height * dice.uniform(0.16, 0.42 - 0.09 * layer) * (0.75 + 0.25 * v.zoom)
        wall: Color = mix(dice.choice(_WALLS), (86, 100, 140), 0.5)
        if light.dark:
            wall = mix(wall, (50, 60, 110), 0.65)
        faces.setdefault(light.on(wall, far), []).append((x, base - tall, wide, tall + 6))
        shades.append((x + wide * 0.72, base - tall, wide * 0.28, tall + 6))
        if dice.random() < 0.3:
            faces[light.on(wall, far)].append((x + wide * 0.44, base - tall - 26, wide * 0.06, 28))
        step = wide / 5.5
        for row in range(int(tall / (step * 1.5))):
            for column in range(4):
                if layer and dice.random() < (0.6 if light.dark else 0.5):
                    pane = (
                        x + step * (0.75 + column * 1.15),
                        base - tall + step * (0.8 + row * 1.5),
                        step * 0.6,
                        step * 0.8,
                    )
                    panes[dice.random() < 0.7].append(pane)
        x += wide * dice.uniform(1.0, 1.16)
    for color, rects in faces.items():
        d.path(boxes(rects), color)
    d.path(boxes(shades), (0, 0, 0), 0.12)
    if light.dark:
        d.path(boxes(panes[True]), light.graded((255, 214, 130)), 0.85 - far * 0.6)
        d.path(boxes(panes[False]), light.graded((150, 214, 255)), 0.8 - far * 0.6)
    else:
        d.path(boxes(panes[True] + panes[False]), mix(light.top, WHITE, 0.25), 0.55 - far * 0.4)


def _lamp(s: Stage, x: float, base: float, tall: float, to_right: bool) -> None:
    d, light = s.d, s.light
    reach = tall * 0.26 * (1 if to_right else -1)
    pole = light.on((50, 54, 70))
    d.line(
        f"M{x:.1f} {base:.1f}V{base - tall * 0.86:.1f}Q{x:.1f} {base - tall:.1f} {x + reach:.1f} {base - tall:.1f}",
        pole,
        max(2.5, tall * 0.024),
    )
    d.glow(x + reach, base - tall + 6, tall * 0.42, (255, 224, 150), 0.8)
    d.ellipse(x + reach, base - tall + 3, tall * 0.05, tall * 0.02, lighter((255, 224, 150), 0.5))
    d.glow(x + reach * 0.8, base, tall * 0.3, (255, 214, 140), 0.18)


def street(s: Stage) -> None:
    """Draw a street that leads to a vanishing point, with houses on both sides.

    At night, signs are added. At night or in bad weather, lamps are added.
    """
    d, v, light = s.d, s.view, s.light
    draw_sky(s)
    _skyline(s, 1)
    vx, vy = v.width * 0.5 + v.pan * 0.5, v.horizon
    asphalt: Color = (108, 112, 126)
    ground(s, asphalt, top=vy)
    half = v.width * 0.62

    def at(side: int, near: float, high: float) -> Point:
        """Return a point on the row of houses on one side of the street (-1: left, 1: right).

        `near` is 0 at the vanishing point and 1 at the edge of the frame. `high` is the height that the point would
        have at the edge of the frame, in the units of `View`.
        """
        return (vx + side * half * near, vy + ((v.height - vy) * 0.62 - high) * near)

    wet = s.scene.weather in ("rain", "storm") or light.dark
    for side in (-1, 1):
        d.polygon(
            [(vx, vy), at(side, 1.3, 0), (vx + side * half * 0.62, v.height + 1)], light.on((150, 148, 152), 0.1), 0.9
        )
    markings = ""
    for near0, near1 in ((0.12, 0.18), (0.25, 0.36), (0.48, 0.7), (0.9, 1.3)):
        y0, y1 = vy + (v.height - vy) * near0, vy + (v.height - vy) * near1
        markings += outline(
            [(vx - 14 * near0, y0), (vx + 14 * near0, y0), (vx + 14 * near1, y1), (vx - 14 * near1, y1)]
        )
    d.path(markings, light.on((240, 236, 220), 0.1), 0.7)
    for side in (-1, 1):
        dice = s.dice(f"houses {side}")
        edges = [0.14, 0.22, 0.33, 0.48, 0.7, 1.05]
        for n, (near0, near1) in enumerate(pairwise(edges)):
            tall = v.height * dice.uniform(0.85, 1.35)
            wall = _WALLS[dice.randrange(4)]
            if light.dark:
                wall = mix(wall, (44, 52, 104), 0.72)
            far = 0.5 * (1 - near1)
            d.polygon(
                [at(side, near0, 0), at(side, near0, tall), at(side, near1, tall), at(side, near1, 0)],
                light.on(darker(wall, 0.06 * n), far),
            )
            _facade(s, side, near0, near1, tall, at, f"{side} {n}", far)
        for near in (0.3, 0.52, 0.88):
            edge, base = at(side, near, 0)
            x = edge - side * half * 0.1 * near
            if light.dark or s.scene.weather in ("rain", "fog", "storm"):
                _lamp(s, x, base, v.height * 0.55 * near, side < 0)
            elif near > 0.4:
                broadleaf(s, x, base, v.height * 0.42 * near, far=0.2, pick=round(near * 10))
    if wet:
        dice = s.dice("puddles")
        for n in range(9):
            near = 0.3 + 0.09 * n
            x = vx + dice.uniform(-0.8, 0.8) * half * near
            color = _SIGNS[n % 4] if light.dark else light.low
            d.ellipse(
                x, vy + (v.height - vy) * near, 10 + 8 * near, 60 * near, d.radial((0, color, 0.4), (1, color, 0.0))
            )


def _facade(s: Stage, side: int, near0: float, near1: float, tall: float, at, key: str, far: float) -> None:  # type: ignore[no-untyped-def]
    """Draw windows in perspective, a storefront and an awning. At night, the facade may also have a sign."""
    d, light = s.d, s.light
    dice = s.dice(f"panes {key}")
    lit, cool, blind = "", "", ""
    for column in range(3):
        a = near0 + (near1 - near0) * (0.14 + column * 0.3)
        b = near0 + (near1 - near0) * (0.32 + column * 0.3)
        for row in range(int(tall / 62)):
            high = 104 + row * 62
            pane = outline([at(side, a, high), at(side, a, high + 34), at(side, b, high + 34), at(side, b, high)])
            draw = dice.random()
            if light.dark:
                lit, cool, blind = (
                    (lit + pane, cool, blind)
                    if draw < 0.4
                    else (lit, cool + pane, blind)
                    if draw < 0.55
                    else (lit, cool, blind + pane)
                )
            else:
                cool, blind = (cool + pane, blind) if draw < 0.75 else (cool, blind + pane)
    d.path(blind, (20, 24, 44), 0.28)
    d.path(cool, light.graded((150, 214, 255)) if light.dark else mix(light.top, WHITE, 0.4), 0.75 - far)
    d.path(lit, light.graded((255, 212, 128)), 0.9 - far)
    shop = outline(
        [
            at(side, near0 + (near1 - near0) * 0.1, 8),
            at(side, near0 + (near1 - near0) * 0.1, 78),
            at(side, near1 - (near1 - near0) * 0.1, 78),
            at(side, near1 - (near1 - near0) * 0.1, 8),
        ]
    )
    d.path(shop, light.graded((255, 214, 150)) if light.dark else mix(light.top, (40, 50, 70), 0.4), 0.8 - far)
    awning = outline(
        [
            at(side, near0 + (near1 - near0) * 0.06, 96),
            at(side, near1 - (near1 - near0) * 0.06, 96),
            at(side, near1 - (near1 - near0) * 0.06, 76),
            at(side, near0 + (near1 - near0) * 0.06, 76),
        ]
    )
    d.path(awning, light.on(dice.choice(((196, 70, 66), (70, 120, 160), (86, 140, 96), (226, 170, 70))), far))
    if light.dark and dice.random() < 0.75:
        color = dice.choice(_SIGNS)
        edge, y = at(side, near1, 200)
        x = edge - side * 26 * near1
        wide, tall_px = 22.0 * near1, 110.0 * near1
        d.glow(x, y, tall_px * 1.1, color, 0.5)
        d.rect(x - wide / 2, y - tall_px / 2, wide, tall_px, mix(color, WHITE, 0.25), radius=wide / 3)
