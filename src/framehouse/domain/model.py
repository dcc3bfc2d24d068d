"""What a `model_name` offers to callers."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from framehouse.domain.quota import DEFAULT_UNITS
from framehouse.domain.sizes import RESOLUTIONS


@dataclass(frozen=True, slots=True)
class Model:
    """A configured model as a caller sees it; who paints it is the registry's business.

    `max_batch` is how many shots of one task its first engine makes in one call.
    """

    name: str
    resolutions: tuple[str, ...] = RESOLUTIONS
    series: bool = True
    units: Mapping[str, int] = field(default_factory=lambda: dict(DEFAULT_UNITS))
    max_batch: int = 1
