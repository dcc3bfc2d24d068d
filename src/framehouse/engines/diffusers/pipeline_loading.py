"""Load a diffusers pipeline onto its device. Only child processes call this module."""

import importlib.util
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from framehouse.engines.diffusers.call_errors import LoadFailed, reason_of
from framehouse.engines.diffusers.diffusers_options import FOUR_BITS

_LARGE_PARTS = ("transformer", "text_encoder", "unet")


def load_pipeline(settings: dict[str, Any], dtype: Any) -> Any:
    """Load the pipeline onto its device.

    Only local safetensors and GGUF files are loaded, because they contain only numbers and no code.
    """
    import diffusers
    import transformers

    for library in (diffusers, transformers):
        library.utils.logging.set_verbosity_error()  # warnings of these libraries quote prompts
        library.utils.logging.disable_progress_bar()
    device, offload = settings["device"], settings["offload"]
    if offload and device == "cpu":
        raise LoadFailed("offload needs a GPU, but this device is the CPU; remove the option offload")
    if settings["quantize"] in FOUR_BITS and device != "cuda":
        raise LoadFailed(f'quantize = "{settings["quantize"]}" needs an NVIDIA GPU; use int8 or remove the option')
    folder = Path(settings["folder"])
    arguments: dict[str, Any] = {}
    if (folder / "processor").is_dir() and not _has_torchvision():
        arguments["processor"] = load_image_only_processor(folder / "processor")
    if settings["quantize"] in ("int8", *FOUR_BITS):
        replaced = ("transformer",) if settings["gguf"] else ()
        arguments["quantization_config"] = quantization_config(settings["quantize"], folder, dtype, replaced)
    if settings["gguf"]:
        arguments["transformer"] = load_gguf(Path(settings["gguf"]), folder, dtype)
    pipe = diffusers.DiffusionPipeline.from_pretrained(
        str(folder), dtype=dtype, local_files_only=True, use_safetensors=True, **arguments
    )
    load_loras(pipe, settings)
    set_attention(pipe, settings["attention"])
    if settings["quantize"] == "fp8":
        import torch

        _largest_part(pipe).enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=dtype)
    if offload == "model":
        pipe.enable_model_cpu_offload(device=device)
    elif offload == "sequential":
        pipe.enable_sequential_cpu_offload(device=device)
    else:
        pipe.to(device)
    pipe.set_progress_bar_config(disable=True)
    if hasattr(getattr(pipe, "vae", None), "enable_slicing"):
        pipe.vae.enable_slicing()  # the images of a call are decoded one by one
    if settings["compile"]:
        _largest_part(pipe).compile_repeated_blocks(dynamic=True)
    return pipe


def _largest_part(pipe: Any) -> Any:
    part = getattr(pipe, "transformer", None) or getattr(pipe, "unet", None)
    if part is None:
        raise LoadFailed("this pipeline has no transformer; remove the options quantize, attention and compile")
    return part


def load_loras(pipe: Any, settings: dict[str, Any]) -> None:
    """Load the LoRAs of the route into the pipeline.

    Raises LoadFailed if the pipeline accepts no LoRAs, or if a LoRA does not belong to the model.
    """
    if not settings["loras"]:
        return
    if not hasattr(pipe, "load_lora_weights"):
        raise LoadFailed(f"{settings['model']} accepts no LoRAs; remove the option loras")
    if importlib.util.find_spec("peft") is None:
        raise LoadFailed("the option loras needs another package; run: pip install peft")
    weights: dict[str, float] = {}
    for number, lora in enumerate(settings["loras"]):
        file, adapter = Path(lora["file"]), f"lora_{number}"
        mismatch = f"loras: {lora['name']} does not belong to {settings['model']}"
        try:
            pipe.load_lora_weights(
                str(file.parent), weight_name=file.name, adapter_name=adapter,
                local_files_only=True, use_safetensors=True,
            )  # fmt: skip
        except Exception as error:  # errors of damaged files and of other models have no common base class
            raise LoadFailed(f"{mismatch}: {reason_of(error, str(file.parent))}") from error
        if not any(adapter in adapters for adapters in pipe.get_list_adapters().values()):
            raise LoadFailed(mismatch)
        weights[adapter] = lora["weight"]
    pipe.set_adapters(list(weights), list(weights.values()))
    if settings["lora_steps"] and type(pipe).__name__.startswith(("QwenImagePipeline", "QwenImageEdit")):
        # the authors of the Lightning LoRAs distilled Qwen-Image with this schedule
        shift = math.log(3)
        pipe.scheduler = type(pipe.scheduler).from_config(
            pipe.scheduler.config, base_shift=shift, max_shift=shift, shift_terminal=None
        )


def set_attention(pipe: Any, attention: str | None) -> None:
    """Set the attention backend of the transformer.

    Raises LoadFailed if the installed diffusers library has no backend with this name, or if a package is missing.
    """
    if not attention:
        return
    from diffusers.models.attention_dispatch import AttentionBackendName

    names = [backend.value for backend in AttentionBackendName if not backend.value.endswith("_hub")]
    if attention not in names:
        raise LoadFailed(f'attention must be one of {", ".join(names)}; it is "{attention}"')
    try:
        _largest_part(pipe).set_attention_backend(attention)
    except (RuntimeError, ImportError) as error:
        raise LoadFailed(f'attention = "{attention}": {reason_of(error)}') from error


def load_gguf(file: Path, folder: Path, dtype: Any) -> Any:
    """Load the transformer of a pipeline from a GGUF file. `folder` contains the configuration of the transformer."""
    import diffusers

    if importlib.util.find_spec("gguf") is None:
        raise LoadFailed("the option gguf needs another package; run: pip install gguf")
    index = diffusers.DiffusionPipeline.load_config(str(folder), local_files_only=True)
    kind: Any = getattr(diffusers, index.get("transformer", ("", ""))[1] or "", None)
    if not hasattr(kind, "from_single_file"):
        raise LoadFailed("the transformer of this model cannot be loaded from a GGUF file; remove the option gguf")
    config = diffusers.GGUFQuantizationConfig(compute_dtype=dtype)
    return kind.from_single_file(
        str(file), config=str(folder), subfolder="transformer", quantization_config=config, dtype=dtype
    )


def quantization_config(quantize: str, folder: Path, dtype: Any, replaced: Sequence[str] = ()) -> Any:
    """Return the configuration with which the weights of the large parts are stored in fewer bits.

    `replaced` contains the parts that are loaded from other files.

    Parts from diffusers and parts from transformers need configurations of different classes. Raises LoadFailed if a
    package is missing.
    """
    import diffusers
    import transformers

    configs: dict[str, Any] = {}
    for name, library in (("diffusers", diffusers), ("transformers", transformers)):
        if quantize == "nf4":
            if importlib.util.find_spec("bitsandbytes") is None:
                raise LoadFailed('quantize = "nf4" needs another package; run: pip install bitsandbytes')
            configs[name] = library.BitsAndBytesConfig(
                load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype
            )
        else:
            configs[name] = library.TorchAoConfig(_torchao_config(quantize))
    index = diffusers.DiffusionPipeline.load_config(str(folder), local_files_only=True)
    names = [name for name in _LARGE_PARTS if name in index and name not in replaced]
    parts = {name: configs[index[name][0]] for name in names if index[name][0] in configs}
    return diffusers.PipelineQuantizationConfig(quant_mapping=parts)


def _torchao_config(quantize: str) -> Any:
    from torchao.quantization import Int4WeightOnlyConfig, Int8WeightOnlyConfig

    if quantize == "int8":
        return Int8WeightOnlyConfig()
    # torch itself contains the kernels of this format; the default format needs another package
    return Int4WeightOnlyConfig(int4_packing_format="tile_packed_to_4d")


def _has_torchvision() -> bool:
    try:
        import torchvision  # noqa: F401
    except (ImportError, RuntimeError):  # RuntimeError: torchvision was built for another version of torch
        return False
    return True


def load_image_only_processor(folder: Path) -> Any:
    """Load a Qwen2-VL processor from a folder, but without video support, which would need torchvision."""
    from transformers import Qwen2Tokenizer
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    # Nothing is downloaded here. hub.py downloaded the files of a specific commit and verified their checksums.
    images = Qwen2VLImageProcessorPil.from_pretrained(str(folder), local_files_only=True)  # nosec B615
    tokenizer = Qwen2Tokenizer.from_pretrained(str(folder), local_files_only=True)  # nosec B615
    return build_image_only_processor(images, tokenizer)


def build_image_only_processor(images: Any, tokenizer: Any) -> Any:
    """Combine an image processor and a tokenizer into a Qwen2-VL processor that does not support videos."""
    from transformers import Qwen2VLProcessor
    from transformers.processing_utils import ProcessorMixin

    class ImageOnlyProcessor(Qwen2VLProcessor):  # type: ignore[misc]
        def __init__(self, image_processor: Any = None, tokenizer: Any = None, **_: Any) -> None:
            for kind in ("image", "video"):
                token = getattr(tokenizer, f"{kind}_token", f"<|{kind}_pad|>")
                setattr(self, f"{kind}_token", token)
                setattr(self, f"{kind}_token_id", tokenizer.convert_tokens_to_ids(token))
            ProcessorMixin.__init__(self, image_processor, tokenizer)

    return ImageOnlyProcessor(images, tokenizer)
