"""Plan the options with which a model fits into the memory of a GPU."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from framehouse.domain.sizes import SCALES
from framehouse.engines.diffusers.device_memory import (
    PIXELS_1K,
    Combination,
    Fit,
    combinations_for,
    fit,
    largest_batch,
    part_sizes,
)
from framehouse.engines.diffusers.diffusers_options import public_name
from framehouse.engines.diffusers.model_defaults import KNOWN_MODELS, ModelDefaults, defaults_for
from framehouse.engines.diffusers.weights import find_weights

DEFAULT_BATCH = 4
"""The default of the option `batch`."""


class UnknownSize(Exception):
    """Raised when the size of a model is unknown. The message says how the size can become known."""


@dataclass(frozen=True, slots=True)
class ModelSize:
    """The sizes of a model's parts (see `part_sizes`), its defaults, and the class of its pipeline if it is known.

    `from_files` is true if the sizes were calculated from the files on this machine.
    """

    parts: Mapping[str, float]
    defaults: ModelDefaults
    pipeline: str
    from_files: bool


@dataclass(frozen=True, slots=True)
class PlanRow:
    """How a combination of options fits with the planned number of images per call (`fit`).

    `batch` is the largest number of images per call that fits, at most the planned number. 0 means that the
    combination does not fit.
    """

    fit: Fit
    batch: int

    @property
    def combination(self) -> Combination:
        return self.fit.combination


def model_size(model: str, revision: str = "main") -> ModelSize:
    """Return the sizes of a repository or a folder, from the headers of its files or else from the known models.

    Raises UnknownSize.
    """
    weights = find_weights(model, revision)
    complete = weights if weights and not weights.missing else None
    pipeline = complete.pipeline if complete else ""
    defaults = defaults_for(model, pipeline)
    counts = complete.parameter_counts if complete else {}
    known = next((one for name, one in KNOWN_MODELS.items() if name.lower() == model.lower()), None)
    if not counts and not known:
        reason = "it is not on this machine" if weights is None else "its files contain no weights"
        if weights and weights.missing:
            reason = f"{weights.missing} is missing"
        advice = "" if Path(model).is_absolute() else f"; run: framehouse models pull {model}"
        raise UnknownSize(f"The size of {public_name(model)} is unknown, because {reason}{advice}")
    return ModelSize(part_sizes(defaults, counts), defaults, pipeline, bool(counts))


def pixels_of(resolution: str, max_pixels: int) -> int:
    """Return the number of pixels that a model generates for a resolution. A larger image is upscaled."""
    return min(PIXELS_1K * SCALES[resolution] ** 2, max_pixels)


def plan_rows(size: ModelSize, available_gb: float, *, batch: int, pixels: int, device: str = "cuda") -> list[PlanRow]:
    """Return a row for each combination of options that the device supports, the fastest first."""
    work: dict[str, Any] = {"decode_gb": size.defaults.decode_gb, "pixels": pixels}
    return [
        PlanRow(
            fit(size.parts, combination, available_gb, images=batch, **work),
            largest_batch(size.parts, combination, available_gb, batch, **work),
        )
        for combination in combinations_for(device)
    ]


def best_row(rows: list[PlanRow]) -> PlanRow | None:
    """Return the fastest row that fits: with the planned number of images per call, or else with fewer images."""
    return next((row for row in rows if row.fit.fits), None) or next((row for row in rows if row.batch), None)


def route_toml(model: str, row: PlanRow, batch: int) -> str:
    """Return the lines for `framehouse.toml` that configure a route with the options of a row.

    `batch` is the planned number of images per call.
    """
    images = min(batch, row.batch)
    options = ['engine = "diffusers"', f'model = "{model}"', *row.combination.toml]
    options += [f"batch = {images}"] * (images != DEFAULT_BATCH)
    return f'[models."kling-v3-omni"]\nroutes = [{{ {", ".join(options)} }}]'
