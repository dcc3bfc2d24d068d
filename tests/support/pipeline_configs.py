"""Print the configurations that reach the libraries, as JSON: of quantized weights, and of the schedule with a LoRA.

`python -m tests.support.pipeline_configs FOLDER` runs as a separate program, because the test process must not import
torch. FOLDER contains the tiny models.
"""

import json
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any


def describe(config: Any) -> dict[str, Any]:
    kind = type(config)
    described = {"class": f"{kind.__module__.partition('.')[0]}.{kind.__name__}"}
    for name in ("load_in_4bit", "bnb_4bit_quant_type", "bnb_4bit_compute_dtype"):
        if hasattr(config, name):
            described[name] = str(getattr(config, name))
    if (torchao := getattr(config, "quant_type", None)) is not None:
        described["torchao"] = type(torchao).__name__
        described["format"] = str(getattr(torchao, "int4_packing_format", ""))
    return described


def main(folder: Path) -> None:
    import diffusers
    import torch

    from framehouse.engines.diffusers.call_errors import LoadFailed
    from framehouse.engines.diffusers.pipeline_loading import (
        load_image_only_processor,
        load_loras,
        quantization_config,
    )

    configs: dict[str, Any] = {}
    for quantize in ("int8", "nf4", "int4"):
        try:
            mapping = quantization_config(quantize, folder / "klein", torch.bfloat16).quant_mapping
        except LoadFailed as error:
            configs[quantize] = str(error)
        else:
            configs[quantize] = {part: describe(config) for part, config in mapping.items()}
    pipeline = diffusers.DiffusionPipeline.from_pretrained(
        folder / "edit_plus", processor=load_image_only_processor(folder / "edit_plus" / "processor")
    )
    file = str(folder / "loras" / "edit_plus-4steps.safetensors")
    loras = [{"name": "edit_plus-4steps", "file": file, "weight": 0.5}]
    with suppress(LoadFailed):  # without the package peft
        load_loras(pipeline, {"model": "edit_plus", "loras": loras, "lora_steps": 4})
        names = ("base_shift", "max_shift", "shift_terminal", "use_dynamic_shifting")
        configs["schedule"] = {name: pipeline.scheduler.config[name] for name in names}
    print(json.dumps(configs))  # noqa: T201


if __name__ == "__main__":
    main(Path(sys.argv[1]))
