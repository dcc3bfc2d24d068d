"""The options of a `fal` route. The error for an invalid option names the option."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from framehouse.engines.fal.fal_arguments import DEFAULT_ARGUMENTS, placeholders_in
from framehouse.engines.option_checks import (
    BadOption,
    check_bool,
    check_cite,
    check_integer,
    check_key,
    check_number,
    check_url,
)

_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(?:/[A-Za-z0-9][A-Za-z0-9._-]*){1,7}")
_MAX_MODEL_CHARACTERS = 200


@dataclass(frozen=True, slots=True, repr=False)
class FalOptions:
    """The checked options of a route.

    This class has no generated `__repr__` method, because its result would contain the API key.
    """

    model: str
    edit_model: str
    api_key: str
    arguments: Mapping[str, Any]
    uses: frozenset[str]
    max_references: int
    max_images: int
    max_pixels: int
    concurrency: int
    cite: str
    upload_above_bytes: int
    answer_s: float
    queue_url: str
    storage_url: str
    allow_private_addresses: bool
    convert_colours: bool


def check_options(
    *,
    api_key: object,
    model: object = "",
    edit_model: object = "",
    arguments: object = DEFAULT_ARGUMENTS,
    max_references: object = None,
    max_images: object = 4,
    max_pixels: object = 2048 * 2048,
    concurrency: object = 8,
    cite: object = "image {}",
    upload_above_bytes: object = 1_000_000,
    answer_s: object = 60,
    queue_url: object = "https://queue.fal.run",
    storage_url: object = "https://rest.fal.ai",
    allow_private_addresses: object = False,
    convert_colours: object = True,
) -> FalOptions:
    """Check the options of a route from the configuration. docs/engines/fal.md explains the options.

    Raises BadOption.
    """
    text_model, reference_model = _check_model("model", model), _check_model("edit_model", edit_model)
    if not text_model and not reference_model:
        raise BadOption("a route needs the option model, the option edit_model, or both")
    if not isinstance(arguments, Mapping):
        raise BadOption('arguments must be a table, such as { prompt = "{prompt}" }')
    uses = frozenset(placeholders_in(arguments))
    if "prompt" not in uses:
        raise BadOption('arguments must contain the placeholder {prompt}, such as prompt = "{prompt}"')
    largest = 100 if "image_urls" in uses else 1 if "image_url" in uses else 0
    if reference_model and not largest:
        raise BadOption("edit_model needs arguments that contain the placeholder {image_urls} or {image_url}")
    default = min(4, largest) if reference_model else 0
    limit = check_integer("max_references", default if max_references is None else max_references, 0, 100)
    if limit > largest or (limit > 0) != bool(reference_model):
        raise BadOption(
            f"max_references is {limit}, but must be from 1 to {largest} for these arguments"
            if reference_model
            else "max_references must be 0 if there is no edit_model"
        )
    return FalOptions(
        model=text_model,
        edit_model=reference_model,
        api_key=check_key("api_key", api_key),
        arguments=arguments,
        uses=uses,
        max_references=limit,
        max_images=check_integer("max_images", max_images, 1, 9) if "count" in uses else 1,
        max_pixels=check_integer("max_pixels", max_pixels, 65_536, 100_000_000),
        concurrency=check_integer("concurrency", concurrency, 1, 1000),
        cite=check_cite(cite),
        upload_above_bytes=check_integer("upload_above_bytes", upload_above_bytes, 0, 10_000_000),
        answer_s=check_number("answer_s", answer_s, 0.1, 3600),
        queue_url=check_url("queue_url", queue_url),
        storage_url=check_url("storage_url", storage_url),
        allow_private_addresses=check_bool("allow_private_addresses", allow_private_addresses, False),
        convert_colours=check_bool("convert_colours", convert_colours, True),
    )


def _check_model(name: str, value: object) -> str:
    model = value.strip("/") if isinstance(value, str) else None
    if model is None or (model and (not _MODEL.fullmatch(model) or len(model) > _MAX_MODEL_CHARACTERS)):
        raise BadOption(f'{name} must be the name of a model on fal, such as "fal-ai/flux/dev"')
    return model
