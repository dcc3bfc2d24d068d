"""The price of a task in units."""

from collections.abc import Mapping

DEFAULT_UNITS: Mapping[str, int] = {"1k": 8, "2k": 8, "4k": 16}


def units_for(images: int, resolution: str, prices: Mapping[str, int]) -> int:
    """The units for `images` images. `prices` contains units per image by resolution.

    If `prices` does not contain the resolution, the contract's price is used.
    """
    return images * prices.get(resolution, DEFAULT_UNITS[resolution])
