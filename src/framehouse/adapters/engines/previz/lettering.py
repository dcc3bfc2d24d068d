"""Words on the panel: the caption, chips for what no drawing stands for, the corner tag."""

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from framehouse.adapters.engines.previz.color import Color
from framehouse.adapters.fonts import font_for

_MARGIN = 0.046
_MOST_LINES = 3


def letter(
    image: Image.Image, caption: str, chips: Sequence[str], tag: str, ink: Color, *, boxed: bool, inset: float = 0.0
) -> None:
    """Draw onto an RGB image. `ink` is the dark colour of boxes; `boxed`: the caption stands in a light box (on paper
    styles), otherwise on a darkened lower edge; `inset` keeps clear of a painted border (share of the short side)."""
    unit = min(image.size)
    margin = round(unit * (_MARGIN + inset))
    draw = ImageDraw.Draw(image, "RGBA")
    font = font_for(tag, round(unit * 0.0235))
    _box(draw, margin, margin, tag, font, unit, (*ink, 205), (255, 255, 255, 255))
    size = round(unit * 0.031)
    font = font_for(caption, size)
    lines = wrap(draw, caption, font, image.width - 2 * margin - (unit * 0.03 if boxed else 0))
    step = round(size * 1.32)
    top = image.height - margin - step * len(lines)
    if caption and not boxed:
        _darken(image, top - round(unit * 0.05), ink)
        draw = ImageDraw.Draw(image, "RGBA")
    elif caption:
        wide = max(draw.textlength(line, font=font) for line in lines)
        pad = unit * 0.016
        draw.rounded_rectangle(
            (margin - pad * 0.6, top - pad, margin + wide + pad * 1.4, top + step * len(lines) + pad * 0.6),
            pad,
            fill=(248, 244, 236, 218),
        )
    for n, line in enumerate(lines):
        place = (margin + (unit * 0.006 if boxed else 0), top + n * step)
        if not boxed:
            draw.text((place[0], place[1] + max(1, unit // 500)), line, font=font, fill=(0, 0, 0, 150))
        draw.text(place, line, font=font, fill=(*ink, 255) if boxed else (255, 255, 255, 255))
    _chips(draw, chips, image.width - margin, top - unit * 0.075, margin, unit, ink)


def _chips(
    draw: ImageDraw.ImageDraw, chips: Sequence[str], right: float, y: float, left: float, unit: int, ink: Color
) -> None:
    """Dashed labels from the lower left, side by side: these things belong in the picture."""
    x = left
    for chip in chips:
        font = font_for(chip, round(unit * 0.027))
        pad = unit * 0.014
        wide = draw.textlength(chip, font=font) + 2 * pad
        if x + wide > right and x > left:
            x, y = left, y - unit * 0.06
        draw.rounded_rectangle(
            (x, y, x + wide, y + unit * 0.048),
            unit * 0.024,
            fill=(250, 246, 238, 235),
            outline=(*ink, 160),
            width=max(1, unit // 480),
        )
        draw.text((x + pad, y + unit * 0.024), chip, font=font, fill=(*ink, 255), anchor="lm")
        x += wide + unit * 0.014


def stand_in(image: Image.Image, chips: Sequence[str], ink: Color) -> None:
    """Blank cards with the names of what there is no drawing for, where the subjects would stand."""
    unit = min(image.size)
    draw = ImageDraw.Draw(image, "RGBA")
    wide = min(image.width * 0.8 / len(chips), unit * 0.52)
    tall = wide * 0.72
    for n, chip in enumerate(chips):
        x = image.width / 2 + (n - (len(chips) - 1) / 2) * wide * 1.06 - wide / 2
        y = image.height * 0.5 - tall / 2
        draw.rounded_rectangle(
            (x + unit * 0.008, y + unit * 0.014, x + wide, y + tall + unit * 0.014), unit * 0.03, fill=(0, 0, 0, 60)
        )
        draw.rounded_rectangle((x, y, x + wide, y + tall), unit * 0.03, fill=(250, 246, 238, 232))
        inset = unit * 0.018
        draw.rounded_rectangle(
            (x + inset, y + inset, x + wide - inset, y + tall - inset),
            unit * 0.02,
            outline=(*ink, 120),
            width=max(1, unit // 300),
        )
        size = round(unit * 0.05)
        lines = wrap(draw, chip, font_for(chip, size), wide - 4 * inset)
        font = font_for(chip, size)
        for row, line in enumerate(lines):
            draw.text(
                (x + wide / 2, y + tall / 2 + (row - (len(lines) - 1) / 2) * size * 1.3),
                line,
                font=font,
                fill=(*ink, 255),
                anchor="mm",
            )


def _box(
    draw: ImageDraw.ImageDraw,
    x: float,
    y: float,
    text: str,
    font: ImageFont.FreeTypeFont,
    unit: int,
    fill: tuple[int, int, int, int],
    color: tuple[int, int, int, int],
) -> None:
    pad = unit * 0.014
    wide = draw.textlength(text, font=font)
    draw.rounded_rectangle((x - pad * 0.4, y - pad * 0.6, x + wide + pad * 1.8, y + unit * 0.037), pad * 0.6, fill=fill)
    draw.text((x + pad * 0.7, y + unit * 0.0145), text, font=font, fill=color, anchor="lm")


def _darken(image: Image.Image, top: int, ink: Color) -> None:
    """A gradient to the dark towards the lower edge, so that white letters can be read on anything."""
    top = max(0, top)
    height = image.height - top
    ramp = (
        Image.linear_gradient("L")
        .resize((image.width, height), Image.Resampling.BILINEAR)
        .point(lambda v: round(min(1.0, v / 255 * 1.25) * 178))
    )
    strip = Image.composite(
        Image.new("RGB", (image.width, height), ink), image.crop((0, top, image.width, image.height)), ramp
    )
    image.paste(strip, (0, top))


def wrap(draw: ImageDraw.ImageDraw, text: str, font: ImageFont.FreeTypeFont, width: float) -> list[str]:
    """At most three lines; Latin breaks between words, Chinese anywhere but before punctuation; what does not fit ends
    in an ellipsis."""
    lines: list[str] = []
    line = ""
    for piece in _pieces(text):
        if (
            line
            and draw.textlength((line + piece).rstrip(), font=font) > width
            and piece.strip() not in "，。！？、；：,.!?;:)”’"
        ):
            if len(lines) == _MOST_LINES - 1:
                while line and draw.textlength(line.rstrip() + "…", font=font) > width:
                    line = line[:-1]
                return [*lines, line.rstrip() + "…"]
            lines.append(line.rstrip())
            line = piece.lstrip()
        else:
            line += piece
        while draw.textlength(line.rstrip(), font=font) > width and len(line) > 1:  # one word longer than the frame
            cut = max(1, int(len(line) * width / draw.textlength(line, font=font)))
            if len(lines) == _MOST_LINES - 1:
                return [*lines, line[: max(1, cut - 1)] + "…"]
            lines.append(line[:cut])
            line = line[cut:]
    return [*lines, line.rstrip()] if line.strip() else lines


def _pieces(text: str) -> list[str]:
    pieces: list[str] = []
    for character in text:
        if ord(character) > 0x2E7F or not pieces or pieces[-1].endswith(" ") or ord(pieces[-1][-1]) > 0x2E7F:
            pieces.append(character)
        else:
            pieces[-1] += character
    return pieces
