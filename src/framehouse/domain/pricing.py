"""What a task takes from its account: images in flight, and units."""

from collections.abc import Mapping

DEFAULT_UNITS: Mapping[str, int] = {"1k": 8, "2k": 8, "4k": 16}


def units_for(images: int, resolution: str, prices: Mapping[str, int]) -> int:
    """Units for this many images; `prices` is units per image by resolution, with the contract's as default."""
    return images * prices.get(resolution, DEFAULT_UNITS[resolution])
