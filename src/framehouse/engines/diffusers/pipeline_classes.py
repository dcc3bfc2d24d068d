"""The abilities of the pipeline classes of the diffusers library, which are known without importing the library.

The file `pipeline_classes.json` contains the abilities of all image pipelines of one version of the library. The module
`pipeline_inspection` creates the file: `python -m framehouse.engines.diffusers.pipeline_inspection`.
"""

import functools
import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

FILE = Path(__file__).with_name("pipeline_classes.json")
References = Literal["none", "one", "several"]


@dataclass(frozen=True, slots=True)
class PipelineClass:
    """The abilities of a pipeline class.

    `references`: whether one call accepts no input image, one input image or several input images.
    `image_argument`: the name of the argument for input images. Empty if the pipeline accepts only text.
    `needs_reference`: true if the pipeline cannot generate from text alone.
    `needs_mask`: true if the pipeline generates only the masked area of an image.
    `several_prompts`: true if one call accepts several different prompts.
    `images_per_prompt`: true if one call can generate several images from one prompt.
    `one_image_per_call`: true if the seed of an image has its full effect only if the call generates no other image.
    `steps`: the default number of steps of the class. None if the pipeline has no argument for the steps.
    `guidance_argument`: the name of the argument for guidance. Empty if there is none.
    `guidance`: the default guidance of the class. None if the class has no single default value.
    `guidance_threshold`: the pipeline uses negative prompts if the guidance is above this value.
    `negative_prompts`: true if the pipeline uses negative prompts.
    `needs_negative_prompt`: true if the pipeline uses guidance only if it receives a negative prompt.
    `distilled`: true if the configuration of the pipeline contains `is_distilled`.
    `reports_progress`: true if the pipeline calls a function after each step.
    `accepts_size`: true if the pipeline accepts a width and a height.
    `size_multiple`: the number of pixels of which the width and the height must be multiples.
    `varies_reference`: true if the generated image has the aspect ratio of the reference.
    `inpaint_pipeline`: the class that generates a masked area with the same weights. Empty if there is no such class.
    `unusable`: the reason why the engine cannot use the pipeline. Empty if the engine can use the pipeline.
    """

    references: References = "none"
    image_argument: str = ""
    needs_reference: bool = False
    needs_mask: bool = False
    several_prompts: bool = False
    images_per_prompt: bool = False
    one_image_per_call: bool = False
    steps: int | None = None
    guidance_argument: str = ""
    guidance: float | None = None
    guidance_threshold: float = 1.0
    negative_prompts: bool = False
    needs_negative_prompt: bool = False
    distilled: bool = False
    reports_progress: bool = False
    accepts_size: bool = False
    size_multiple: int = 16
    varies_reference: bool = False
    inpaint_pipeline: str = ""
    unusable: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the fields that differ from their default values."""
        return {field.name: value for field in fields(self) if (value := getattr(self, field.name)) != field.default}


NAMES = frozenset(field.name for field in fields(PipelineClass))


def from_json(content: dict[str, Any]) -> PipelineClass:
    """Return the abilities in an event or in the file. Unknown fields are ignored."""
    return PipelineClass(**{name: value for name, value in content.items() if name in NAMES})


@functools.cache
def known_classes() -> dict[str, PipelineClass]:
    """Return the image pipelines of the version of the diffusers library for which `pipeline_classes.json` was
    created."""
    content = json.loads(FILE.read_text(encoding="utf-8"))
    return {name: from_json(entry) for name, entry in content["classes"].items()}


def to_text(version: str, classes: dict[str, PipelineClass]) -> str:
    """Return the content of `pipeline_classes.json`: one line per class, so that a change is easy to read."""
    lines = [f"    {json.dumps(name)}: {json.dumps(classes[name].to_json())}" for name in sorted(classes)]
    return f'{{\n  "diffusers": {json.dumps(version)},\n  "classes": {{\n' + ",\n".join(lines) + "\n  }\n}\n"


def as_event(described: PipelineClass) -> dict[str, Any]:
    return asdict(described)
