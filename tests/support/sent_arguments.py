"""Print the arguments that the pipelines of known models receive, as JSON.

The pipelines have the signatures of the real classes, but they have no weights and only record their arguments. It runs
as a separate program (`python -m tests.support.sent_arguments`), because the test process must not import torch. Its
standard input is a list of cases, as `case` in tests/engines/test_diffusers_pipelines.py returns them.
"""

import functools
import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
from PIL import Image

from framehouse.engines.diffusers import Diffusers, model_files, process
from framehouse.engines.diffusers.weights import Weights


def recording_pipeline(case: dict[str, Any], recorded: list[dict[str, Any]]) -> Any:
    """Return a pipeline of a real class that records its arguments and returns black images."""
    import diffusers
    from diffusers.configuration_utils import FrozenDict

    real = getattr(diffusers, case["pipeline"])

    @functools.wraps(real.__call__)
    def call(_self: Any, **arguments: Any) -> Any:
        recorded.append(arguments)
        images = np.zeros((len(arguments["generator"]), 64, 64, 3), np.float32)
        return SimpleNamespace(images=images)

    pipe: Any = object.__new__(type(real.__name__, (real,), {"__call__": call}))
    object.__setattr__(pipe, "_internal_dict", FrozenDict(case["config"]))
    object.__setattr__(pipe, "transformer", SimpleNamespace(config=FrozenDict(case["transformer"])))
    return pipe


def sent(case: dict[str, Any]) -> Any:
    """Return the arguments of each call, or the error as text."""
    recorded: list[dict[str, Any]] = []
    with (
        patch.object(model_files, "complete_weights", lambda *_: Weights(Path("/nowhere"))),
        patch.object(process, "load_pipeline", lambda *_: recording_pipeline(case, recorded)),
    ):
        engine = Diffusers(model=case["model"], **case["options"])
        prompts = case["prompts"]
        command = {"prompts": prompts, "seeds": list(range(len(prompts))), "width": 1024, "height": case["height"],
                   "negative_prompt": case["negative_prompt"]}  # fmt: skip
        references = [Image.new("RGB", (64 * (n + 1), 64)) for n in range(case["references"])]
        try:
            pipeline = process.LoadedPipeline({"device": "cpu", **engine._load_settings()})
            pipeline.generate(command, references, lambda _: None)
        except Exception as error:  # noqa: BLE001 - the test compares the message
            return str(error)
    return [{name: readable(value) for name, value in call.items()} for call in recorded]


def readable(value: Any) -> Any:
    """Replace objects by text: images by their width, and generators by their seed."""
    if isinstance(value, list):
        return [readable(entry) for entry in value]
    if isinstance(value, Image.Image):
        return f"image of width {value.width}"
    if hasattr(value, "initial_seed"):
        return value.initial_seed()
    return "function" if callable(value) else value


def main() -> None:
    output = os.dup(1)
    os.dup2(2, 1)
    with os.fdopen(output, "w") as stream:
        json.dump([sent(case) for case in json.load(sys.stdin)], stream)


if __name__ == "__main__":
    main()
