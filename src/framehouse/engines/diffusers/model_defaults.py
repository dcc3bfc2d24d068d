"""The default settings of known open-weight models. For other models, the defaults depend on the pipeline."""

from dataclasses import dataclass

DEFAULT_MODEL = "black-forest-labs/FLUX.2-klein-4B"
MAX_REFERENCES = 10
"""The largest number of references per task. References beyond a model's own limit are tiled onto a contact sheet."""


@dataclass(frozen=True, slots=True)
class ModelDefaults:
    """The arguments for the pipeline of a model, and the size of the model's weights.

    `steps`, `guidance`: the default values. None means the pipeline's own default.
    `guidance_name`: the name of the pipeline's argument for guidance.
    `cite`: the text that refers to an input image in a prompt.
    `max_input_images`: the largest number of input images that the pipeline accepts, or 0 if it accepts only text.
    `needs_reference`: true if the model cannot generate from text alone.
    `multiple_prompts`: true if one call accepts several prompts.
    `max_pixels`: the maximum number of pixels of an image that the model generates. If a larger image is requested, the
        generated image is upscaled.
    `min_steps`: the smallest allowed number of steps.
    `negative_prompt`: the default negative prompt. None means no negative prompt.
    `negative_prompts`: true if the pipeline accepts negative prompts. The pipeline uses negative prompts only if the
        guidance is above 1.
    `inpaint_pipeline`: the diffusers class that generates a masked area with the same weights. Empty if there is no
        such class.
    `all_gb`, `largest_gb`: the total size of all parts of the model, and the size of its largest part, in GB at 16 bits
        per parameter. 0 means unknown.
    `decode_gb`: the memory in GB that decoding one image of 1024x1024 pixels needs, in addition to the weights.
    """

    steps: int | None = None
    guidance: float | None = None
    cite: str = "image {}"
    max_input_images: int = 1
    needs_reference: bool = False
    multiple_prompts: bool = False
    max_pixels: int = 1024 * 1024
    min_steps: int = 1
    guidance_name: str = "guidance_scale"
    negative_prompt: str | None = None
    negative_prompts: bool = False
    inpaint_pipeline: str = ""
    all_gb: float = 0.0
    largest_gb: float = 0.0
    decode_gb: float = 1.6
    licence: str = ""


def _klein(steps: int, guidance: float) -> ModelDefaults:
    return ModelDefaults(
        steps=steps,
        guidance=guidance,
        max_input_images=4,
        multiple_prompts=True,
        max_pixels=2048 * 2048,
        inpaint_pipeline="Flux2KleinInpaintPipeline",
        all_gb=16.0,
        largest_gb=8.0,
        licence="Apache-2.0",
    )


_QWEN_EDIT = ModelDefaults(
    steps=40,
    guidance=4.0,
    cite="Picture {}",
    max_input_images=3,
    needs_reference=True,
    max_pixels=1328 * 1328,
    min_steps=2,  # with a single step, the schedule ends in NaN, so the image is black
    guidance_name="true_cfg_scale",
    negative_prompt=" ",
    negative_prompts=True,
    inpaint_pipeline="QwenImageEditInpaintPipeline",
    all_gb=58.0,
    largest_gb=41.0,
    decode_gb=3.6,
    licence="Apache-2.0",
)
_Z_IMAGE = ModelDefaults(
    steps=9,  # only 8 of the 9 steps change the image, because no noise is left at the last step
    guidance=0.0,
    max_input_images=0,
    multiple_prompts=True,
    max_pixels=1536 * 1536,
    negative_prompts=True,
    inpaint_pipeline="ZImageInpaintPipeline",
    all_gb=20.5,
    largest_gb=12.3,
    licence="Apache-2.0",
)
KNOWN_MODELS: dict[str, ModelDefaults] = {
    DEFAULT_MODEL: _klein(4, 1.0),
    "black-forest-labs/FLUX.2-klein-base-4B": _klein(50, 4.0),
    "Qwen/Qwen-Image-Edit-2511": _QWEN_EDIT,
    "Qwen/Qwen-Image-Edit-2509": _QWEN_EDIT,
    "Tongyi-MAI/Z-Image-Turbo": _Z_IMAGE,
}
_BY_PIPELINE = {
    "Flux2KleinPipeline": ModelDefaults(
        max_input_images=4,
        multiple_prompts=True,
        max_pixels=2048 * 2048,
        inpaint_pipeline="Flux2KleinInpaintPipeline",
    ),
    "QwenImageEditPlusPipeline": _QWEN_EDIT,
    "ZImagePipeline": _Z_IMAGE,
    "QwenImagePipeline": ModelDefaults(
        guidance=4.0,
        max_input_images=0,
        max_pixels=1328 * 1328,
        guidance_name="true_cfg_scale",
        negative_prompt=" ",
        negative_prompts=True,
        inpaint_pipeline="QwenImageInpaintPipeline",
        decode_gb=3.6,
    ),
    "FluxPipeline": ModelDefaults(max_input_images=0, inpaint_pipeline="FluxInpaintPipeline"),
    "StableDiffusion3Pipeline": ModelDefaults(
        max_input_images=0, negative_prompts=True, inpaint_pipeline="StableDiffusion3InpaintPipeline"
    ),
    "StableDiffusionXLPipeline": ModelDefaults(
        max_input_images=0, negative_prompts=True, inpaint_pipeline="StableDiffusionXLInpaintPipeline"
    ),
    "StableDiffusionPipeline": ModelDefaults(
        max_input_images=0,
        max_pixels=768 * 768,
        negative_prompts=True,
        inpaint_pipeline="StableDiffusionInpaintPipeline",
    ),
}
"""The defaults for folders and for repositories that are not in KNOWN_MODELS, by pipeline class.

The weights of these models may differ, but all models of a pipeline class accept the same arguments.
"""


def defaults_for(model: str, pipeline: str = "") -> ModelDefaults:
    """Return the defaults of a model.

    The name of the model determines the defaults. If the name is unknown, the class `pipeline` (from the model's
    `model_index.json`) determines the defaults. If this class is also unknown, the general defaults are returned.
    """
    models = {name.lower(): defaults for name, defaults in KNOWN_MODELS.items()}
    return models.get(model.lower()) or _BY_PIPELINE.get(pipeline) or ModelDefaults()
