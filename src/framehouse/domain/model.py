"""The properties of a model that clients can see."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from framehouse.domain.pricing import DEFAULT_UNITS
from framehouse.domain.sizes import RESOLUTIONS
from framehouse.domain.task_kind import TASK_KINDS, TaskKind


def accept_every_prompt(prompt: str) -> str | None:
    """Accept every prompt. This function is the default of `Abilities.refusal`."""
    return None


@dataclass(frozen=True, slots=True)
class Model:
    """A configured model as clients see it.

    The engines that generate the model's images are in `engines.registry.Registry`.

    A request can contain one of the `aliases` instead of the name. `units` contains the price of one image for each
    resolution. `kinds` contains the kinds of tasks that the model supports. `max_batch`, `whole_series` and `refusal`
    are abilities of the model's first engine (`engines.interface.Abilities`). `expansions` is true if one of the
    model's engines can expand images, and `masks` is true if one of them can edit an image with a mask.
    """

    name: str
    resolutions: tuple[str, ...] = RESOLUTIONS
    series: bool = True
    units: Mapping[str, int] = field(default_factory=lambda: dict(DEFAULT_UNITS))
    max_batch: int = 1
    whole_series: bool = False
    refusal: Callable[[str], str | None] = accept_every_prompt
    aliases: tuple[str, ...] = ()
    kinds: tuple[TaskKind, ...] = TASK_KINDS
    expansions: bool = True
    masks: bool = True


class Catalog:
    """The configured models.

    `default` is the name or an alias of the model that is used if a request to the endpoint `omni-image` names no
    model. If `default` is empty, such a request is refused. For the other endpoints, see `request_fields.read_model`.
    Raises ValueError if `default` is set but no model has this name or alias. Also raises ValueError if an alias of a
    model is also the name or an alias of another model.
    """

    def __init__(self, models: Iterable[Model], default: str = "") -> None:
        self._by_name = {model.name: model for model in models}
        self._by_folded_name = {name.casefold(): model for name, model in reversed(self._by_name.items())}
        for model in self._by_name.values():
            for alias in model.aliases:
                if self._by_folded_name.setdefault(alias.casefold(), model) is not model:
                    raise ValueError(f'the alias "{alias}" of {model.name} is also a name of another model')
        self.default = self.find(default) if default else None
        if default and self.default is None:
            raise ValueError(f'default_model "{default}" is not a configured model')

    @property
    def models(self) -> tuple[Model, ...]:
        return tuple(self._by_name.values())

    def find(self, name: str) -> Model | None:
        """Return the model with this name or alias, or None if there is no such model.

        The lookup ignores case, but an exact match with a model's name takes precedence.
        """
        return self._by_name.get(name) or self._by_folded_name.get(name.casefold())
