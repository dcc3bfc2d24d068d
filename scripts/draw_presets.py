"""Draw the preset elements into src/framehouse/assets/presets, each from the front and from another side.

After a change, run `.venv/bin/python scripts/draw_presets.py`, and check the images by eye.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image, ImageDraw

OUT = Path(__file__).parents[1] / "src" / "framehouse" / "assets" / "presets"
SIDE_PX, OVERSAMPLING = 512, 4
SCALE = SIDE_PX * OVERSAMPLING / 100
INK = "#2b2f3a"
Point = tuple[float, float]


class Sheet:
    """A square drawing of 100 × 100 units, with (0, 0) at the top left, a plain background and a soft shadow."""

    def __init__(self, background: str, *, shadow: tuple[float, float, float] | None = None) -> None:
        """`shadow` is the centre (x, y) of the shadow and half its width."""
        self.image = Image.new("RGB", (SIDE_PX * OVERSAMPLING,) * 2, background)
        self.draw = ImageDraw.Draw(self.image)
        if shadow:
            x, y, half = shadow
            base = self.image.getpixel((0, 0))
            for step, darker in enumerate((0.96, 0.92, 0.87)):
                tone = tuple(round(c * darker) for c in base)  # type: ignore[union-attr]
                self.oval(x, y, half - 2.2 * step, (half - 2.2 * step) * 0.14, tone)

    def _px(self, points: Sequence[Point]) -> list[Point]:
        return [(x * SCALE, y * SCALE) for x, y in points]

    def oval(self, x: float, y: float, rx: float, ry: float, fill: object) -> None:
        self.draw.ellipse(self._px([(x - rx, y - ry), (x + rx, y + ry)]), fill=fill)  # type: ignore[arg-type]

    def ring(self, x: float, y: float, r: float, width: float, fill: str) -> None:
        self.draw.ellipse(self._px([(x - r, y - r), (x + r, y + r)]), outline=fill, width=round(width * SCALE))

    def box(self, x: float, y: float, w: float, h: float, fill: str, r: float = 0) -> None:
        self.draw.rounded_rectangle(self._px([(x, y), (x + w, y + h)]), radius=r * SCALE, fill=fill)

    def shape(self, points: Sequence[Point], fill: str) -> None:
        self.draw.polygon(self._px(points), fill=fill)

    def blob(self, points: Sequence[Point], fill: str) -> None:
        """Fill a closed smooth curve through the points."""
        self.shape(_smooth([points[-1], *points, points[0], points[1]]), fill)

    def line(self, points: Sequence[Point], width: float, fill: str, *, smooth: bool = False) -> None:
        """Draw a line with round ends and joints."""
        path = _smooth([points[0], *points, points[-1]]) if smooth else list(points)
        self.draw.line(self._px(path), fill=fill, width=round(width * SCALE), joint="curve")
        for x, y in path:
            self.oval(x, y, width / 2, width / 2, fill)

    def save(self, name: str) -> None:
        small = self.image.resize((SIDE_PX, SIDE_PX), Image.Resampling.LANCZOS)
        small.quantize(128, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(OUT / name, optimize=True)


def _smooth(points: Sequence[Point]) -> list[Point]:
    """Return a Catmull-Rom curve through all points except the first and the last."""
    path = []
    for a, b, c, d in zip(points, points[1:], points[2:], points[3:], strict=False):
        for step in range(24):
            t = step / 24
            path.append(
                tuple(
                    0.5 * (2 * q + (r - p) * t + (2 * p - 5 * q + 4 * r - s) * t**2 + (3 * q - p - 3 * r + s) * t**3)
                    for p, q, r, s in zip(a, b, c, d, strict=True)
                )
            )
    return [*path, points[-2]]  # type: ignore[list-item]


# --- robot -----------------------------------------------------------------------------------------------------

TEAL, TEAL_DARK, CREAM, AMBER = "#3aa6a0", "#2a7f7b", "#f3efe2", "#f4a63a"


def robot_front() -> Sheet:
    s = Sheet("#e9eef2", shadow=(50, 89, 27))
    s.line([(50, 12), (50, 20)], 1.6, INK)
    s.oval(50, 11, 3, 3, AMBER)
    for x in (37.0, 55.0):
        s.box(x, 74, 8, 11, TEAL_DARK, 1.5)
        s.box(x - 2, 83, 12, 6, INK, 3)
    for x, hand in ((25.5, 23), (74.5, 77)):
        s.line([(x + (4 if x < 50 else -4), 52), (x, 60), (hand, 67)], 5, TEAL_DARK, smooth=True)
        s.oval(hand, 69, 4.2, 4.2, INK)
    s.box(32, 47, 36, 30, TEAL, 6)
    s.box(38, 53, 24, 14, CREAM, 3)
    s.oval(44, 60, 2.6, 2.6, AMBER)
    s.oval(51, 60, 2.6, 2.6, "#e2604f")
    s.box(55.5, 57.4, 4, 5.2, TEAL_DARK, 1)
    s.box(45, 43, 10, 6, INK, 1)
    for x in (23.5, 71.5):
        s.box(x, 28, 5, 10, AMBER, 2)
    s.box(27, 19, 46, 27, TEAL, 9)
    s.box(32, 24, 36, 17, INK, 6)
    for x in (42, 58):
        s.oval(x, 31.5, 4, 4, "#8df0e6")
        s.oval(x + 1.2, 30.3, 1.2, 1.2, "#ffffff")
    s.line([(45, 37), (50, 38.6), (55, 37)], 1.3, "#8df0e6", smooth=True)
    return s


def robot_side() -> Sheet:
    s = Sheet("#e9eef2", shadow=(50, 89, 22))
    s.line([(48, 12), (48, 20)], 1.6, INK)
    s.oval(48, 11, 3, 3, AMBER)
    s.box(45, 74, 9, 11, TEAL_DARK, 1.5)
    s.box(44, 83, 16, 6, INK, 3)
    s.box(33, 50, 8, 20, TEAL_DARK, 3)
    s.box(38, 47, 23, 30, TEAL, 6)
    s.box(58, 54, 4, 12, CREAM, 1.5)
    s.line([(49, 53), (52, 62), (62, 67)], 5.4, TEAL_DARK, smooth=True)
    s.oval(65, 67.5, 4.2, 4.2, INK)
    s.oval(49, 53, 4.4, 4.4, AMBER)
    s.box(44, 43, 9, 6, INK, 1)
    s.box(32, 19, 35, 27, TEAL, 9)
    s.box(54, 24, 14, 17, INK, 5)
    s.oval(62, 31.5, 3, 4, "#8df0e6")
    s.oval(63, 30.2, 1, 1.2, "#ffffff")
    s.oval(45, 33, 5.4, 5.4, AMBER)
    s.oval(45, 33, 2.4, 2.4, TEAL_DARK)
    return s


# --- corgi -----------------------------------------------------------------------------------------------------

FOX, FOX_DARK, FUR, NOSE, PINK = "#e59a4b", "#c97c33", "#fff8ee", "#33272a", "#f0a9a0"


def corgi_front() -> Sheet:
    s = Sheet("#eaf1e6", shadow=(50, 90, 27))
    s.blob([(31, 62), (34, 50), (50, 46), (66, 50), (69, 62), (68, 82), (60, 88), (40, 88), (32, 82)], FOX)
    s.blob([(40, 56), (50, 52), (60, 56), (61, 72), (56, 84), (44, 84), (39, 72)], FUR)
    for x in (40, 60):
        s.box(x - 4.5, 70, 9, 18, FUR, 4.5)
        s.oval(x, 87.5, 6, 3.4, FUR)
        for toe in (-2, 2):
            s.line([(x + toe, 87), (x + toe, 89)], 0.7, "#d8cbb8")
    for side in (-1, 1):
        s.blob([(50 + 13 * side, 30), (50 + 20 * side, 9), (50 + 27 * side, 14), (50 + 25 * side, 36)], FOX)
        s.blob([(50 + 16 * side, 30), (50 + 20.5 * side, 15), (50 + 24 * side, 18), (50 + 22.5 * side, 33)], PINK)
    s.blob([(26, 40), (33, 26), (50, 21), (67, 26), (74, 40), (66, 54), (50, 59), (34, 54)], FOX)
    s.blob([(46, 24), (50, 22), (54, 24), (55, 36), (63, 44), (60, 54), (50, 58), (40, 54), (37, 44), (45, 36)], FUR)
    for x in (39, 61):
        s.oval(x, 38, 3, 3.4, NOSE)
        s.oval(x + 1, 36.8, 1, 1, "#ffffff")
    s.oval(50, 45, 3.8, 2.8, NOSE)
    s.line([(43.5, 50), (47, 52), (50, 49.5), (53, 52), (56.5, 50)], 1, NOSE, smooth=True)
    s.blob([(47.5, 52), (52.5, 52), (52, 57), (50, 58.4), (48, 57)], "#e9776f")
    s.line([(38, 61), (50, 65), (62, 61)], 3, "#d3483f", smooth=True)
    s.oval(50, 66.6, 2.6, 2.6, "#f3c64f")
    return s


def corgi_side() -> Sheet:
    s = Sheet("#eaf1e6", shadow=(48, 86, 35))
    s.blob([(13, 50), (8, 46), (9, 41), (14, 42), (20, 49)], FUR)
    for x in (27, 61):
        s.box(x - 3, 68, 7.5, 16, FOX_DARK, 3.5)
    s.blob([(13, 56), (18, 47), (36, 45), (58, 45), (70, 48), (74, 60), (68, 72), (50, 76), (26, 75), (15, 69)], FOX)
    s.blob([(60, 52), (70, 50), (76, 58), (70, 71), (58, 76), (40, 77), (54, 68)], FUR)
    s.blob([(14, 58), (22, 52), (31, 58), (31, 74), (22, 76), (15, 70)], FOX_DARK)
    for x in (22, 67):
        s.box(x - 4, 68, 8.5, 17, FUR, 4)
        s.oval(x + 1.4, 84.6, 6, 3, FUR)
    s.blob([(58, 28), (58, 9), (64, 7), (71, 25)], FOX)
    s.blob([(61, 26), (61, 13), (64, 12), (68, 25)], PINK)
    s.blob([(54, 36), (60, 25), (72, 23), (80, 31), (92, 38), (91, 44), (80, 49), (66, 53), (56, 47)], FOX)
    s.blob([(76, 35), (84, 34), (92, 38), (91, 44), (80, 49), (70, 52), (70, 44)], FUR)
    s.oval(76, 34, 2.6, 3, NOSE)
    s.oval(76.9, 33, 0.9, 0.9, "#ffffff")
    s.oval(91, 38, 2.8, 2.4, NOSE)
    s.line([(81, 46), (86, 46), (90, 43.4)], 1, NOSE, smooth=True)
    s.line([(57, 49), (63, 55), (70, 53.5)], 3, "#d3483f", smooth=True)
    s.oval(66, 57.4, 2.4, 2.4, "#f3c64f")
    return s


# --- mug -------------------------------------------------------------------------------------------------------

GLAZE, GLAZE_DARK, COFFEE = "#d9594c", "#b34338", "#5a3522"


def _mug(s: Sheet, x: float, half: float) -> None:
    s.shape([(x - half, 32), (x + half, 32), (x + half - 2, 78), (x - half + 2, 78)], GLAZE)
    s.oval(x, 78, half - 2, 8, GLAZE)
    s.oval(x, 32, half + 0.4, 7, "#f6e6d8")
    s.oval(x, 32.6, half - 2.4, 5.2, COFFEE)
    s.oval(x - 6, 32, 7, 1.6, "#7a4c33")
    for wave, side in ((x - 8, 1), (x + 4, -1)):
        points = [(wave, 24), (wave + 2 * side, 20), (wave - 1 * side, 15), (wave + 1.5 * side, 9)]
        s.line(points, 1.7, "#ffffff", smooth=True)


def mug_front() -> Sheet:
    s = Sheet("#f1e7dc", shadow=(50, 86, 31))
    _mug(s, 50, 25)
    s.blob([(30, 42), (33, 42), (34, 62), (36, 77), (33.5, 76), (30.5, 62)], "#e88479")
    s.blob([(50, 70), (40, 59), (41, 50), (46.5, 49), (50, 53), (53.5, 49), (59, 50), (60, 59)], "#f6e6d8")
    return s


def mug_side() -> Sheet:
    s = Sheet("#f1e7dc", shadow=(50, 86, 36))
    s.line([(62, 45), (77, 42), (82, 55), (76, 69), (61, 71)], 6, GLAZE_DARK, smooth=True)
    _mug(s, 42, 24)
    s.blob([(23, 42), (26, 42), (27, 62), (29, 77), (26.5, 76), (23.5, 62)], "#e88479")
    return s


# --- sneakers --------------------------------------------------------------------------------------------------

CANVAS, CANVAS_DARK, SOLE = "#3f6fd8", "#2f55ab", "#fbf7ee"


def _sneaker(s: Sheet, dx: float, dy: float, body: str, dark: str) -> None:
    def at(*points: Point) -> list[Point]:
        return [(x + dx, y + dy) for x, y in points]

    s.blob(at((14, 64), (15, 48), (20, 36), (31, 35), (36, 41), (46, 46), (60, 53), (74, 57), (82, 64), (80, 71),
              (40, 72), (18, 71)), body)  # fmt: skip
    s.blob(at((20, 37), (26, 33.6), (33, 35), (36, 40), (29, 42), (22, 41)), dark)
    s.blob(at((64, 55), (74, 57), (82, 64), (80, 70), (66, 70), (62, 62)), SOLE)
    s.blob(at((13, 66), (48, 67), (82, 65), (85, 70), (82, 75), (48, 76), (15, 75)), SOLE)
    s.line(at((15, 71.4), (48, 72.4), (83, 70.6)), 1.4, "#d6473c", smooth=True)
    s.oval(27 + dx, 54 + dy, 5, 5, "#f3c64f")
    s.oval(27 + dx, 54 + dy, 2.4, 2.4, body)
    for x, y in ((40, 42.4), (46, 45.4), (52, 48.6), (58, 51.6)):
        s.line(at((x, y), (x - 2.6, y + 7)), 1.7, SOLE)


def sneakers_front() -> Sheet:
    s = Sheet("#e6ebf4", shadow=(52, 80, 41))
    _sneaker(s, 9, -8, CANVAS_DARK, "#24437f")
    _sneaker(s, -3, 4, CANVAS, CANVAS_DARK)
    return s


def sneakers_toes() -> Sheet:
    s = Sheet("#e6ebf4", shadow=(50, 81, 40))
    for x in (30, 70):
        s.blob([(x - 10, 38), (x, 32), (x + 10, 38), (x + 15, 58), (x + 15, 74), (x - 15, 74), (x - 15, 58)], CANVAS)
        s.oval(x, 37, 8.6, 5.4, "#24437f")
        s.blob([(x - 6, 40), (x, 37), (x + 6, 40), (x + 5.4, 56), (x - 5.4, 56)], CANVAS_DARK)
        for row in range(4):
            y = 43 + 4.6 * row
            s.line([(x - 6.4, y), (x + 6.4, y + 1)], 1.6, SOLE)
        s.blob([(x - 14, 66), (x - 8, 59), (x + 8, 59), (x + 14, 66), (x + 14, 74), (x - 14, 74)], SOLE)
        s.box(x - 16.4, 71, 32.8, 9, SOLE, 4)
        s.line([(x - 14, 75.4), (x + 14, 75.4)], 1.4, "#d6473c")
    return s


# --- vase ------------------------------------------------------------------------------------------------------

CELADON, CELADON_DARK, CELADON_LIGHT, COBALT = "#8fc0ae", "#6f9f90", "#b9dccf", "#2f5f9e"


def _vase(s: Sheet) -> None:
    s.blob([(42, 22), (58, 22), (57, 32), (66, 42), (71, 56), (66, 74), (58, 87), (42, 87), (34, 74), (29, 56),
            (34, 42), (43, 32)], CELADON)  # fmt: skip
    s.blob([(60, 40), (66, 46), (69, 57), (64, 74), (57, 85), (52, 86), (60, 72), (64, 57)], CELADON_DARK)
    s.blob([(36, 46), (39, 43), (36, 56), (38, 68), (35, 62), (33.4, 55)], CELADON_LIGHT)
    s.oval(50, 21, 9.4, 2.8, CELADON_LIGHT)
    s.oval(50, 21.2, 7.2, 1.8, "#3f5f56")
    s.box(41, 85, 18, 3.4, CELADON_DARK, 1.6)


def vase_front() -> Sheet:
    s = Sheet("#f3efe6", shadow=(50, 88, 24))
    _vase(s)
    s.line([(50, 78), (49, 66), (51, 54), (50, 46)], 1.2, COBALT, smooth=True)
    for x, y in ((44, 66), (56, 60), (45, 55)):
        side = 1 if x > 50 else -1
        s.blob([(50, y + 3), (x + 1 * side, y - 1), (x + 4 * side, y - 4), (x + 1 * side, y + 2)], COBALT)
    for dx, dy in ((0, -4), (3.8, -1.2), (2.4, 3.2), (-2.4, 3.2), (-3.8, -1.2)):
        s.oval(50 + dx, 44 + dy, 2.7, 2.7, COBALT)
    s.oval(50, 44, 2, 2, "#f3c64f")
    return s


def vase_back() -> Sheet:
    s = Sheet("#f3efe6", shadow=(50, 88, 24))
    _vase(s)
    for y, half in ((47, 17.2), (68, 17)):
        s.line([(50 - half, y), (50, y + 3), (50 + half, y)], 1.2, COBALT, smooth=True)
    for x, y in ((40, 58), (50, 60), (60, 58)):
        s.blob([(x, y - 4), (x + 3, y), (x, y + 4), (x - 3, y)], COBALT)
    return s


# --- hiker -----------------------------------------------------------------------------------------------------

SKIN, SKIN_DARK, JACKET, JACKET_DARK, HAT, TROUSERS = "#c98a63", "#b17450", "#e0a32e", "#bd831b", "#8c3f3a", "#4f5b4a"


def hiker_front() -> Sheet:
    s = Sheet("#e4ecef", shadow=(50, 93, 22))
    s.box(35, 35, 30, 27, "#6d4a35", 6)
    for x in (44, 56):
        s.box(x - 4.4, 64, 8.8, 24, TROUSERS, 3)
        s.box(x - 5.4, 85, 10.8, 8, "#5a3a28", 3)
    for side in (-1, 1):
        s.line([(50 + 12 * side, 42), (50 + 17 * side, 52), (50 + 16 * side, 61)], 6.4, JACKET_DARK, smooth=True)
        s.oval(50 + 16 * side, 64, 3.3, 3.3, SKIN)
    s.line([(69, 50), (67, 93)], 1.5, "#7a5a3a")
    s.oval(66.4, 64, 3.3, 3.3, SKIN)
    s.blob([(37, 42), (42, 37), (58, 37), (63, 42), (62, 58), (61, 68), (39, 68), (38, 58)], JACKET)
    s.line([(50, 39), (50, 67)], 0.9, JACKET_DARK)
    for x in (42, 58):
        s.line([(x, 38), (x + (1.4 if x < 50 else -1.4), 60)], 2.6, "#6d4a35")
    s.blob([(43, 37), (50, 42), (57, 37), (55, 34), (45, 34)], "#d3483f")
    s.blob([(40, 24), (43, 15), (50, 13), (57, 15), (60, 24), (57, 33), (50, 36.4), (43, 33)], SKIN)
    for x in (46, 54):
        s.oval(x, 25.4, 1.1, 1.4, INK)
        s.line([(x - 1.6, 22.6), (x + 1.6, 22.6)], 0.8, "#4a2f22")
    s.line([(50, 26), (50.6, 28.4)], 0.9, SKIN_DARK)
    s.line([(47, 31), (50, 32.2), (53, 31)], 0.9, "#7c4030", smooth=True)
    s.blob([(39, 20), (41, 11), (50, 6.6), (59, 11), (61, 20), (50, 18.4)], HAT)
    s.box(38.4, 17, 23.2, 4.6, "#a9544e", 2.3)
    s.oval(50, 6.4, 2.8, 2.8, "#f3efe2")
    return s


def hiker_side() -> Sheet:
    s = Sheet("#e4ecef", shadow=(50, 93, 22))
    s.line([(53, 64), (60, 76), (58, 88)], 8, "#414c3d", smooth=True)
    s.box(54, 85, 13, 8, "#4a2f20", 3)
    s.box(27, 34, 19, 30, "#6d4a35", 6)
    s.box(25, 46, 8, 14, "#5a3a28", 3)
    s.box(28, 30, 17, 6, "#4f7fa8", 3)
    s.line([(48, 64), (45, 76), (42, 87)], 8.6, TROUSERS, smooth=True)
    s.box(37, 85, 13, 8, "#5a3a28", 3)
    s.blob([(41, 42), (45, 37), (54, 37), (58, 43), (58, 58), (57, 68), (42, 68), (41, 56)], JACKET)
    s.line([(73, 50), (70, 93)], 1.5, "#7a5a3a")
    s.line([(49, 44), (56, 55), (68, 57)], 6.4, JACKET_DARK, smooth=True)
    s.oval(71.6, 57.2, 3.3, 3.3, SKIN)
    s.line([(45, 38), (44, 56)], 2.6, "#57391f")
    s.blob([(44, 37), (52, 41), (58, 37), (56, 34), (46, 34)], "#d3483f")
    s.blob(
        [
            (42, 24),
            (44, 15),
            (52, 13),
            (59, 17),
            (60.6, 24),
            (62.6, 27.6),
            (60.4, 29.4),
            (58, 33.6),
            (50, 36),
            (44, 32),
        ],
        SKIN,
    )
    s.oval(57.6, 24.6, 1, 1.4, INK)
    s.line([(55.6, 21.8), (59, 21.8)], 0.8, "#4a2f22")
    s.line([(54.6, 30.6), (56.6, 31.6), (59, 30.6)], 0.9, "#7c4030", smooth=True)
    s.oval(48, 27, 2, 2.6, SKIN_DARK)
    s.blob([(40, 21), (42, 11), (51, 6.6), (60, 11), (62, 20), (51, 19)], HAT)
    s.box(39.4, 17, 24, 4.6, "#a9544e", 2.3)
    s.oval(50, 6.4, 2.8, 2.8, "#f3efe2")
    return s


# --- paper boat ------------------------------------------------------------------------------------------------

PAPER, FOLD, FOLD_DARK, WATER = "#ffffff", "#e3e8ef", "#c8d1dd", "#8cc4e2"


def boat_front() -> Sheet:
    s = Sheet("#dff0f7")
    s.box(0, 74, 100, 26, WATER)
    s.shape([(50, 20), (27, 62), (50, 62)], PAPER)
    s.shape([(50, 20), (73, 62), (50, 62)], FOLD)
    s.shape([(7, 49), (29, 58), (71, 58), (93, 49), (75, 79), (25, 79)], "#f4f7fa")
    s.shape([(50, 58), (71, 58), (93, 49), (75, 79), (50, 79)], FOLD_DARK)
    s.shape([(7, 49), (29, 58), (25, 79)], FOLD)
    s.shape([(93, 49), (71, 58), (75, 79)], "#b4bfce")
    for y, lines in ((78, ((4, 22), (28, 44), (54, 74), (80, 97))), (87, ((12, 40), (52, 66), (76, 94)))):
        for left, right in lines:
            s.line([(left, y), ((left + right) / 2, y + 1.6), (right, y)], 1.5, "#c5e4f2", smooth=True)
    return s


def boat_bow() -> Sheet:
    s = Sheet("#dff0f7")
    s.box(0, 74, 100, 26, WATER)
    s.shape([(50, 20), (38, 60), (50, 60)], PAPER)
    s.shape([(50, 20), (62, 60), (50, 60)], FOLD)
    s.shape([(27, 56), (50, 45), (50, 79), (36, 79)], "#f4f7fa")
    s.shape([(73, 56), (50, 45), (50, 79), (64, 79)], FOLD_DARK)
    s.shape([(27, 56), (36, 79), (40, 79), (33, 53.2)], FOLD)
    s.shape([(73, 56), (64, 79), (60, 79), (67, 53.2)], "#b4bfce")
    for y, lines in ((78, ((6, 24), (32, 48), (54, 70), (78, 95))), (87, ((14, 38), (50, 64), (74, 92)))):
        for left, right in lines:
            s.line([(left, y), ((left + right) / 2, y + 1.6), (right, y)], 1.5, "#c5e4f2", smooth=True)
    return s


# --- bicycle ---------------------------------------------------------------------------------------------------

MINT, MINT_DARK, TYRE, LEATHER = "#3f9f7f", "#2f7a61", "#31343d", "#9a5b34"


def bicycle_side() -> Sheet:
    s = Sheet("#f4ecdd", shadow=(50, 84, 42))
    for x in (24, 76):
        for dx, dy in ((16, 0), (11.3, 11.3), (0, 16), (-11.3, 11.3)):
            s.line([(x - dx, 66 + dy * -1), (x + dx, 66 + dy)], 0.35, "#b9b2a4")
        s.ring(x, 66, 18, 2, TYRE)
        s.ring(x, 66, 15.8, 0.9, "#d9d4c8")
        s.oval(x, 66, 1.8, 1.8, TYRE)
    s.line([(8.4, 57), (14, 48.6), (24, 45.6), (34, 48.6)], 1.4, MINT_DARK, smooth=True)
    s.line([(62, 53), (68, 47.4), (77, 45.6), (88, 50)], 1.4, MINT_DARK, smooth=True)
    s.line([(24, 66), (46, 66), (39, 42), (24, 66)], 1.9, MINT)
    s.line([(46, 66), (69, 44), (40.5, 47)], 1.9, MINT)
    s.line([(39, 42), (37, 35)], 1.6, "#8b8f99")
    s.line([(76, 66), (67, 37), (66, 30)], 1.9, MINT)
    s.line([(66, 31), (61, 28), (56, 29.6)], 1.7, "#8b8f99", smooth=True)
    s.line([(60, 28.2), (56, 29.6)], 2.4, LEATHER)
    s.blob([(29, 33), (36, 32), (45, 33.6), (44, 36), (36, 36.4), (30, 36.6)], LEATHER)
    s.ring(46, 66, 4.6, 1.1, "#8b8f99")
    s.line([(24, 64.4), (46, 61.6)], 0.6, "#6a6e78")
    s.line([(24, 67.8), (46, 70.6)], 0.6, "#6a6e78")
    s.line([(46, 66), (50, 74)], 1.4, TYRE)
    s.line([(47.6, 74.6), (53, 74.6)], 1.8, TYRE)
    s.box(68, 34, 16, 11, "#c79a5f", 2)
    for x in (72, 76, 80):
        s.line([(x, 35), (x, 44)], 0.5, LEATHER)
    s.line([(68, 38), (84, 38)], 0.5, LEATHER)
    s.line([(68, 41.4), (84, 41.4)], 0.5, LEATHER)
    s.line([(14, 44), (33, 44)], 1.3, TYRE)
    s.line([(18, 44.4), (24, 66)], 0.8, TYRE)
    return s


def bicycle_front() -> Sheet:
    s = Sheet("#f4ecdd", shadow=(50, 88, 16))
    s.line([(38, 78), (62, 78)], 1.3, "#8b8f99")
    for x in (37, 63):
        s.box(x - 4, 76, 8, 4, TYRE, 1.5)
    s.line([(50, 28), (50, 48)], 2.4, MINT)
    s.line([(46, 74), (46, 52), (50, 47), (54, 52), (54, 74)], 1.9, MINT)
    s.box(47.6, 50, 4.8, 38, TYRE, 2.4)
    s.box(49.2, 52, 1.6, 34, "#565b67", 0.8)
    s.oval(50, 71, 1.6, 1.6, "#8b8f99")
    s.line([(26, 33), (34, 29), (50, 30), (66, 29), (74, 33)], 1.9, "#8b8f99", smooth=True)
    for side in (-1, 1):
        s.line([(50 + 20 * side, 30.6), (50 + 25 * side, 33.6)], 2.8, LEATHER)
    s.blob([(43, 24), (50, 22), (57, 24), (55, 28), (45, 28)], LEATHER)
    s.box(37, 34, 26, 15, "#c79a5f", 3)
    for x in (42, 46, 50, 54, 58):
        s.line([(x, 35.4), (x, 48)], 0.5, LEATHER)
    for y in (38.6, 43.6):
        s.line([(37.6, y), (62.4, y)], 0.5, LEATHER)
    s.oval(50, 53, 3.2, 3.2, "#fbe9b0")
    s.ring(50, 53, 3.2, 0.7, TYRE)
    return s


Draw = Callable[[], Sheet]
PRESETS: tuple[tuple[int, str, str, str, tuple[tuple[str, Draw], ...]], ...] = (
    (101, "Robot", "A small teal robot with a round antenna, amber ears and a dark glass face with two glowing eyes",
     "o_102", (("robot-front", robot_front), ("robot-side", robot_side))),
    (102, "Corgi", "A cheerful orange and white corgi with big ears and a red collar with a golden tag",
     "o_103", (("corgi-front", corgi_front), ("corgi-side", corgi_side))),
    (103, "Coffee mug", "A red glazed coffee mug with a cream rim and a cream heart on its front",
     "o_104", (("mug-front", mug_front), ("mug-side", mug_side))),
    (104, "Sneakers", "A pair of blue canvas sneakers with cream soles, a red stripe and a yellow ring on each side",
     "o_105", (("sneakers-front", sneakers_front), ("sneakers-toes", sneakers_toes))),
    (105, "Ceramic vase", "A round celadon vase with a narrow neck and a cobalt flower painted on its front",
     "o_104", (("vase-front", vase_front), ("vase-back", vase_back))),
    (106, "Hiker", "A hiker in a mustard jacket and a wine-red woollen hat, with a brown rucksack and a stick",
     "o_102", (("hiker-front", hiker_front), ("hiker-side", hiker_side))),
    (107, "Paper boat", "A boat folded of white paper, afloat on calm water",
     "o_104", (("boat-front", boat_front), ("boat-bow", boat_bow))),
    (108, "City bicycle", "A mint green city bicycle with a wicker basket and a brown leather saddle",
     "o_104", (("bicycle-side", bicycle_side), ("bicycle-front", bicycle_front))),
)  # fmt: skip


def main() -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    index = []
    for id, name, description, tag, images in PRESETS:
        for file, draw in images:
            draw().save(f"{file}.png")
        files = [f"{file}.png" for file, _ in images]
        size = [SIDE_PX, SIDE_PX]
        index.append({"id": id, "name": name, "description": description, "tags": [tag], "size": size, "files": files})
    (OUT / "index.json").write_text(json.dumps(index, indent=1) + "\n")


if __name__ == "__main__":
    main()
