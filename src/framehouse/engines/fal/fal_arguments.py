"""Fill in the arguments of a model.

A route specifies the arguments as a table. A text that consists of one placeholder, such as "{width}", is replaced with
a value of the right type. Placeholders in longer texts, such as "{width}x{height}", are replaced with text.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from framehouse.domain.sizes import Size, nearest_ratio, resolution_for
from framehouse.engines.option_checks import BadOption

DEFAULT_ARGUMENTS: Mapping[str, Any] = {
    "prompt": "{prompt}",
    "image_size": {"width": "{width}", "height": "{height}"},
    "num_images": "{count}",
    "seed": "{seed}",
    "image_urls": "{image_urls}",
}
"""The arguments of models that are built with fal's toolkit, such as FLUX."""
_PLACEHOLDERS = (
    "prompt",
    "negative_prompt",
    "width",
    "height",
    "aspect_ratio",
    "resolution",
    "count",
    "seed",
    "image_url",
    "image_urls",
)
_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")
_MAX_SEED = 2**31 - 1


def placeholders_in(arguments: object) -> set[str]:
    """Return the names of all placeholders in the arguments. Raises BadOption for an unknown placeholder."""
    if isinstance(arguments, str):
        names = set(_PLACEHOLDER.findall(arguments))
        if unknown := sorted(names - set(_PLACEHOLDERS)):
            known = ", ".join(f"{{{name}}}" for name in _PLACEHOLDERS)
            raise BadOption(f"arguments contain the unknown placeholder {{{unknown[0]}}}; the placeholders are {known}")
        return names
    values = arguments.values() if isinstance(arguments, Mapping) else arguments if isinstance(arguments, list) else ()
    return set().union(*map(placeholders_in, values))


def placeholder_values(
    *, prompt: str, negative_prompt: str, size: Size, count: int, seed: int, urls: Sequence[str]
) -> dict[str, object]:
    """Return the value of each placeholder. A value is None if the task has no such value."""
    return {
        "prompt": prompt,
        "negative_prompt": negative_prompt or None,
        "width": size.width,
        "height": size.height,
        "aspect_ratio": nearest_ratio(*size),
        "resolution": resolution_for(size).upper(),
        "count": count,
        "seed": seed & _MAX_SEED,
        "image_url": urls[0] if urls else None,
        "image_urls": list(urls) or None,
    }


def fill_in(arguments: Any, values: Mapping[str, object]) -> Any:
    """Return the arguments with their placeholders replaced. Arguments without a value are omitted."""
    if isinstance(arguments, Mapping):
        filled = {name: fill_in(argument, values) for name, argument in arguments.items()}
        return {name: value for name, value in filled.items() if value is not None}
    if isinstance(arguments, list):
        return [value for argument in arguments if (value := fill_in(argument, values)) is not None]
    if not isinstance(arguments, str):
        return arguments
    if match := _PLACEHOLDER.fullmatch(arguments):
        return values[match[1]]
    return _PLACEHOLDER.sub(lambda match: str("" if values[match[1]] is None else values[match[1]]), arguments)
