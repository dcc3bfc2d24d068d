"""The cost of a shot. The costs of the shots of all accounts determine the order in which workers serve the accounts.

The cost is not a price. It is an estimate of the engine's time. Because of this cost, workers generate fewer images for
an account that requests large images than for an account that requests small images.
"""

from framehouse.domain.sizes import SCALES


def shot_cost(resolution: str) -> int:
    """Return the number of pixels of a shot, relative to the number of pixels of a shot with the resolution `1k`."""
    return SCALES[resolution] ** 2
