"""The price of a task in units."""

from collections.abc import Mapping

DEFAULT_UNITS: Mapping[str, int] = {"1k": 8, "2k": 8, "4k": 16}


def units_for(images: int, resolution: str, prices: Mapping[str, int]) -> int:
    """Return the price of `images` images in units.

    `prices` contains the units per image for each resolution. A resolution that is not in `prices` has the price in
    DEFAULT_UNITS.
    """
    return images * prices.get(resolution, DEFAULT_UNITS[resolution])
