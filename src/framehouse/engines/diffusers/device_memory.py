"""Estimate how much memory a model needs with each combination of options, and check whether a device has enough.

The estimates are based on the sizes of the weights and on the sizes of the tensors of one step and of one decoding.
`scripts/measure_work_memory.py` measures these tensors without a GPU. The estimates were not compared with a GPU.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from framehouse.engines.diffusers.diffusers_options import DiffusersOptions
from framehouse.engines.diffusers.loras import Lora, LoraMissing
from framehouse.engines.diffusers.model_defaults import ModelDefaults
from framehouse.engines.interface import HealthCheck

GB = 1e9
PIXELS_1K = 1024 * 1024
_DENOISE_GB = 0.6
"""The tensors of one step, per image and per 1024x1024 pixels. Measured: FLUX.2 klein 4B 0.6, Z-Image 0.6, Qwen-Image
0.4."""
TILED_DECODE_GB = 1.7
"""The tensors for decoding an image in tiles, for images of any size. Measured: FLUX.2 1.6, Qwen-Image 0.3."""
_OTHER_GB = 0.9
"""An allowance for the CUDA context, the workspaces of libraries and unused parts of allocated blocks. Not measured."""
_SEQUENTIAL_GB = 1.5
_BFLOAT_CAPABILITY = 8.0
_BITS = {"fp8": 8, "int8": 8, "nf4": 5, "int4": 5}
"""The average number of bits per parameter. With 4-bit formats, scales and layers that stay at 16 bits are added."""
_TRANSFORMERS = ("transformer", "unet")
_TEXT_ENCODERS = ("text_encoder",)
QUANTIZED_PARTS = {
    "fp8": _TRANSFORMERS,
    "int8": _TRANSFORMERS + _TEXT_ENCODERS,
    "nf4": _TRANSFORMERS + _TEXT_ENCODERS,
    "int4": _TRANSFORMERS + _TEXT_ENCODERS,
}
"""The parts of a pipeline whose weights each value of the option `quantize` changes."""

PACKAGES = {"nf4": "pip install bitsandbytes"}
"""The commands that install the packages that a value of the option `quantize` needs, if the extra does not contain
them."""


@dataclass(frozen=True, slots=True)
class Combination:
    """Values of the options `quantize` and `offload`."""

    quantize: str | None = None
    offload: str | None = None

    @property
    def toml(self) -> list[str]:
        """The options as they are written in `framehouse.toml`."""
        return [f'quantize = "{self.quantize}"'] * bool(self.quantize) + [f'offload = "{self.offload}"'] * bool(
            self.offload
        )


COMBINATIONS = tuple(
    Combination(quantize, offload)
    for offload in (None, "model", "sequential")
    for quantize in ((None, "int8", "fp8", "nf4", "int4") if offload != "sequential" else (None,))
)
"""All combinations, the fastest first. Weights that stay on the GPU are faster than weights that move to it. Weights
with more bits are preferred, because they change the images less. The speed was not measured."""


@dataclass(frozen=True, slots=True)
class Needs:
    """The estimated memory in GB that a model needs on a device: for its weights, and for its work.

    `ram_gb` is the memory of the machine that offloaded weights need. 0 means that no weights are offloaded.
    """

    weights_gb: float
    work_gb: float
    ram_gb: float = 0.0

    @property
    def total_gb(self) -> float:
        return self.weights_gb + self.work_gb


def part_sizes(defaults: ModelDefaults, parameter_counts: Mapping[str, int]) -> dict[str, float]:
    """Return the size of each part in GB at 16 bits per parameter. The result is empty if the sizes are unknown.

    `parameter_counts` contains the number of parameters of each part. If it is empty, the sizes in `defaults` are
    returned as the sizes of the transformer and the text encoder.
    """
    if parameter_counts:
        return {part: count * 2 / GB for part, count in parameter_counts.items()}
    if not defaults.all_gb:
        return {}
    return {"transformer": defaults.largest_gb, "text_encoder": defaults.all_gb - defaults.largest_gb}


def estimate_needs(
    parts: Mapping[str, float],
    combination: Combination,
    *,
    decode_gb: float,
    dtype: str = "bfloat16",
    gguf_gb: float = 0.0,
    lora_gb: float = 0.0,
    images: int = 1,
    pixels: int = PIXELS_1K,
    tiled: bool = False,
) -> Needs:
    """Return the estimated memory that a call needs.

    `images` is the number of images in the call, and `pixels` is the number of pixels of each image. The images of a
    call are decoded one after the other. `decode_gb` is the memory for decoding an image of 1024x1024 pixels. If
    `tiled` is true, images are decoded in tiles. `gguf_gb` is the size of a GGUF file that replaces the transformer's
    weights. `lora_gb` is the size of the LoRAs, which belong to the transformer.
    """
    scale = 2 if dtype == "float32" else 1
    quantized = QUANTIZED_PARTS.get(combination.quantize or "", ())
    bits = _BITS.get(combination.quantize or "", 16)
    sizes = {part: gb * (bits / 16 if part in quantized else scale) for part, gb in parts.items()}
    if gguf_gb:
        sizes["transformer"] = gguf_gb
    if lora_gb:
        sizes["transformer"] = sizes.get("transformer", 0.0) + lora_gb
    denoise = _DENOISE_GB * scale * images * pixels / PIXELS_1K
    decode = decode_gb * scale * pixels / PIXELS_1K
    if tiled:
        decode = min(decode, TILED_DECODE_GB * scale)
    match combination.offload:
        case "model":  # only the part that works is on the device
            weights = max(sizes.values())
            peak = max(weights + denoise, decode)
        case "sequential":
            weights = _SEQUENTIAL_GB
            peak = weights + max(denoise, decode)
        case _:
            weights = sum(sizes.values())
            peak = weights + max(denoise, decode)
    ram_gb = sum(sizes.values()) if combination.offload else 0.0
    return Needs(weights, peak - weights + _OTHER_GB, ram_gb)


@dataclass(frozen=True, slots=True)
class Fit:
    """How a combination of options fits on a device: `fits`, and whether images are then decoded in tiles."""

    combination: Combination
    needs: Needs
    fits: bool
    tiled: bool = False


def fit(
    parts: Mapping[str, float],
    combination: Combination,
    available_gb: float,
    *,
    ram_gb: float = 0.0,
    **work: Any,
) -> Fit:
    """Return how a combination of options fits into `available_gb`. `work` contains the arguments of `estimate_needs`.

    `ram_gb` is the memory of the machine, or 0 if unknown. Images are decoded in tiles only if they do not fit
    otherwise.
    """
    whole = estimate_needs(parts, combination, **work)
    enough_ram = not ram_gb or whole.ram_gb <= ram_gb
    if whole.total_gb <= available_gb:
        return Fit(combination, whole, enough_ram)
    tiled = estimate_needs(parts, combination, tiled=True, **work)
    if tiled.total_gb <= available_gb:
        return Fit(combination, tiled, enough_ram, tiled=True)
    return Fit(combination, tiled if tiled.total_gb < whole.total_gb else whole, fits=False)


def combinations_for(device: str) -> tuple[Combination, ...]:
    """Return the combinations that a kind of device supports. `device` is its id, such as "cuda:0", "mps" or "cpu"."""
    if device.startswith("cuda"):
        return COMBINATIONS
    return tuple(one for one in COMBINATIONS if not one.offload and one.quantize in (None, "int8"))


def largest_batch(
    parts: Mapping[str, float], combination: Combination, available_gb: float, batch: int, **work: Any
) -> int:
    """Return the largest number of images per call, at most `batch`, that fits into `available_gb`, or 0."""
    for images in range(batch, 0, -1):
        if fit(parts, combination, available_gb, images=images, **work).fits:
            return images
    return 0


def max_whole_pixels(free_bytes: float, decode_gb: float, dtype: str) -> int:
    """Return the number of pixels of the largest image that can be decoded in one piece in `free_bytes`.

    Larger images must be decoded in tiles. See `estimate_needs` for `decode_gb`.
    """
    return int(free_bytes / GB / (decode_gb * (2 if dtype == "float32" else 1)) * PIXELS_1K)


def available_memory(device: Mapping[str, Any], loaded_gb: float) -> float:
    """Return the memory in GB that the routes of this process can use on a device.

    `device` is an entry of the result of `child.probe`. `loaded_gb` is the estimated memory that models of this process
    already used when the device was probed. This memory was not free, but it belongs to these routes.
    """
    total = float(device["memory_bytes"]) / GB
    if "free_bytes" not in device:
        return total
    return min(total, float(device["free_bytes"]) / GB + loaded_gb)


def _work(options: DiffusersOptions) -> tuple[Combination, dict[str, Any]]:
    """Return the combination of a route, and the arguments of `estimate_needs` that depend on the route."""
    combination = Combination(options.quantize, options.offload)
    return combination, {
        "decode_gb": options.defaults.decode_gb,
        "dtype": options.dtype,
        "gguf_gb": _file_gb(options.gguf),
        "lora_gb": sum(_lora_gb(lora) for lora in options.loras),
    }


def _lora_gb(lora: Lora) -> float:
    try:
        return _file_gb(str(lora.find_file()))
    except LoraMissing:
        return 0.0


def _file_gb(path: str | None) -> float:
    """Return the size of a file in GB, or 0 if there is no file."""
    try:
        return Path(path).stat().st_size / GB if path else 0.0
    except OSError:
        return 0.0


def route_needs(parts: Mapping[str, float], options: DiffusersOptions) -> Needs:
    """Return the estimated memory that a route needs for one image at 1k per call."""
    combination, work = _work(options)
    return estimate_needs(parts, combination, **work)


def check_device(
    device: Mapping[str, Any],
    options: DiffusersOptions,
    parts: Mapping[str, float],
    *,
    ram_bytes: float = 0,
    loaded_gb: float = 0.0,
    others: Sequence[tuple[str, float]] = (),
    loaded: bool = False,
) -> HealthCheck:
    """Check whether a device has enough memory for the route's model and options. If not, suggest other options.

    `device` is an entry of the result of `child.probe`. `ram_bytes` is the memory of the machine, or 0 if unknown. See
    `available_memory` for `loaded_gb`. `others` contains the models of other routes that use the device, with the
    memory that each of them needs. `loaded` is true if the device has loaded the model of this route.
    """
    name, total_gb = str(device["id"]), device["memory_bytes"] / GB
    available_gb = available_memory(device, loaded_gb)
    description = f"{device['name']}, {total_gb:.0f} GB"
    if round(available_gb) < round(total_gb):
        description += f", of which other programs use {total_gb - available_gb:.0f} GB"
    if not parts:
        unknown = f"{description}; it is not known how much memory {options.model_name} needs"
        return HealthCheck(name, ok=True, reason=unknown)
    combination, work = _work(options)
    needs = estimate_needs(parts, combination, **work)
    offload = f'offload = "{options.offload}"' if options.offload else None
    settings = ", ".join(filter(None, [options.dtype, options.quantize, offload]))
    text = f"{options.model_name} with {settings} needs about {needs.total_gb:.0f} GB"
    if loaded:
        return HealthCheck(name, ok=True, reason=f"{description}; {text}, and is loaded")
    if not fit(parts, combination, available_gb, **work).fits:
        advice = _smaller_settings(name, parts, available_gb, ram_bytes / GB, work)
        lacks = "than the device has" if available_gb == total_gb else "than is free"
        return HealthCheck(name, ok=False, reason=f"{description}; {text}, which is more {lacks}", advice=advice)
    if needs.ram_gb and ram_bytes and needs.ram_gb > ram_bytes / GB:
        too_little = f"{description}; offload stores {options.model_name} in RAM, and "
        too_little += f"{ram_bytes / GB:.0f} GB of RAM is not enough"
        advice = "Choose a smaller model" + (", or set quantize." if options.quantize is None else ".")
        return HealthCheck(name, ok=False, reason=too_little, advice=advice)
    if others and needs.total_gb + sum(gb for _, gb in others) > available_gb:
        rest = " and ".join(f"{model} (about {gb:.0f} GB)" for model, gb in others)
        left_gb = available_gb - sum(gb for _, gb in others)
        advice = _smaller_settings(name, parts, left_gb, ram_bytes / GB, work)
        reason = f"{description}; {text}, which does not fit together with {rest} of other routes"
        return HealthCheck(name, ok=False, reason=reason, advice=f"{advice} Or use another device for one of them.")
    if name == "cpu":
        slow = "A large model takes many minutes per image on a CPU"
        return HealthCheck(name, ok=True, reason=f"{description}; {text}. {slow}")
    left_gb = available_gb - sum(gb for _, gb in others)
    images = largest_batch(parts, combination, left_gb, options.batch, **work)
    hints = []
    if images < options.batch:
        hints.append(f"Set batch = {max(1, images)}, because more images at 1k per call do not fit.")
    if device.get("capability") and float(device["capability"]) < _BFLOAT_CAPABILITY and options.dtype == "bfloat16":
        hints.append('dtype = "float16" is faster on this GPU.')
    return HealthCheck(name, ok=True, reason=f"{description}; {text}", advice=" ".join(hints))


def _smaller_settings(
    device: str, parts: Mapping[str, float], available_gb: float, ram_gb: float, work: dict[str, Any]
) -> str:
    """Suggest the fastest settings with which the model needs at most `available_gb`, or suggest a smaller model."""
    if work["dtype"] == "float32":
        return 'Set dtype = "bfloat16", which halves the required memory.'
    for combination in combinations_for(device):
        if fit(parts, combination, available_gb, ram_gb=ram_gb, **work).fits:
            if not combination.toml:
                return "Remove quantize and offload."
            install = f", and run: {PACKAGES[combination.quantize]}" if combination.quantize in PACKAGES else "."
            return f"Set {' and '.join(combination.toml)}{install}"
    return "Choose a smaller model; `framehouse models plan` shows what each model needs."
