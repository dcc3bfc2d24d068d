"""The properties of a model that clients can see."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from framehouse.domain.pricing import DEFAULT_UNITS
from framehouse.domain.sizes import RESOLUTIONS


def accept_every_prompt(prompt: str) -> str | None:
    """Accept every prompt. This function is the default of `Abilities.refusal`."""
    return None


@dataclass(frozen=True, slots=True)
class Model:
    """A configured model as clients see it. The registry contains the engines that generate the model's images.

    `units` contains the price of one image for each resolution. `max_batch`, `whole_series` and `refusal` are abilities
    of the model's first engine (`engines.interface.Abilities`).
    """

    name: str
    resolutions: tuple[str, ...] = RESOLUTIONS
    series: bool = True
    units: Mapping[str, int] = field(default_factory=lambda: dict(DEFAULT_UNITS))
    max_batch: int = 1
    whole_series: bool = False
    refusal: Callable[[str], str | None] = accept_every_prompt
