"""Estimate whether a device has enough memory for a model.

The estimates are based on the sizes of the weights, and on numbers that the authors of the models have published. The
estimates are not based on measurements.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from framehouse.engines.diffusers.diffusers_options import DiffusersOptions
from framehouse.engines.diffusers.model_defaults import ModelDefaults
from framehouse.engines.interface import HealthCheck

_GB = 1e9
_WORK_GB = 2.5
"""The memory that a device needs for one image at 1k resolution, in addition to the weights."""
_SEQUENTIAL_GB = 1.5
_BFLOAT_CAPABILITY = 8.0


@dataclass(frozen=True, slots=True)
class WeightSize:
    """The total size of a model's parts and the size of its largest part, in GB, at 16 bits per parameter. 0 means
    unknown."""

    all_gb: float
    largest_gb: float


def weight_size(defaults: ModelDefaults, parameter_counts: Mapping[str, int]) -> WeightSize:
    """Return the size of the weights, calculated from the number of parameters of each part (`parameter_counts`).

    If `parameter_counts` is empty, the size in `defaults` is returned.
    """
    if not parameter_counts:
        return WeightSize(defaults.all_gb, defaults.largest_gb)
    counts = parameter_counts.values()
    return WeightSize(sum(counts) * 2 / _GB, max(counts) * 2 / _GB)


def needed_gb(size: WeightSize, *, dtype: str, quantize: str | None, offload: str | None) -> float:
    """Return the estimated memory in GB that a device needs with these options. Returns 0 if the size is unknown."""
    if not size.all_gb:
        return 0.0
    factor = 2 if dtype == "float32" else 1
    total, largest = size.all_gb * factor, size.largest_gb * factor
    if quantize == "int8":
        total, largest = total / 2, largest / 2
    elif quantize == "fp8":  # fp8 applies only to the transformer, which is the largest part
        total, largest = total - largest / 2, max(largest / 2, total - largest)
    if offload == "sequential":
        return _SEQUENTIAL_GB + _WORK_GB
    return (largest if offload else total) + _WORK_GB


def check_device(
    device: Mapping[str, Any], options: DiffusersOptions, size: WeightSize, *, ram_bytes: float = 0
) -> HealthCheck:
    """Check whether a device has enough memory for the route's model and options. If not, suggest other options.

    `device` is an entry of the result of `child.probe`. `ram_bytes` is the memory of the machine, or 0 if unknown.
    """
    name, has_gb = str(device["id"]), device["memory_bytes"] / _GB
    description = f"{device['name']}, {has_gb:.0f} GB"
    needs_gb = needed_gb(size, dtype=options.dtype, quantize=options.quantize, offload=options.offload)
    if not needs_gb:
        unknown = f"{description}; it is not known how much memory {options.model_name} needs"
        return HealthCheck(name, ok=True, reason=unknown)
    offload = f'offload = "{options.offload}"' if options.offload else None
    settings = ", ".join(filter(None, [options.dtype, options.quantize, offload]))
    needs = f"{options.model_name} with {settings} needs about {needs_gb:.0f} GB"
    if needs_gb > has_gb:
        advice = _smaller_settings(device, size, options.dtype, has_gb)
        return HealthCheck(
            name, ok=False, reason=f"{description}; {needs}, which is more than the device has", advice=advice
        )
    if options.offload and ram_bytes and size.all_gb > ram_bytes / _GB:
        too_little = f"{description}; offload stores {options.model_name} in RAM, and "
        too_little += f"{ram_bytes / _GB:.0f} GB of RAM is not enough"
        return HealthCheck(name, ok=False, reason=too_little, advice="Choose a smaller model, or set quantize.")
    if name == "cpu":
        slow = "A large model takes many minutes per image on a CPU"
        return HealthCheck(name, ok=True, reason=f"{description}; {needs}. {slow}")
    old = device.get("capability") and float(device["capability"]) < _BFLOAT_CAPABILITY
    advice = 'dtype = "float16" is faster on this GPU.' if old and options.dtype == "bfloat16" else ""
    return HealthCheck(name, ok=True, reason=f"{description}; {needs}", advice=advice)


def _smaller_settings(device: Mapping[str, Any], size: WeightSize, dtype: str, has_gb: float) -> str:
    """Suggest the fastest settings with which the model needs at most `has_gb` GB, or suggest a smaller model."""
    if dtype == "float32":
        return 'Set dtype = "bfloat16", which halves the required memory.'
    settings: list[tuple[str | None, str | None]] = [("int8", None)]
    if device["id"] not in ("cpu", "mps"):
        settings = [(None, "model"), ("int8", None), ("fp8", "model"), ("int8", "model"), (None, "sequential")]
    for quantize, offload in settings:
        if needed_gb(size, dtype=dtype, quantize=quantize, offload=offload) <= has_gb:
            options = [f'quantize = "{quantize}"'] * bool(quantize) + [f'offload = "{offload}"'] * bool(offload)
            return f"Set {' and '.join(options)}."
    return "Choose a smaller model; docs/diffusers.md lists the models that each GPU can run."
