"""One storyboard panel: backdrop, subject words, camera tag, caption, references as framed cards."""

import io
import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont, ImageOps

from framehouse.adapters.engines.base import ReferenceImage
from framehouse.adapters.engines.previz.scene import Color, Palette, Scene, read_scene, stream
from framehouse.adapters.fonts import font_for
from framehouse.domain.errors import Broken
from framehouse.domain.shot import FRAMINGS, Shot
from framehouse.domain.sizes import Size

_LARGEST_DRAWN_PX = 2048 * 2048
_HORIZONS = dict(zip(FRAMINGS, (0.72, 0.66, 0.8, 0.62, 0.86, 0.3), strict=True))
_ZOOMS = dict(zip(FRAMINGS, (1.0, 1.35, 2.1, 1.6, 1.25, 1.15), strict=True))


def draw_panel(shot: Shot, count: int, size: Size, references: tuple[ReferenceImage, ...]) -> NDArray[np.uint8]:
    """(height, width, 3) pixels; the same shot, size and references always give the same ones."""
    scale = 2 if size.width * size.height > _LARGEST_DRAWN_PX else 1
    width, height = size.width // scale, size.height // scale
    scene = read_scene(shot.prompt, shot.seed - shot.index)
    horizon = round(height * _HORIZONS.get(shot.framing, 0.68))
    image = Image.fromarray(_sky(scene.palette, width, height, horizon, shot.seed))
    draw = ImageDraw.Draw(image)
    zoom = _ZOOMS.get(shot.framing, 1.0) * stream(shot.seed, "zoom").uniform(0.92, 1.08)
    _BACKDROPS[scene.backdrop](draw, scene.palette, width, height, horizon, zoom, shot.seed)
    if shot.framing == "close-up":
        image = image.filter(ImageFilter.GaussianBlur(min(width, height) / 90))
    image = _light(image, shot.seed)
    draw = ImageDraw.Draw(image)
    if references:
        _cards(image, references, width, height)
    _words(draw, scene, shot, count, width, height, low=bool(references))
    if scale != 1:
        image = image.resize(size, Image.Resampling.BICUBIC)
    return np.asarray(image)


def _mix(first: Color, second: Color, share: float) -> Color:
    return (
        round(first[0] + (second[0] - first[0]) * share),
        round(first[1] + (second[1] - first[1]) * share),
        round(first[2] + (second[2] - first[2]) * share),
    )


def _sky(palette: Palette, width: int, height: int, horizon: int, seed: int) -> NDArray[np.uint8]:
    """Three stops down to the horizon, the ground below, a glow where the sun or moon is."""
    rows = np.arange(height, dtype=np.float32)
    stops = [0.0, horizon * 0.55, float(horizon), horizon + 1.0, float(height)]
    colors = [palette.top, palette.middle, palette.horizon, palette.ground, _mix(palette.ground, (0, 0, 0), 0.25)]
    columns = [np.interp(rows, stops, [color[channel] for color in colors]) for channel in range(3)]
    picture = np.repeat(np.stack(columns, axis=1)[:, None, :].astype(np.float32), width, axis=1)
    place = stream(seed, "light")
    x, y = width * place.uniform(0.2, 0.8), horizon * place.uniform(0.2, 0.55)
    radius = min(width, height) * 0.055
    distance = np.hypot(np.arange(width, dtype=np.float32)[None, :] - x, rows[:, None] - y)
    glow = np.exp(-np.square(distance / (radius * 5))) * 0.5 + np.clip(radius - distance + 0.5, 0, 1)
    glow[horizon:] *= 0.25
    picture += (np.array(palette.accent, np.float32) - picture) * np.clip(glow, 0, 1)[..., None]
    return np.clip(picture, 0, 255).astype(np.uint8)


def _ridge(
    draw: ImageDraw.ImageDraw, color: Color, width: int, height: int, base: float, rise: float, seed: int, sharp: float
) -> None:
    """A line of hills or peaks across the picture, filled down to the bottom."""
    numbers = stream(seed, "ridge")
    waves = [
        (numbers.uniform(0.6, 1.0) * rise / (n + 1), numbers.uniform(0.8, 1.6) * (n + 1) * sharp, numbers.uniform(0, 7))
        for n in range(4)
    ]
    points = []
    for x in range(0, width + 8, 8):
        up = sum(a * abs(math.sin(x / width * math.pi * f + p)) for a, f, p in waves)
        points.append((x, base - up))
    draw.polygon([(0, height), *points, (width + 8, height)], fill=color)


def _mountain(
    draw: ImageDraw.ImageDraw, p: Palette, width: int, height: int, horizon: int, zoom: float, seed: int
) -> None:
    for layer in range(3):
        color = _mix(p.ground, p.horizon, 0.6 - 0.28 * layer)
        base = horizon + height * 0.05 * layer
        _ridge(draw, color, width, height, base, height * (0.3 - 0.08 * layer) * zoom, seed + layer, 1.6)


def _forest(
    draw: ImageDraw.ImageDraw, p: Palette, width: int, height: int, horizon: int, zoom: float, seed: int
) -> None:
    _ridge(draw, _mix(p.ground, p.horizon, 0.55), width, height, horizon, height * 0.12, seed, 1.0)
    for layer in range(3):
        numbers = stream(seed + layer, "trees")
        color = _mix(p.ground, p.horizon, 0.4 - 0.2 * layer)
        base = horizon + height * 0.07 * layer
        draw.rectangle((0, base, width, height), fill=color)
        for _ in range(round(26 / zoom) - 5 * layer):
            x, tall = numbers.uniform(0, width), height * numbers.uniform(0.12, 0.2) * zoom * (1 + 0.5 * layer)
            for part in range(3):
                top = base - tall * (0.94 - part * 0.25)
                half = tall * (0.13 + part * 0.06)
                draw.polygon([(x, top), (x - half, top + tall * 0.45), (x + half, top + tall * 0.45)], fill=color)
            draw.rectangle((x - tall * 0.02, base - tall * 0.1, x + tall * 0.02, base + 2), fill=color)


def _city(draw: ImageDraw.ImageDraw, p: Palette, width: int, height: int, horizon: int, zoom: float, seed: int) -> None:
    lit = _mix(p.accent, p.horizon, 0.2)
    for layer in range(3):
        numbers = stream(seed + layer, "city")
        color = _mix(_mix(p.ground, (20, 24, 40), 0.4), p.horizon, 0.55 - 0.26 * layer)
        x = -width * 0.02
        while x < width:
            wide = width * numbers.uniform(0.05, 0.1) * zoom
            top = horizon - height * numbers.uniform(0.14, 0.44 - layer * 0.1) * zoom
            draw.rectangle((x, top, x + wide, height), fill=color)
            step = max(6.0, wide / 5)
            y = top + step * 0.7
            while layer and y < horizon - step:
                for column in range(4):
                    if numbers.random() < (0.55 if p.dark else 0.25):
                        left = x + step * (0.55 + column)
                        draw.rectangle((left, y, left + step * 0.5, y + step * 0.6), fill=_mix(color, lit, 0.75))
                y += step * 1.2
            x += wide * numbers.uniform(1.02, 1.2)
    ground = _mix(p.ground, (30, 32, 40), 0.5)
    draw.rectangle((0, horizon, width, height), fill=ground)
    draw.polygon(
        [(width * 0.44, horizon), (width * 0.56, horizon), (width * 0.86, height), (width * 0.14, height)],
        fill=_mix(ground, (0, 0, 0), 0.3),
    )


def _sea(draw: ImageDraw.ImageDraw, p: Palette, width: int, height: int, horizon: int, zoom: float, seed: int) -> None:
    numbers = stream(seed, "sea")
    water = _mix(p.top, p.middle, 0.3)
    draw.rectangle((0, horizon, width, height), fill=water)
    for _ in range(90):
        depth = numbers.random() ** 1.6
        y = horizon + (height - horizon) * depth
        half = width * (0.01 + 0.07 * depth) * zoom
        x = numbers.uniform(0, width)
        thick = max(1, round(height * 0.004 * (0.4 + depth * 2)))
        draw.rounded_rectangle(
            (x - half, y, x + half, y + thick), thick, fill=_mix(water, p.horizon, numbers.uniform(0.15, 0.6))
        )


def _studio(
    draw: ImageDraw.ImageDraw, p: Palette, width: int, height: int, horizon: int, zoom: float, seed: int
) -> None:
    numbers = stream(seed, "studio")
    center = width * numbers.uniform(0.42, 0.58)
    wall = _mix(p.horizon, p.middle, 0.5)
    for n, share in enumerate((0.62, 0.46)):
        half, top = min(width, height) * share * 0.6 * zoom, horizon - min(width, height) * share * zoom
        color = _mix(wall, p.ground, 0.14 + 0.2 * n)
        draw.pieslice((center - half, top, center + half, top + half * 2), 180, 360, fill=color)
        draw.rectangle((center - half, top + half, center + half, horizon), fill=color)
    draw.rectangle((0, horizon, width, height), fill=p.ground)
    for offset, wide, tall in ((-0.36, 0.13, 0.16), (0.36, 0.11, 0.1), (0.0, 0.25, 0.06)):
        x, half = center + width * offset * min(zoom, 1.4) * 0.8, min(width, height) * wide * zoom
        top, bottom, flat = horizon - height * tall * zoom * 0.5, horizon + height * 0.12, half * 0.22
        side = _mix(p.ground, (0, 0, 0), 0.16)
        draw.ellipse((x - half, bottom - flat, x + half, bottom + flat), fill=side)
        draw.rectangle((x - half, top, x + half, bottom), fill=side)
        draw.ellipse((x - half, top - flat, x + half, top + flat), fill=_mix(p.ground, (255, 255, 255), 0.45))


_BACKDROPS = {"mountain": _mountain, "forest": _forest, "city": _city, "sea": _sea, "studio": _studio}


def _light(image: Image.Image, seed: int) -> Image.Image:
    """A vignette, and fine grain that hides banding."""
    pixels = np.asarray(image).astype(np.float32)
    height, width = pixels.shape[:2]
    x, y = np.linspace(-1, 1, width, dtype=np.float32)[None, :], np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    pixels *= (1 - 0.2 * np.clip(x * x + y * y - 0.5, 0, 1))[..., None]
    grain = np.random.default_rng(seed).integers(-4, 5, (height // 2 + 1, width // 2 + 1), dtype=np.int8)
    pixels += np.repeat(np.repeat(grain, 2, axis=0), 2, axis=1)[:height, :width, None]
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def _words(
    draw: ImageDraw.ImageDraw, scene: Scene, shot: Shot, count: int, width: int, height: int, *, low: bool
) -> None:
    """The subject large, the camera in a corner tag, the caption at the bottom."""
    unit = min(width, height)
    margin = unit * 0.045
    if scene.subject:
        zoom = {"close-up": 1.5, "wide shot": 0.85}.get(shot.framing, 1.1)
        size = round(unit * 0.12 * zoom)
        font = font_for(scene.subject, size)
        while draw.textlength(scene.subject, font=font) > width - 3 * margin and size > 10:
            size = round(size * 0.9)
            font = font_for(scene.subject, size)
        x = width * (0.5 if shot.framing != "over-the-shoulder shot" else 0.46)
        y = height * (0.75 if low else 0.5)
        draw.text(
            (x, y + size * 0.06),
            scene.subject,
            font=font,
            fill=(10, 12, 20),
            anchor="mm",
            stroke_width=max(1, size // 14),
            stroke_fill=(10, 12, 20),
        )
        draw.text((x, y), scene.subject, font=font, fill=(255, 255, 255), anchor="mm")
    tag = f"{shot.index + 1}/{count}  {shot.framing.upper()}".strip() + "  PREVIEW"
    font = font_for(tag, round(unit * 0.026))
    box = draw.textbbox((margin, margin), tag, font=font)
    pad = unit * 0.014
    draw.rounded_rectangle((box[0] - pad, box[1] - pad, box[2] + pad, box[3] + pad), pad, fill=(36, 36, 44))
    draw.text((margin, margin), tag, font=font, fill=(255, 255, 255))
    font = font_for(scene.caption, round(unit * 0.03))
    lines = _wrap(draw, scene.caption, font, width - 2 * margin)
    y = height - margin - unit * 0.04 * len(lines)
    for line in lines:
        draw.text(
            (margin, y),
            line,
            font=font,
            fill=(255, 255, 255),
            stroke_width=max(1, unit // 360),
            stroke_fill=(16, 16, 24),
        )
        y += unit * 0.04


def _wrap(draw: ImageDraw.ImageDraw, text: str, font: ImageFont.FreeTypeFont, width: float) -> list[str]:
    """At most two lines; what does not fit ends in an ellipsis."""
    lines, line = [], ""
    pieces = text.split(" ") if " " in text else list(text)
    joint = " " if " " in text else ""
    for piece in pieces:
        longer = line + joint + piece if line else piece
        if draw.textlength(longer, font=font) <= width:
            line = longer
            continue
        lines.append(line)
        line = piece
        if len(lines) == 2:
            break
    else:
        lines.append(line)
        return lines
    last = lines[1]
    while last and draw.textlength(last + "…", font=font) > width:
        last = last[:-1]
    return [lines[0], last + "…"]


def _cards(image: Image.Image, references: tuple[ReferenceImage, ...], width: int, height: int) -> None:
    """The references as framed cards, in order, in as many rows as fit best."""
    unit = min(width, height)
    columns = max(1, min(len(references), round(math.sqrt(len(references) * width / height))))
    rows = math.ceil(len(references) / columns)
    cell = min(width * 0.86 / columns, height * 0.56 / rows)
    for index, reference in enumerate(references):
        card = _card(reference, round(cell * 0.86), max(2, round(unit * 0.008)))
        row, column = divmod(index, columns)
        in_row = min(columns, len(references) - row * columns)
        x = width / 2 + (column - (in_row - 1) / 2) * cell - card.width / 2
        y = height * 0.4 + (row - (rows - 1) / 2) * cell - card.height / 2
        image.paste(card, (round(x), round(y)))


def _card(reference: ReferenceImage, side: int, frame: int) -> Image.Image:
    try:
        with Image.open(io.BytesIO(reference.content), formats=("PNG", "JPEG")) as file:
            file.draft("RGB", (side * 2, side * 2))
            picture = ImageOps.exif_transpose(file).convert("RGBA")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise Broken(f"a reference cannot be decoded: {error}") from error
    picture.thumbnail((side - 2 * frame, side - 2 * frame))
    card = Image.new("RGB", (picture.width + 2 * frame, picture.height + 2 * frame), (255, 255, 255))
    card.paste(picture, (frame, frame), picture)
    return card
