"""Whether a device can paint with a model: by what weights weigh and what painters publish, not by measurement."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from framehouse.engines.diffusers.diffusers_options import Options
from framehouse.engines.diffusers.model_defaults import Known
from framehouse.engines.interface import HealthCheck

_GB = 1e9
_WORK_GB = 2.5
"""Besides the weights, for one image at 1k."""
_SEQUENTIAL_GB = 1.5
_BFLOAT_CAPABILITY = 8.0


@dataclass(frozen=True, slots=True)
class Weight:
    """What a model's weights weigh in 16 bits: all of them, and the largest part. 0: not known."""

    all_gb: float
    largest_gb: float


def weight_of(known: Known, numbers: Mapping[str, int]) -> Weight:
    """By the numbers in the parts that are here, or, where none are, by the table."""
    if not numbers:
        return Weight(known.all_gb, known.largest_gb)
    return Weight(sum(numbers.values()) * 2 / _GB, max(numbers.values()) * 2 / _GB)


def needed_gb(weight: Weight, *, dtype: str, quantize: str | None, offload: str | None) -> float:
    """About how much memory a device needs for them, stored and kept as said; 0 where nothing is known."""
    if not weight.all_gb:
        return 0.0
    twice = 2 if dtype == "float32" else 1
    whole, largest = weight.all_gb * twice, weight.largest_gb * twice
    if quantize == "int8":
        whole, largest = whole / 2, largest / 2
    elif quantize == "fp8":  # the transformer alone, which is the largest part
        whole, largest = whole - largest / 2, max(largest / 2, whole - largest)
    if offload == "sequential":
        return _SEQUENTIAL_GB + _WORK_GB
    return (largest if offload else whole) + _WORK_GB


def judge(device: Mapping[str, Any], options: Options, weight: Weight, *, ram_bytes: float = 0) -> HealthCheck:
    """Whether a device, as its process describes it, is large enough for the route's model and settings, and what to
    set if not."""
    name, has_gb = str(device["id"]), device["memory_bytes"] / _GB
    what = f"{device['name']}, {has_gb:.0f} GB"
    needs_gb = needed_gb(weight, dtype=options.dtype, quantize=options.quantize, offload=options.offload)
    if not needs_gb:
        return HealthCheck(name, ok=True, reason=f"{what}; what {options.model_name} needs is not known")
    offload = f'offload = "{options.offload}"' if options.offload else None
    how = ", ".join(filter(None, [options.dtype, options.quantize, offload]))
    needs = f"{options.model_name} in {how} needs about {needs_gb:.0f} GB"
    if needs_gb > has_gb:
        do = _advice(device, weight, options.dtype, has_gb)
        return HealthCheck(name, ok=False, reason=f"{what} is too small: {needs}", advice=do)
    if options.offload and ram_bytes and weight.all_gb > ram_bytes / _GB:
        told = f"{what} would do, but {options.model_name} waits in RAM, and {ram_bytes / _GB:.0f} GB are too little"
        return HealthCheck(name, ok=False, reason=told, advice="Choose a smaller model, or quantize it.")
    if name == "cpu":
        return HealthCheck(
            name, ok=True, reason=f"{what}; {needs}. A large model takes many minutes for each image here"
        )
    slow = device.get("capability") and float(device["capability"]) < _BFLOAT_CAPABILITY
    if slow and options.dtype == "bfloat16":
        return HealthCheck(name, ok=True, reason=f"{what}; {needs}", advice='dtype = "float16" is faster on this card.')
    return HealthCheck(name, ok=True, reason=f"{what}; {needs}")


def _advice(device: Mapping[str, Any], weight: Weight, dtype: str, has_gb: float) -> str:
    """The first setting, from the fastest to the slowest, with which it fits."""
    if dtype == "float32":
        return 'Set dtype = "bfloat16", which halves it.'
    ways: list[tuple[str | None, str | None]] = [("int8", None)]
    if device["id"] not in ("cpu", "mps"):
        ways = [(None, "model"), ("int8", None), ("fp8", "model"), ("int8", "model"), (None, "sequential")]
    for quantize, offload in ways:
        if needed_gb(weight, dtype=dtype, quantize=quantize, offload=offload) <= has_gb:
            told = [f'quantize = "{quantize}"'] * bool(quantize) + [f'offload = "{offload}"'] * bool(offload)
            return f"Set {' and '.join(told)}."
    return "Choose a smaller model; docs/diffusers.md says what fits where."
