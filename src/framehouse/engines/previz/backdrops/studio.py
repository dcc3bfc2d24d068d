"""The studio and stage backdrops."""

from framehouse.engines.previz.backdrops.scenery import Stage, shadow_below
from framehouse.engines.previz.color import WHITE, Color, darker, lighter, mix
from framehouse.engines.previz.vector import boxes, dots

_STUDIO_HUES: tuple[tuple[Color, Color], ...] = (
    ((244, 186, 90), (250, 226, 178)),
    ((238, 150, 132), (252, 214, 200)),
    ((126, 178, 190), (214, 234, 236)),
    ((158, 146, 206), (224, 216, 244)),
    ((142, 178, 134), (222, 234, 208)),
    ((226, 158, 178), (250, 220, 228)),
    ((92, 122, 168), (196, 212, 236)),
)


def studio_hues(s: Stage) -> tuple[Color, Color]:
    """Return the colours of the wall and the podium.

    The colours depend on the most saturated tint of the scene. If the scene has no tint, the seed determines the
    colours. In this case, the colours are darker at night or in a dark mood.
    """
    if s.scene.tints:
        tint = max(s.scene.tints, key=lambda color: max(color) - min(color))
        return (mix(tint, WHITE, 0.18), mix(tint, WHITE, 0.72))
    wall, pale = s.dice("studio").choice(_STUDIO_HUES)
    if s.scene.time == "night" or s.scene.mood == "dark":
        return (mix(wall, (24, 26, 44), 0.72), mix(pale, (60, 62, 92), 0.6))
    return (wall, pale)


def studio(s: Stage) -> None:
    """Draw a coloured wall, an arch, podiums and a beam of light."""
    d, v = s.d, s.view
    wall, pale = studio_hues(s)
    floor = v.horizon + v.height * 0.02 if not s.from_above else -10
    d.rect(0, 0, v.width, v.height, d.linear((0, mix(wall, pale, 0.35)), (0.5, wall), (1, mix(wall, pale, 0.2))))
    x = v.center + v.pan * 0.3
    if floor > 0:
        reach = min(v.width * 0.27, v.height * 0.4) * (0.7 + 0.36 * v.zoom)
        for share, color, alpha in ((1.0, pale, 0.85), (0.62, darker(wall, 0.1), 0.9)):
            half, top = reach * share, floor - reach * (1.65 if share == 1 else 1.1)
            d.path(
                f"M{x - half:.1f} {floor:.1f}V{top + half:.1f}A{half:.1f} {half:.1f} 0 0 1 {x + half:.1f} {top + half:.1f}V{floor:.1f}z",
                d.linear((0, color, alpha), (1, mix(color, wall, 0.35), alpha)),
            )
    d.rect(
        0,
        floor,
        v.width,
        v.height - floor + 1,
        d.linear((0, mix(wall, darker(wall, 0.1), 0.9)), (0.4, darker(wall, 0.12)), (1, darker(wall, 0.46))),
    )
    if s.from_above:
        for n in range(3):
            d.circle(x, v.floor - v.hero * 0.42, v.hero * (0.95 - 0.2 * n), mix(pale, wall, 0.2 + 0.25 * n), 0.7)
    else:
        for side, dy, wide, tall in ((-1, 0.03, 88, 120), (1, 0.07, 78, 62)):
            cx = x + side * min(v.width * 0.3, 330) * (0.62 + 0.3 * v.zoom)
            cylinder(
                s,
                cx,
                floor + v.height * dy + tall * 0.5,
                wide * (0.55 + 0.4 * v.zoom),
                tall * (0.5 + 0.4 * v.zoom),
                pale,
                wall,
            )
    beam = d.linear((0, WHITE, 0.34), (1, WHITE, 0.02))
    d.polygon([(v.width * 0.68, 0), (v.width * 0.83, 0), (x - 40, v.height), (x - 330, v.height)], beam)
    dice = s.dice("sparkles")
    for _ in range(4):
        sparkle(
            s, x + dice.uniform(-1, 1) * v.width * 0.24, v.floor - v.hero * dice.uniform(0.2, 1.05), dice.uniform(7, 17)
        )


def cylinder(s: Stage, x: float, base: float, half: float, tall: float, pale: Color, wall: Color) -> None:
    """Draw a round podium. The centre of its lower edge is (x, base)."""
    d = s.d
    flat = half * 0.2
    shadow_below(s, x, base + flat * 0.5, half * 1.25, 0.34)
    side = d.linear((0, mix(pale, wall, 0.5)), (0.32, lighter(pale, 0.2)), (1, darker(wall, 0.2)), across=True)
    d.path(
        f"M{x - half:.1f} {base - tall:.1f}V{base:.1f}A{half:.1f} {flat:.1f} 0 0 0 {x + half:.1f} {base:.1f}V{base - tall:.1f}z",
        side,
    )
    d.ellipse(x, base - tall, half, flat, d.linear((0, lighter(pale, 0.35)), (1, pale)))


def sparkle(s: Stage, x: float, y: float, r: float) -> None:
    q = r * 0.12
    s.d.path(
        f"M{x:.1f} {y - r:.1f}Q{x + q:.1f} {y - q:.1f} {x + r:.1f} {y:.1f}Q{x + q:.1f} {y + q:.1f} {x:.1f} {y + r:.1f}Q{x - q:.1f} {y + q:.1f} {x - r:.1f} {y:.1f}Q{x - q:.1f} {y - q:.1f} {x:.1f} {y - r:.1f}z",
        WHITE,
        0.9,
    )


def stage(s: Stage) -> None:
    """Draw curtains, spotlights, floorboards and the heads of the audience."""
    d, v = s.d, s.view
    red = s.light.graded(s.scene.tints[0] if s.scene.tints else (150, 34, 52))
    floor = v.horizon + v.height * 0.1 if not s.from_above else -10
    d.rect(0, 0, v.width, v.height, d.linear((0, darker(red, 0.78)), (1, darker(red, 0.55))))
    if floor > 0:
        folds = 22
        for n in range(folds):
            x = v.width * n / folds
            d.rect(
                x,
                0,
                v.width / folds + 1,
                floor,
                d.linear((0, darker(red, 0.45)), (0.5, darker(red, 0.2)), (1, darker(red, 0.5)), across=True),
            )
    boards = s.light.graded((120, 78, 54))
    d.rect(
        0,
        floor,
        v.width,
        v.height - floor + 1,
        d.linear((0, darker(boards, 0.4)), (0.5, boards), (1, darker(boards, 0.5))),
    )
    lines = "".join(
        f"M{v.width / 2 + n * 80:.1f} {floor:.1f}L{v.width / 2 + n * 190:.1f} {v.height:.1f}" for n in range(-7, 8)
    )
    d.line(lines, darker(boards, 0.4), 2, 0.5)
    dice = s.dice("spots")
    for n, color in enumerate(((255, 240, 200), (255, 170, 210), (150, 210, 255))):
        x = v.width * (0.5, 0.14, 0.86)[n] + v.pan
        reach = (140, 100, 100)[n]
        target = v.center + (n - 1) * 16 if n else v.center
        d.polygon(
            [
                (x - 8, -5),
                (x + 8, -5),
                (target + reach, max(v.floor, floor + 20)),
                (target - reach, max(v.floor, floor + 20)),
            ],
            d.linear((0, color, 0.42 if n == 0 else 0.26), (1, color, 0.05)),
        )
    d.ellipse(v.center, max(v.floor, floor + 20), v.hero * 0.62, v.hero * 0.13, (255, 244, 214), 0.34)
    for side in (-1, 1):
        edge = 0.0 if side < 0 else v.width
        for n in range(4):
            x = edge + side * -n * v.width * 0.028
            fill = d.linear((0, darker(red, 0.1)), (0.45, lighter(red, 0.12)), (1, darker(red, 0.38)), across=True)
            left = x if side < 0 else x - v.width * 0.034
            d.path(
                f"M{left:.1f} -5h{v.width * 0.034:.1f}Q{left + v.width * 0.04:.1f} {floor * 0.6:.1f} {left + v.width * 0.03 - side * -n * 3:.1f} {floor + 20:.1f}h{-v.width * 0.03:.1f}z",
                fill,
            )
    scallops = ""
    count = max(5, round(v.width / 150))
    for n in range(count):
        x, wide = v.width * n / count, v.width / count
        scallops += f"M{x:.1f} -5h{wide:.1f}V{v.height * 0.07:.1f}Q{x + wide / 2:.1f} {v.height * 0.13:.1f} {x:.1f} {v.height * 0.07:.1f}z"
    d.path(scallops, d.linear((0, darker(red, 0.3)), (1, lighter(red, 0.1))))
    d.path(boxes([(0, v.height * 0.068, v.width, 5)]), (226, 178, 84), 0.8)
    if v.framing in ("", "wide shot"):
        heads = [
            (dice.uniform(0, v.width), v.height + dice.uniform(-6, 14), dice.uniform(26, 38))
            for _ in range(round(v.width / 52))
        ]
        d.path(dots(heads), darker(red, 0.85), 0.95)
