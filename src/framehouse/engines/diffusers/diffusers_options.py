"""The options of a `diffusers` route, and functions that check these options."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from framehouse.engines.diffusers.loras import Lora, check_loras
from framehouse.engines.diffusers.model_defaults import DEFAULT_MODEL, MAX_REFERENCES, ModelDefaults, defaults_for
from framehouse.engines.diffusers.weights import REPOSITORY, find_weights
from framehouse.engines.option_checks import BadOption, as_json, check_cite, check_integer, check_number

AUTO = "auto"
DTYPES = ("bfloat16", "float16", "float32")
QUANTIZE = ("fp8", "int8", "nf4", "int4")
FOUR_BITS = ("nf4", "int4")
OFFLOAD = ("model", "sequential")
_MAX_PIXELS = 8192 * 8192
"""The largest allowed value of the option `max_pixels`. No task requests a larger image."""


@dataclass(frozen=True, slots=True)
class DiffusersOptions:
    """The options of a route. Each omitted option has the model's default value.

    `docs/engines/diffusers.md` explains the options. `devices` is empty for "auto". `max_input_images` is the value of
    the route's option `max_references`. `lora_steps` is the number of steps in the name of a LoRA (see `Lora.steps`).
    """

    model: str
    revision: str
    devices: tuple[str, ...]
    dtype: str
    quantize: str | None
    offload: str | None
    loras: tuple[Lora, ...]
    lora_steps: int | None
    gguf: str | None
    attention: str | None
    compile: bool
    steps: int | None
    guidance: float | None
    max_input_images: int
    max_pixels: int
    cite: str
    negative_prompt: str | None
    batch: int
    upscaler: str | None
    preload: bool
    unload_after_s: float
    repeat_below: float
    start_limit_s: float
    hang_limit_s: float
    defaults: ModelDefaults

    @property
    def max_references(self) -> int:
        """The largest number of references per task, which is not the value of the route's option `max_references`.

        If a task has more references than `max_input_images`, the last references share one contact sheet (see
        `arrange_images`).
        """
        return MAX_REFERENCES if self.max_input_images else 0

    @property
    def negative_prompts(self) -> bool:
        """True if the pipeline uses negative prompts.

        The pipeline must accept negative prompts, and the guidance must be above the threshold of the pipeline.
        """
        guidance = self.defaults.class_guidance if self.guidance is None else self.guidance
        return self.defaults.negative_prompts and (guidance is None or guidance > self.defaults.guidance_threshold)

    @property
    def model_name(self) -> str:
        return public_name(self.model)


def check_options(
    *,
    model: str = DEFAULT_MODEL,
    revision: str = "main",
    devices: object = AUTO,
    dtype: str = "bfloat16",
    quantize: str | None = None,
    offload: str | None = None,
    loras: object = (),
    gguf: str | None = None,
    attention: str | None = None,
    compile: bool = False,
    steps: int | None = None,
    guidance: float | None = None,
    max_references: int | None = None,
    max_pixels: int | None = None,
    cite: str | None = None,
    negative_prompt: str | None = None,
    batch: int = 4,
    upscaler: str | None = None,
    preload: bool = True,
    unload_after_s: float = 0.0,
    repeat_below: float = 0.0,
    start_limit_s: float = 900.0,
    hang_limit_s: float = 600.0,
) -> tuple[DiffusersOptions, set[str]]:
    """Check the options of a route from the configuration. Raises BadOption.

    docs/engines/diffusers.md explains the options. The module `model_defaults` defines the default options for each
    model. Returns the options, and the names of the fields whose options were omitted.
    """
    model = check_model("model", model)
    upscaler = None if upscaler is None else check_model("upscaler", upscaler)
    for name, text in (("revision", revision), ("negative_prompt", negative_prompt)):
        if text is not None and not isinstance(text, str):
            raise BadOption(f"{name} must be text")
    for name, value in (("compile", compile), ("preload", preload)):
        if not isinstance(value, bool):
            raise BadOption(f"{name} must be true or false")
    weights = find_weights(model, revision)
    defaults = defaults_for(model, weights.pipeline if weights else "")
    max_input_images = defaults.max_input_images
    if max_references is not None:
        max_input_images = check_integer("max_references", max_references, 0, MAX_REFERENCES)
    default_pixels = max_pixels is None
    if max_pixels is None:
        max_pixels = defaults.max_pixels
    else:
        max_pixels = check_integer("max_pixels", max_pixels, 1024, _MAX_PIXELS)
    if defaults.needs_reference and not max_input_images:
        raise BadOption(f"max_references must be at least 1: {model} generates only from references")
    if max_input_images > (limit := defaults.input_image_limit):
        reason = "accepts one input image per call" if limit else "generates only from text"
        raise BadOption(f"max_references must be at most {limit}: {model} {reason}")
    if quantize in FOUR_BITS and offload == "sequential":
        raise BadOption(f'offload must be omitted or "model" if quantize is "{quantize}"')
    checked_loras = check_loras(loras)
    if lora_steps := next(filter(None, (lora.steps for lora in checked_loras)), None):
        steps = max(lora_steps, defaults.min_steps) if steps is None else steps
        guidance = 1.0 if guidance is None else guidance
    options = DiffusersOptions(
        model=model,
        revision=revision,
        devices=check_devices(devices),
        dtype=check_choice("dtype", dtype, DTYPES) or DTYPES[0],
        quantize=check_choice("quantize", quantize, QUANTIZE),
        offload=check_choice("offload", offload, OFFLOAD),
        loras=checked_loras,
        lora_steps=lora_steps,
        gguf=check_gguf(gguf, quantize),
        attention=check_attention(attention),
        compile=compile,
        steps=defaults.steps if steps is None else check_integer("steps", steps, defaults.min_steps, 200),
        guidance=defaults.guidance if guidance is None else check_number("guidance", guidance, 0, 30),
        max_input_images=max_input_images,
        max_pixels=max_pixels,
        cite=defaults.cite if cite is None else check_cite(cite),
        negative_prompt=defaults.negative_prompt if negative_prompt is None else negative_prompt,
        batch=check_integer("batch", batch, 1, 64),
        upscaler=upscaler,
        preload=preload,
        unload_after_s=check_number("unload_after_s", unload_after_s, 0, 604_800),
        repeat_below=check_number("repeat_below", repeat_below, 0, 1),
        start_limit_s=check_number("start_limit_s", start_limit_s, 1, 86_400),
        hang_limit_s=check_number("hang_limit_s", hang_limit_s, 1, 86_400),
        defaults=defaults,
    )
    given = {"steps": steps, "guidance": guidance, "max_input_images": max_references, "cite": cite,
             "max_pixels": None if default_pixels else max_pixels, "negative_prompt": negative_prompt}  # fmt: skip
    return options, {name for name, value in given.items() if value is None}


def with_defaults(options: DiffusersOptions, defaults: ModelDefaults, omitted: Collection[str]) -> DiffusersOptions:
    """Replace the default values in the options of a route.

    `omitted` contains the names of the fields whose options were omitted. If the option `max_references` is larger than
    the limit of the pipeline, the limit is used.
    """
    values = {
        "steps": defaults.steps,
        "guidance": defaults.guidance,
        "max_input_images": defaults.max_input_images,
        "max_pixels": defaults.max_pixels,
        "cite": defaults.cite,
        "negative_prompt": defaults.negative_prompt,
    }
    changed: dict[str, Any] = {name: value for name, value in values.items() if name in omitted}
    changed.setdefault("max_input_images", min(options.max_input_images, defaults.input_image_limit))
    return replace(options, defaults=defaults, **changed)


def public_name(model: str) -> str:
    """Return a name that reveals no path on this machine: the repository, or the last part of the folder's path."""
    return Path(model).name if Path(model).is_absolute() else model


def check_devices(devices: object) -> tuple[str, ...]:
    """Return the names of the devices, or an empty tuple for "auto". Raises BadOption."""
    if devices == AUTO:
        return ()
    allowed = 'devices must be "auto" or a list of "cuda:0", "cuda:1", …, "mps" and "cpu"'
    if not isinstance(devices, Sequence) or isinstance(devices, str) or not devices:
        raise BadOption(allowed)
    for device in devices:
        kind, _, number = device.partition(":") if isinstance(device, str) else ("", "", "")
        if kind not in ("cuda", "mps", "cpu") or (number and (kind != "cuda" or not number.isdecimal())):
            raise BadOption(allowed)
    names = tuple("cuda:0" if device == "cuda" else device for device in devices)
    if len(set(names)) != len(names):
        raise BadOption("devices must not name a device twice")
    return names


def check_model(name: str, model: object) -> str:
    """Return the repository, or the absolute path of the folder. `name` is the name of the option. Raises BadOption."""
    if not isinstance(model, str) or not model:
        raise BadOption(f"{name} must be a repository such as black-forest-labs/FLUX.2-klein-4B, or a folder")
    model = str(Path(model).expanduser()) if model.startswith("~") else model
    if not REPOSITORY.fullmatch(model) and not Path(model).is_absolute():
        raise BadOption(f'{name} "{model}" is neither a repository ("owner/name") nor the full path of a folder')
    return model


def check_choice(name: str, value: object, choices: Sequence[str]) -> str | None:
    """Return the value, or None if the option was omitted. Raises BadOption."""
    if value is not None and value not in choices:
        raise BadOption(f"{name} must be omitted or one of {', '.join(choices)}")
    return str(value) if value is not None else None


def check_gguf(gguf: object, quantize: object) -> str | None:
    """Return the path of the GGUF file, or None if the option was omitted. Raises BadOption."""
    if gguf is None:
        return None
    path = Path(gguf).expanduser() if isinstance(gguf, str) else Path()
    if not path.is_absolute() or path.suffix.lower() != ".gguf":
        raise BadOption("gguf must be the full path of a .gguf file, which contains the weights of the transformer")
    if quantize == "fp8":
        raise BadOption('quantize must not be "fp8" if gguf is set, because both apply to the transformer')
    return str(path)


def check_attention(attention: object) -> str | None:
    """Return the name of the attention backend, or None if the option was omitted. Raises BadOption.

    The child process checks whether the installed diffusers library has a backend with this name.
    """
    if attention is None:
        return None
    if not isinstance(attention, str) or not attention:
        raise BadOption('attention must be the name of an attention backend, such as "flash" or "sage"')
    if attention.endswith("_hub"):
        raise BadOption(f"attention must not be {as_json(attention)}, because this backend downloads code")
    return attention
