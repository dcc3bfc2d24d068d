"""Colours in 8-bit RGB, and operations on colours."""

import colorsys

Color = tuple[int, int, int]
WHITE, BLACK = (255, 255, 255), (0, 0, 0)


def mix(first: Color, second: Color, share: float) -> Color:
    """Return a colour between `first` (share 0) and `second` (share 1)."""
    return (
        round(first[0] + (second[0] - first[0]) * share),
        round(first[1] + (second[1] - first[1]) * share),
        round(first[2] + (second[2] - first[2]) * share),
    )


def lighter(color: Color, share: float) -> Color:
    return mix(color, WHITE, share)


def darker(color: Color, share: float) -> Color:
    return mix(color, BLACK, share)


def hex_of(color: Color) -> str:
    return "#" + bytes(color).hex()


def luma(color: Color) -> float:
    """Return the perceived brightness, from 0 to 1."""
    return (0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2]) / 255


def saturated(color: Color, factor: float) -> Color:
    """Return the colour with its saturation multiplied by `factor`."""
    hue, light, full = colorsys.rgb_to_hls(*(c / 255 for c in color))
    r, g, b = colorsys.hls_to_rgb(hue, light, min(1.0, full * factor))
    return (round(r * 255), round(g * 255), round(b * 255))
