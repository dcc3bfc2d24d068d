"""Build the arguments for the calls of a diffusers pipeline. Only child processes call this module."""

import inspect
import math
from collections.abc import Sequence
from typing import Any

from PIL import Image, ImageOps

from framehouse.engines.diffusers.call_errors import LoadFailed, Unsupported
from framehouse.engines.diffusers.pipeline_classes import PipelineClass

_DISTILLED = {"Flux2KleinPipeline": (4, 1.0), "Krea2Pipeline": (8, 0.0)}
"""The steps and the guidance of distilled models, by pipeline class. The defaults of these classes are for models that
are not distilled."""
_WITHOUT_GUIDANCE = {"FluxPipeline": 4}
"""The steps of models that were distilled without an input for guidance, such as FLUX.1 schnell, by pipeline class."""
_PROMPT_REWRITING = {"use_pe": False}
"""Arguments that prevent a pipeline from rewriting prompts. Rewritten prompts would differ between calls with the same
seed."""
_PLACEHOLDERS = {"OmniGenPipeline": "<img><|image_{}|></img>"}
"""The text that must occur in the prompt for each input image, by pipeline class."""


class PipelineArguments:
    """The arguments for the calls of one loaded pipeline.

    `settings` is the content of the load command. `described` contains the abilities of the pipeline's class.
    `fixed` contains the arguments that all calls share. Creating an instance raises LoadFailed for an option that the
    pipeline does not support.
    """

    def __init__(self, pipe: Any, described: PipelineClass, settings: dict[str, Any]) -> None:
        self._described = described
        self._settings = settings
        self._class_name = type(pipe).__name__
        self._parameters = inspect.signature(pipe.__call__).parameters
        if described.unusable:
            raise LoadFailed(f"{settings['model']} cannot be used: {self._class_name} {described.unusable}")
        self.fixed = self._fixed_arguments(pipe)

    @property
    def facts(self) -> dict[str, object]:
        """The metadata about steps and guidance."""
        facts = {"steps": self.fixed.get("num_inference_steps"), "guidance": self.fixed.get(self.guidance_argument)}
        return {name: value for name, value in facts.items() if value is not None}

    @property
    def guidance_argument(self) -> str:
        return self._described.guidance_argument

    def for_call(
        self,
        pipe: Any,
        command: dict[str, Any],
        shots: Sequence[int],
        references: Sequence[Image.Image],
        mask: Image.Image | None,
    ) -> dict[str, Any]:
        """Return the arguments for a call that generates some shots of a generate command.

        `shots` contains the positions of the shots. `pipe` is the pipeline that is called. It may be the inpainting
        pipeline, which accepts fewer arguments.

        Raises Unsupported if the pipeline cannot use the references, or needs a reference.
        """
        parameters = inspect.signature(pipe.__call__).parameters
        size, count = (command["width"], command["height"]), len(shots)
        prompts = [command["prompts"][position] for position in shots]
        one_prompt = len(set(prompts)) == 1 and (count == 1 or "num_images_per_prompt" in parameters)
        multiple = self._described.size_multiple
        width, height = (math.ceil(side / multiple) * multiple for side in size)
        arguments = self.fixed | {"width": width, "height": height, "output_type": "np", "max_area": width * height}
        arguments["prompt"] = prompts[0] if one_prompt else prompts
        arguments["num_images_per_prompt"] = count if one_prompt else 1
        if command["negative_prompt"] and self._described.negative_prompts:
            negative_prompts = (arguments.get("negative_prompt") or "", command["negative_prompt"])
            arguments["negative_prompt"] = ", ".join(filter(str.strip, negative_prompts))
        if not one_prompt and arguments.get("negative_prompt") is not None:
            arguments["negative_prompt"] = [arguments["negative_prompt"]] * count
        if mask:
            # The masked area is replaced completely. It contains only a rough continuation of the image, or content
            # that the prompt does not describe.
            arguments |= {"image": references[0], "mask_image": mask, "strength": 1.0}
        elif references:
            images = self._input_images(references, size)
            arguments[self._described.image_argument] = images if one_prompt else [images] * count
            arguments["prompt"] = self._with_placeholders(arguments["prompt"], len(references))
        elif self._described.needs_reference:
            raise Unsupported(f"{self._settings['model']} generates only from references")
        return {name: value for name, value in arguments.items() if name in parameters}

    def _input_images(self, references: Sequence[Image.Image], size: tuple[int, int]) -> Any:
        if self._described.references == "none":
            raise Unsupported(f"{self._settings['model']} generates only from text")
        if self._described.references == "one" and len(references) > 1:
            raise Unsupported(f"{self._settings['model']} accepts one input image per call")
        if self._described.varies_reference:
            references = [ImageOps.fit(reference, size) for reference in references]
        return list(references) if self._described.references == "several" else references[0]

    def _with_placeholders(self, prompt: Any, count: int) -> Any:
        placeholder = _PLACEHOLDERS.get(self._class_name)
        if placeholder is None or not isinstance(prompt, str):
            return prompt
        missing = [text for n in range(1, count + 1) if (text := placeholder.format(n)) not in prompt]
        return " ".join([*missing, prompt])

    def _fixed_arguments(self, pipe: Any) -> dict[str, Any]:
        """Return the arguments that all calls share. Raises LoadFailed for an option that the pipeline does not
        support."""
        settings, described = self._settings, self._described
        steps, guidance = self._default_steps_and_guidance(pipe)
        steps = settings["steps"] or steps
        arguments: dict[str, Any] = dict(settings["arguments"]) | _PROMPT_REWRITING
        if steps is not None:
            arguments["num_inference_steps"] = max(settings["min_steps"], steps)
        if schedule := _config(pipe).get("sample_sigmas"):
            if settings["steps"] not in (None, len(schedule)):
                fixed = f"{settings['model']} has a fixed schedule of {len(schedule)} steps"
                raise LoadFailed(f"{fixed}; set steps = {len(schedule)}")
            arguments["num_inference_steps"] = len(schedule)
        if settings["guidance"] is not None:
            if not described.guidance_argument:
                raise LoadFailed(f"{settings['model']} has no guidance scale; remove the option guidance")
            guidance = settings["guidance"]
        if guidance is not None:
            arguments |= {described.guidance_argument: guidance, "guidance_schedule": None}
        elif "guidance_schedule" in self._parameters and steps != described.steps:
            raise LoadFailed(f"{settings['model']} needs the option guidance if the option steps is set")
        if settings["negative_prompt"] is not None:
            if "negative_prompt" not in self._parameters:
                raise LoadFailed(f"{settings['model']} accepts no negative prompt; remove the option negative_prompt")
            arguments["negative_prompt"] = settings["negative_prompt"]
        elif described.needs_negative_prompt:
            arguments["negative_prompt"] = " "
        return {name: value for name, value in arguments.items() if name in self._parameters}

    def _default_steps_and_guidance(self, pipe: Any) -> tuple[int | None, float | None]:
        """Return the defaults of the pipeline's class, or of distilled models if the model is distilled.

        A model is distilled if the configuration of its pipeline contains `is_distilled`, or if its transformer has no
        input for guidance, although the pipeline has only such an input.
        """
        described = self._described
        if _config(pipe).get("is_distilled") and self._class_name in _DISTILLED:
            return _DISTILLED[self._class_name]
        transformer = getattr(pipe, "transformer", None)
        embeds_guidance = _config(transformer).get("guidance_embeds")
        if embeds_guidance is False and self._class_name in _WITHOUT_GUIDANCE:
            return _WITHOUT_GUIDANCE[self._class_name], 0.0
        return described.steps, described.guidance


def _config(part: Any) -> dict[str, Any]:
    """Return the configuration of a pipeline or of one of its parts. The configuration is empty if there is none."""
    config = getattr(part, "config", None)
    return config if isinstance(config, dict) else {}
