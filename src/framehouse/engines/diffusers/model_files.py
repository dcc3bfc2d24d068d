"""The packages and files that a route needs, and the command that loads them in the child process."""

import importlib.util
from pathlib import Path
from typing import Any

from framehouse.domain.errors import Unavailable
from framehouse.engines.diffusers.diffusers_options import DiffusersOptions, public_name
from framehouse.engines.diffusers.loras import LoraMissing
from framehouse.engines.diffusers.weights import Weights, find_weights
from framehouse.engines.interface import HealthCheck

NOT_INSTALLED = 'the packages for the diffusers engine are not installed; run: pip install "framehouse[diffusers]"'
_PACKAGES = ("torch", "diffusers", "transformers", "accelerate")


def missing_requirement(options: DiffusersOptions) -> HealthCheck | None:
    """Return an unhealthy result if packages or weights are not installed. Otherwise, return None."""
    if any(importlib.util.find_spec(name) is None for name in _PACKAGES):
        return HealthCheck("packages", ok=False, reason=NOT_INSTALLED, advice='pip install "framehouse[diffusers]"')
    for model, revision in ((options.model, options.revision), (options.upscaler, "main")):
        try:
            if model:
                complete_weights(model, revision)
        except Unavailable as error:
            advice = "" if Path(model or "").is_absolute() else f"framehouse models pull {model}"
            return HealthCheck(public_name(model or ""), ok=False, reason=error.message, advice=advice)
    try:
        for lora in options.loras:
            lora.find_file()
    except LoraMissing as error:
        return HealthCheck(options.model_name, ok=False, reason=error.message, advice=error.advice)
    if options.gguf and not Path(options.gguf).is_file():
        missing = f"gguf: the file {Path(options.gguf).name} is not on this machine"
        return HealthCheck(options.model_name, ok=False, reason=missing)
    return None


def load_settings(options: DiffusersOptions) -> dict[str, Any]:
    """Return the fields of the load command for a child process. Raises Unavailable if weights are missing."""
    weights = complete_weights(options.model, options.revision)
    if (options.loras or options.gguf) and (problem := missing_requirement(options)):
        raise Unavailable(problem.reason)
    return {
        "model": options.model_name,
        "folder": str(weights.folder),
        "revision": weights.revision,
        "dtype": options.dtype,
        "quantize": options.quantize,
        "offload": options.offload,
        "loras": [{"name": lora.name, "file": str(lora.find_file()), "weight": lora.weight} for lora in options.loras],
        "lora_steps": options.lora_steps,
        "gguf": options.gguf,
        "attention": options.attention,
        "compile": options.compile,
        "steps": options.steps,
        "guidance": options.guidance,
        "negative_prompt": options.negative_prompt,
        "arguments": options.defaults.arguments,
        "decode_gb": options.defaults.decode_gb,
        "min_steps": options.defaults.min_steps,
        "upscaler": str(complete_weights(options.upscaler).folder) if options.upscaler else None,
        "upscaler_name": public_name(options.upscaler) if options.upscaler else None,
    }


def complete_weights(model: str, revision: str = "main") -> Weights:
    """Return the weights of a repository or a folder. Raises Unavailable if the weights are missing or incomplete."""
    weights = find_weights(model, revision)
    at_revision = "" if revision == "main" else f" at {revision}"
    if weights is None:
        if Path(model).is_absolute():
            raise Unavailable(f"the folder of {public_name(model)} is not on this machine")
        raise Unavailable(f"{model}{at_revision} is not on this machine; run: framehouse models pull {model}")
    if weights.missing:
        raise Unavailable(
            f"{public_name(model)}{at_revision} is not complete: {weights.missing} is missing; "
            f"run: framehouse models pull {model}"
        )
    return weights
