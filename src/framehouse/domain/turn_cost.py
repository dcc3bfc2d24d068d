"""The cost of a shot in the order in which workers serve the accounts.

The cost is not a price. It is an estimate of the engine's time, so that an account that requests large images gets
fewer turns than an account that requests small images.
"""

from framehouse.domain.sizes import SCALES


def shot_cost(resolution: str) -> int:
    """Return the number of pixels of a shot, relative to the number of pixels of a shot with the resolution `1k`."""
    return SCALES[resolution] ** 2
