"""Draw the foreground over the subjects: rain, snow, mist, lightning, and the shoulder of an observer."""

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from framehouse.engines.previz.backdrops import PLACES, Stage
from framehouse.engines.previz.scene import stream
from framehouse.engines.previz.sprites import Pixels, tone_of, veil

_MASK_PX = 900


def draw_front(canvas: Pixels, stage: Stage) -> None:
    """Draw the weather on the canvas and, in an over-the-shoulder shot, the observer's shoulder."""
    view, weather = stage.view, stage.scene.weather
    small = _MASK_PX / max(view.width, view.height)
    size = (round(view.width * small), round(view.height * small))
    indoors = PLACES[stage.scene.backdrop].indoors
    if weather in ("rain", "storm") and not indoors:
        veil(canvas, _streaks(size, stage.shot_seed), (226, 236, 250), 0.42)
    elif weather == "snow" and not indoors:
        veil(canvas, _flakes(size, stage.shot_seed), (255, 255, 255), 0.9)
    elif weather == "fog":
        veil(canvas, _mist(size, stage.shot_seed), stage.light.low, 0.55)
    if weather == "storm" and not indoors:
        veil(canvas, _bolt(size, stage.seed, view.horizon / view.height), (255, 250, 226), 0.95)
    if view.framing == "over-the-shoulder shot":
        veil(canvas, _shoulder(size, people=stage.scene.people), tone_of(stage.light), 0.94)


def _streaks(size: tuple[int, int], seed: int) -> Image.Image:
    mask = Image.new("L", size, 0)
    draw, dice = ImageDraw.Draw(mask), stream(seed, "rain")
    for _ in range(230):
        x, y, long = dice.uniform(-0.05, 1.1) * size[0], dice.uniform(-0.1, 1) * size[1], dice.uniform(14, 46)
        draw.line((x, y, x - long * 0.24, y + long), fill=dice.choice((90, 140, 210)), width=dice.choice((1, 1, 2)))
    return mask.filter(ImageFilter.GaussianBlur(0.6))


def _flakes(size: tuple[int, int], seed: int) -> Image.Image:
    mask = Image.new("L", size, 0)
    draw, dice = ImageDraw.Draw(mask), stream(seed, "snow")
    for _ in range(190):
        x, y, r = dice.uniform(0, size[0]), dice.uniform(0, size[1]), dice.choice((1.2, 1.6, 2.2, 3.4, 5.0))
        draw.ellipse((x - r, y - r, x + r, y + r), fill=235 if r < 3 else 150)
    return mask.filter(ImageFilter.GaussianBlur(0.8))


def _mist(size: tuple[int, int], seed: int) -> Image.Image:
    rows = np.random.default_rng(seed & 0x7FFFFFFF).integers(60, 255, (7, 4), dtype=np.uint8)
    soft = Image.fromarray(rows).resize(size, Image.Resampling.BICUBIC)
    fade = Image.linear_gradient("L").resize(size).point(lambda v: 90 + round(v * 0.5))
    return Image.composite(soft, Image.new("L", size, 0), fade)


def _bolt(size: tuple[int, int], seed: int, horizon: float) -> Image.Image:
    mask = Image.new("L", size, 0)
    draw, dice = ImageDraw.Draw(mask), stream(seed, "bolt")
    x, y, end = size[0] * dice.choice((0.2, 0.78)), 0.0, size[1] * max(0.3, horizon)
    points = [(x, y)]
    while y < end:
        x, y = x + dice.uniform(-0.035, 0.035) * size[0], y + end / 9
        points.append((x, y))
        if dice.random() < 0.3:
            draw.line((x, y, x + dice.uniform(-60, 60), y + 50), fill=150, width=2)
    draw.line(points, fill=255, width=4)
    glow = mask.filter(ImageFilter.GaussianBlur(14)).point(lambda v: min(255, v * 3))
    return Image.composite(Image.new("L", size, 255), glow, mask.filter(ImageFilter.GaussianBlur(0.8)))


def _shoulder(size: tuple[int, int], *, people: bool) -> Image.Image:
    """Return a mask with the blurred head and shoulder of an observer at the left edge.

    If the prompt excludes people, the mask shows leaves instead.
    """
    mask = Image.new("L", size, 0)
    draw = ImageDraw.Draw(mask)
    height, unit = size[1], min(size)
    if people:
        x, y, r = unit * 0.19, height * 0.56, unit * 0.155
        draw.ellipse((x - r, y - r * 1.15, x + r, y + r * 1.2), fill=255)
        draw.rectangle((x - r * 0.5, y + r * 0.6, x + r * 0.5, y + r * 1.8), fill=255)
        draw.ellipse((x - r * 2.6, y + r * 1.3, x + r * 2.3, y + r * 6), fill=255)
    else:
        for n in range(9):
            x, y = unit * (0.02 + 0.045 * (n % 4)), height * (0.45 + 0.06 * n)
            draw.ellipse((x - unit * 0.14, y - unit * 0.05, x + unit * 0.14, y + unit * 0.06), fill=255)
    return mask.filter(ImageFilter.GaussianBlur(unit / 70))
