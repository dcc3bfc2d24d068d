"""What a `model_name` offers to callers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from framehouse.domain.pricing import DEFAULT_UNITS
from framehouse.domain.sizes import RESOLUTIONS


def accept_every_prompt(prompt: str) -> str | None:
    """The refusal of who refuses nothing."""
    return None


@dataclass(frozen=True, slots=True)
class Model:
    """A configured model as a caller sees it; who paints it is the registry's business.

    `max_batch` is how many shots of one task its first engine makes in one call, `whole_series` whether it is given all
    of a series at once; `refusal` is that engine's reason not to take a prompt at all (None: it takes it).
    """

    name: str
    resolutions: tuple[str, ...] = RESOLUTIONS
    series: bool = True
    units: Mapping[str, int] = field(default_factory=lambda: dict(DEFAULT_UNITS))
    max_batch: int = 1
    whole_series: bool = False
    refusal: Callable[[str], str | None] = accept_every_prompt
