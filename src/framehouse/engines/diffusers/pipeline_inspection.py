"""Find out what a pipeline class of the diffusers library accepts, from its signature and its source code.

The child process inspects the class of the model that it loads. `python -m` with this module inspects all image
pipelines of the installed library and rewrites `pipeline_classes.json`. This module imports the library only inside
functions.
"""

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from framehouse.engines.diffusers.pipeline_classes import FILE, PipelineClass, References, known_classes, to_text

_IMAGE_ARGUMENTS = ("image", "images", "input_images")
_GUIDANCE_ARGUMENTS = ("guidance_scale", "true_cfg_scale", "distilled_guidance_scale")
_UNUSABLE_ARGUMENTS = {
    "control_image": "needs a control image",
    "controlnet_conditioning_scale": "needs a control image",
    "adapter_conditioning_scale": "needs a control image",
    "depth_map": "needs a depth map",
    "layers": "generates the layers of an image",
    "noise_level": "enlarges or varies an image",
    "prior_guidance_scale": "combines two models",
}
_UNUSABLE_MODULES = {
    "pipeline_bria_fibo_edit": "accepts only JSON as a prompt",
    "deepfloyd_if": "generates 64x64 images for another pipeline",
    "pipeline_hunyuanimage_refiner": "refines the images of another pipeline",
    "pipeline_stable_diffusion_latent_upscale": "enlarges an image",
}
"""Parts of the names of modules. The classes of these modules accept the arguments of usable pipelines."""
_OWN_ARGUMENTS = ("self", "prompt", "mask_image", *_IMAGE_ARGUMENTS)

CORRECTIONS: Mapping[str, dict[str, Any]] = {
    # the pipeline refuses other sizes
    "GlmImagePipeline": {"size_multiple": 32},
    # the pipeline reduces other sizes
    "QwenImage21Pipeline": {"size_multiple": 32},
    # the annotation describes a list as the images of different prompts
    "OmniGenPipeline": {"references": "several"},
    # the library has an inpainting pipeline for the weights of this class, but does not connect the two classes
    "QwenImageEditPlusPipeline": {"inpaint_pipeline": "QwenImageEditInpaintPipeline"},
}
"""Facts that neither the signature nor the source code of `__call__` shows."""


def describe(kind: type) -> PipelineClass:
    """Return the abilities of a pipeline class. If the class has no source code, only its signature is used."""
    parameters = dict(inspect.signature(kind.__call__).parameters)
    call = _Source(kind.__call__)
    image_argument = next((name for name in _IMAGE_ARGUMENTS if name in parameters), "")
    references = _references(parameters, image_argument, call)
    guidance_argument = _guidance_argument(parameters)
    guidance = parameters[guidance_argument].default if guidance_argument else None
    cfg_argument = "true_cfg_scale" if "true_cfg_scale" in parameters else "guidance_scale"
    negative_prompts = "negative_prompt" in parameters and guidance_argument == cfg_argument
    steps = parameters["num_inference_steps"].default if "num_inference_steps" in parameters else None
    described = PipelineClass(
        references=references,
        image_argument=image_argument,
        needs_reference=bool(image_argument) and _needs_reference(parameters, image_argument, call, kind),
        needs_mask="mask_image" in parameters,
        several_prompts=_accepts_several_prompts(parameters, call),
        images_per_prompt="num_images_per_prompt" in parameters,
        one_image_per_call="generator[0]" in call.text,
        steps=steps if isinstance(steps, int) else None,
        guidance_argument=guidance_argument,
        guidance=float(guidance) if isinstance(guidance, int | float) else None,
        guidance_threshold=_guidance_threshold(kind) if negative_prompts else 1.0,
        negative_prompts=negative_prompts,
        needs_negative_prompt=negative_prompts and "has_neg_prompt" in call.names,
        distilled="is_distilled" in inspect.signature(kind).parameters,
        reports_progress="callback_on_step_end" in parameters,
        accepts_size={"width", "height"} <= parameters.keys(),
        varies_reference=bool(image_argument) and ("strength" in parameters or "width" not in parameters),
        inpaint_pipeline=_inpaint_pipeline(kind),
        unusable=_unusable(parameters, kind),
    )
    return replace(described, **CORRECTIONS.get(kind.__name__, {}))


def find_image_pipelines() -> dict[str, PipelineClass]:
    """Return the pipelines of the installed library that generate images from a prompt.

    Pipelines that the library has deprecated are omitted.
    """
    import diffusers

    found = {}
    for name in dir(diffusers):
        kind = getattr(diffusers, name, None) if name.endswith("Pipeline") else None
        if not isinstance(kind, type) or not issubclass(kind, diffusers.DiffusionPipeline):
            continue
        if kind.__name__ != name or any(part in kind.__module__ for part in (".deprecated.", ".shap_e.")):
            continue
        call = _Source(kind.__call__)
        if "prompt" in inspect.signature(kind.__call__).parameters and call.returns_images:
            found[name] = describe(kind)
    return found


class _Source:
    """The source code of a function. All properties are empty or false if there is no source code."""

    def __init__(self, function: Any) -> None:
        self.text = textwrap.dedent(_source_of(inspect.unwrap(function)))
        try:
            self.tree: ast.AST = ast.parse(self.text)
        except SyntaxError:
            self.tree = ast.Module([], [])
        self.names = {node.id for node in ast.walk(self.tree) if isinstance(node, ast.Name)}

    @property
    def returns_images(self) -> bool:
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Return) and isinstance(node.value, ast.Call):
                keywords = {keyword.arg for keyword in node.value.keywords}
                if keywords & {"images", "image"}:
                    return True
        return "return outputs" in self.text and "ImagePipelineOutput`]" in self.text

    def annotation(self, name: str) -> str:
        """Return the annotation of an argument as it is written in the source code."""
        arguments = (node for node in ast.walk(self.tree) if isinstance(node, ast.arg) and node.arg == name)
        argument = next(arguments, None)
        return ast.unparse(argument.annotation) if argument and argument.annotation else ""

    def iterates(self, name: str) -> bool:
        """Return whether a loop or a comprehension iterates over the variable."""
        loops = (node.iter for node in ast.walk(self.tree) if isinstance(node, ast.For | ast.comprehension))
        return any(isinstance(loop, ast.Name) and loop.id == name for loop in loops)

    def assigns(self, name: str, value: object) -> bool:
        """Return whether the body of the function assigns a constant to the variable outside of all conditions."""
        function = self.tree.body[0] if isinstance(self.tree, ast.Module) and self.tree.body else None
        return any(
            isinstance(node, ast.Assign)
            and isinstance(node.value, ast.Constant)
            and node.value.value == value
            and any(isinstance(target, ast.Name) and target.id == name for target in node.targets)
            for node in getattr(function, "body", [])
        )

    def raises_if(self, condition: str) -> bool:
        """Return whether the function raises an exception if the condition is true."""
        return any(
            isinstance(node, ast.If) and ast.unparse(node.test) == condition and isinstance(node.body[0], ast.Raise)
            for node in ast.walk(self.tree)
        )

    def uses_attribute_of(self, name: str) -> bool:
        """Return whether the function reads an attribute or an item of the variable outside of all conditions.

        Such a function fails if the variable is None. Statements after an assignment to the variable are ignored.
        """
        function = self.tree.body[0] if isinstance(self.tree, ast.Module) and self.tree.body else None
        for statement in getattr(function, "body", []):
            nodes = list(ast.walk(statement))
            if not isinstance(statement, ast.If) and any(
                isinstance(node, ast.Attribute | ast.Subscript)
                and isinstance(node.value, ast.Name)
                and node.value.id == name
                for node in nodes
            ):
                return True
            if any(
                isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Store) for node in nodes
            ):
                return False
        return False


def _source_of(code: Any) -> str:
    try:
        return inspect.getsource(code)
    except (OSError, TypeError):
        return ""


def _references(parameters: Mapping[str, inspect.Parameter], name: str, call: _Source) -> References:
    if not name:
        return "none"
    if "strength" in parameters or "mask_image" in parameters:
        return "one"
    annotation = call.annotation(name)
    accepts_list = "list[" in annotation.lower() and "PipelineImageInput" not in annotation
    return "several" if accepts_list or name == "images" or call.iterates(name) else "one"


def _needs_reference(parameters: Mapping[str, inspect.Parameter], name: str, call: _Source, kind: type) -> bool:
    check = _Source(kind.check_inputs) if hasattr(kind, "check_inputs") else None
    missing = f"{name} is None"
    return (
        parameters[name].default is inspect.Parameter.empty
        or "strength" in parameters
        or "mask_image" in parameters
        or call.uses_attribute_of(name)
        or call.raises_if(missing)
        or (check is not None and check.raises_if(missing))
    )


def _guidance_argument(parameters: Mapping[str, inspect.Parameter]) -> str:
    """Return the guidance argument that is in use: the first one with a default value, or else the first one."""
    names = [name for name in _GUIDANCE_ARGUMENTS if name in parameters]
    return next((name for name in names if parameters[name].default is not None), names[0] if names else "")


def _guidance_threshold(kind: type) -> float:
    condition = getattr(kind, "do_classifier_free_guidance", None)
    source = _source_of(condition.fget) if isinstance(condition, property) else ""
    match = re.search(r"guidance_scale > (\d+(?:\.\d+)?)", source)
    return float(match[1]) if match else 1.0


def _accepts_several_prompts(parameters: Mapping[str, inspect.Parameter], call: _Source) -> bool:
    if "prompt" not in parameters or call.assigns("batch_size", 1) or call.raises_if("batch_size > 1"):
        return False
    return "list[" in str(parameters["prompt"].annotation).lower()


def _inpaint_pipeline(kind: type) -> str:
    """Return the class that generates a masked area with the same weights: the library's choice, or else the class with
    the corresponding name."""
    import diffusers
    from diffusers.pipelines import auto_pipeline

    if "mask_image" in inspect.signature(kind.__call__).parameters:
        return kind.__name__
    keys = [
        key
        for mapping in (
            auto_pipeline.AUTO_TEXT2IMAGE_PIPELINES_MAPPING,
            auto_pipeline.AUTO_IMAGE2IMAGE_PIPELINES_MAPPING,
        )
        for key, value in mapping.items()
        if value is kind
    ]
    found = [auto_pipeline.AUTO_INPAINT_PIPELINES_MAPPING.get(key) for key in keys]
    by_name = getattr(diffusers, kind.__name__.removesuffix("Pipeline") + "InpaintPipeline", None)
    for inpaint in (*found, by_name):
        if inpaint is not None and not any(_unusable_arguments(inspect.signature(inpaint.__call__).parameters)):
            return str(inpaint.__name__)
    return ""


def _unusable_arguments(parameters: Mapping[str, inspect.Parameter]) -> Iterator[str]:
    for name, reason in _UNUSABLE_ARGUMENTS.items():
        if name in parameters:
            yield reason
    for name, parameter in parameters.items():
        required = parameter.default is inspect.Parameter.empty and parameter.kind not in (
            inspect.Parameter.VAR_POSITIONAL,
            inspect.Parameter.VAR_KEYWORD,
        )
        if required and name not in _OWN_ARGUMENTS:
            yield f"needs {name}"


def _unusable(parameters: Mapping[str, inspect.Parameter], kind: type) -> str:
    by_module = (reason for part, reason in _UNUSABLE_MODULES.items() if part in kind.__module__)
    return next(by_module, "") or next(_unusable_arguments(parameters), "")


def main() -> None:
    import diffusers

    FILE.write_text(to_text(diffusers.__version__, find_image_pipelines()), encoding="utf-8")
    known_classes.cache_clear()


if __name__ == "__main__":
    main()
