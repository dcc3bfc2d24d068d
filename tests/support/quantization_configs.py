"""Print the configurations with which the weights of a pipeline are quantized, as JSON.

`python -m tests.support.quantization_configs FOLDER` runs as a separate program, because the test process must not
import torch.
"""

import json
import sys
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
    import torch

    from framehouse.engines.diffusers.pipeline_loading import LoadFailed, quantization_config

    configs: dict[str, Any] = {}
    for quantize in ("int8", "nf4", "int4"):
        try:
            mapping = quantization_config(quantize, folder, torch.bfloat16).quant_mapping
        except LoadFailed as error:
            configs[quantize] = str(error)
        else:
            configs[quantize] = {part: describe(config) for part, config in mapping.items()}
    print(json.dumps(configs))  # noqa: T201


if __name__ == "__main__":
    main(Path(sys.argv[1]))
