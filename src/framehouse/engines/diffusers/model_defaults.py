"""The default settings of known open-weight models. For other models, the defaults depend on the pipeline class.

The values of known models come from their model cards, or from the examples of the diffusers library. The defaults of a
pipeline class come from `pipeline_classes`.
"""

from dataclasses import dataclass, replace
from typing import Any

from framehouse.engines.diffusers.pipeline_classes import PipelineClass, known_classes

DEFAULT_MODEL = "black-forest-labs/FLUX.2-klein-4B"
MAX_REFERENCES = 10
"""The largest number of references per task. References beyond a model's own limit are tiled onto a contact sheet."""
_UNDOCUMENTED_REFERENCES = 3
"""The default of `max_input_images` for pipelines that accept several input images, but whose limit is not known."""


@dataclass(frozen=True, slots=True)
class ModelDefaults:
    """The arguments for the pipeline of a model, and the size of the model's weights.

    `steps`, `guidance`: the default values. None means the pipeline's own default.
    `class_guidance`: the guidance that the pipeline uses if `guidance` is None. None means that it is not known.
    `cite`: the text that refers to an input image in a prompt.
    `max_input_images`: the largest number of input images that suits the model, or 0 if it accepts only text.
    `input_image_limit`: the largest allowed number of input images.
    `needs_reference`: true if the model cannot generate from text alone.
    `only_expansions`: true if the model generates only the masked area of an image.
    `multiple_prompts`: true if one call accepts several prompts.
    `max_pixels`: the maximum number of pixels of an image that the model generates. If a larger image is requested, the
        generated image is upscaled.
    `min_steps`: the smallest allowed number of steps.
    `negative_prompt`: the default negative prompt. None means no negative prompt.
    `negative_prompts`: true if the pipeline accepts negative prompts. The pipeline uses negative prompts only if the
        guidance is above `guidance_threshold`.
    `inpaint_pipeline`: the diffusers class that generates a masked area with the same weights. Empty if there is no
        such class.
    `arguments`: further arguments of the pipeline.
    `known`: true if the model or its pipeline class is known. Otherwise, the class is inspected when it is loaded.
    `all_gb`, `largest_gb`: the total size of all parts of the model, and the size of its largest part, in GB at 16 bits
        per parameter. 0 means unknown.
    `decode_gb`: the memory in GB that decoding one image of 1024x1024 pixels needs, in addition to the weights.
    """

    steps: int | None = None
    guidance: float | None = None
    cite: str = "image {}"
    max_input_images: int = 1
    input_image_limit: int = MAX_REFERENCES
    needs_reference: bool = False
    only_expansions: bool = False
    multiple_prompts: bool = False
    max_pixels: int = 1024 * 1024
    min_steps: int = 1
    class_guidance: float | None = None
    guidance_threshold: float = 1.0
    negative_prompt: str | None = None
    negative_prompts: bool = False
    inpaint_pipeline: str = ""
    arguments: tuple[tuple[str, object], ...] = ()
    known: bool = True
    all_gb: float = 0.0
    largest_gb: float = 0.0
    decode_gb: float = 1.6
    licence: str = ""


_CLASS_SETTINGS: dict[str, dict[str, Any]] = {
    "Flux2KleinPipeline": {"max_input_images": 4, "max_pixels": 2048 * 2048},
    "Flux2KleinKVPipeline": {"max_input_images": 4, "max_pixels": 2048 * 2048},
    "Flux2Pipeline": {"max_input_images": 6, "max_pixels": 2048 * 2048},
    "Krea2Pipeline": {"max_pixels": 2048 * 2048},
    "QwenImagePipeline": {"max_pixels": 1328 * 1328, "decode_gb": 3.6},
    "QwenImageEditPipeline": {"max_pixels": 1328 * 1328, "decode_gb": 3.6},
    "QwenImageEditPlusPipeline": {
        "cite": "Picture {}",  # the pipeline adds "Picture 1: " before the first reference
        "max_input_images": 3,
        "max_pixels": 1328 * 1328,
        "decode_gb": 3.6,
        "min_steps": 2,  # with a single step, the schedule ends in NaN, so the image is black
    },
    "QwenImage21Pipeline": {"cite": "<image{}>", "max_input_images": 10, "max_pixels": 2048 * 2048},
    "JoyImageEditPlusPipeline": {"max_input_images": 5},
    "OmniGenPipeline": {"cite": "<img><|image_{}|></img>"},
    "GlmImagePipeline": {"max_pixels": 2048 * 2048},
    "HunyuanImagePipeline": {"max_pixels": 2048 * 2048},
    "Ideogram4Pipeline": {"max_pixels": 2048 * 2048},
    "ZImagePipeline": {"max_pixels": 1536 * 1536},
    "StableDiffusionPipeline": {"max_pixels": 768 * 768},
}
"""Settings that the code of the diffusers library does not contain."""


def class_defaults(name: str, described: PipelineClass) -> ModelDefaults:
    """Return the defaults for all models of a pipeline class.

    `steps` and `guidance` are None, so that the child process uses the defaults of the class, or the defaults for
    distilled models if the model is distilled.
    """
    limit = 0 if described.needs_mask else {"none": 0, "one": 1, "several": MAX_REFERENCES}[described.references]
    defaults = ModelDefaults(
        max_input_images=min(limit, _UNDOCUMENTED_REFERENCES),
        input_image_limit=limit,
        needs_reference=described.needs_reference and not described.needs_mask,
        only_expansions=described.needs_mask,
        multiple_prompts=described.several_prompts and not described.one_image_per_call,
        class_guidance=described.guidance,
        guidance_threshold=described.guidance_threshold,
        negative_prompt=" " if described.needs_negative_prompt else None,
        negative_prompts=described.negative_prompts,
        inpaint_pipeline=described.inpaint_pipeline,
    )
    return replace(defaults, **_CLASS_SETTINGS.get(name, {}))


def _model(pipeline: str, **settings: Any) -> tuple[str, ModelDefaults]:
    """Return the name of a model's pipeline class, and the defaults of this class with the settings of the model."""
    return pipeline, replace(class_defaults(pipeline, known_classes()[pipeline]), **settings)


_FLUX_NON_COMMERCIAL = "FLUX Non-Commercial"
_KREA_2 = {"all_gb": 34.7, "largest_gb": 25.8, "licence": "Krea 2 Community"}
_KLEIN_4B = {"all_gb": 16.0, "largest_gb": 8.0, "licence": "Apache-2.0"}
_KLEIN_9B = {"all_gb": 35.0, "largest_gb": 18.0, "licence": _FLUX_NON_COMMERCIAL}
_Z_IMAGE = {"all_gb": 20.5, "largest_gb": 12.3, "licence": "Apache-2.0"}
_QWEN_IMAGE = {"all_gb": 58.0, "largest_gb": 41.0, "licence": "Apache-2.0"}
_FLUX_1 = {"all_gb": 33.7, "largest_gb": 23.8}
_QWEN_2512_NEGATIVE_PROMPT = (
    "低分辨率，低画质，肢体畸形，手指畸形，画面过饱和，蜡像感，"
    "人脸无细节，过度光滑，画面具有AI感。构图混乱。文字模糊，扭曲。"
)
"""The negative prompt of the model card. It names low quality, deformed limbs and unreadable text, among others."""
_MODELS: dict[str, tuple[str, ModelDefaults]] = {
    DEFAULT_MODEL: _model("Flux2KleinPipeline", steps=4, guidance=1.0, **_KLEIN_4B),
    "black-forest-labs/FLUX.2-klein-base-4B": _model("Flux2KleinPipeline", steps=50, guidance=4.0, **_KLEIN_4B),
    "black-forest-labs/FLUX.2-klein-9B": _model("Flux2KleinPipeline", steps=4, guidance=1.0, **_KLEIN_9B),
    "black-forest-labs/FLUX.2-klein-base-9B": _model("Flux2KleinPipeline", steps=50, guidance=4.0, **_KLEIN_9B),
    "black-forest-labs/FLUX.2-klein-9b-kv": _model("Flux2KleinKVPipeline", steps=4, **_KLEIN_9B),
    "black-forest-labs/FLUX.2-dev": _model(
        "Flux2Pipeline", steps=50, guidance=4.0, all_gb=113.0, largest_gb=64.4, licence=_FLUX_NON_COMMERCIAL
    ),
    "Qwen/Qwen-Image-Edit-2511": _model("QwenImageEditPlusPipeline", steps=40, guidance=4.0, **_QWEN_IMAGE),
    "Qwen/Qwen-Image-Edit-2509": _model("QwenImageEditPlusPipeline", steps=40, guidance=4.0, **_QWEN_IMAGE),
    "Qwen/Qwen-Image-Edit": _model("QwenImageEditPipeline", steps=50, guidance=4.0, **_QWEN_IMAGE),
    "Qwen/Qwen-Image-2512": _model(
        "QwenImagePipeline", steps=50, guidance=4.0, negative_prompt=_QWEN_2512_NEGATIVE_PROMPT, **_QWEN_IMAGE
    ),
    "Qwen/Qwen-Image": _model("QwenImagePipeline", steps=50, guidance=4.0, **_QWEN_IMAGE),
    "Qwen/Qwen-Image-2.1": _model(
        "QwenImage21Pipeline", steps=40, guidance=1.0, all_gb=32.5, largest_gb=17.5, licence="Qwen Research"
    ),
    "Tongyi-MAI/Z-Image-Turbo": _model(
        "ZImagePipeline",
        steps=9,  # only 8 of the 9 steps change the image, because no noise is left at the last step
        guidance=0.0,
        **_Z_IMAGE,
    ),
    "Tongyi-MAI/Z-Image": _model("ZImagePipeline", steps=50, guidance=5.0, **_Z_IMAGE),
    "krea/Krea-2-Turbo": _model("Krea2Pipeline", steps=8, guidance=0.0, **_KREA_2),
    "krea/Krea-2-Raw": _model("Krea2Pipeline", steps=28, guidance=4.5, **_KREA_2),
    "baidu/ERNIE-Image": _model("ErnieImagePipeline", steps=50, guidance=4.0, licence="Apache-2.0"),
    "baidu/ERNIE-Image-Turbo": _model("ErnieImagePipeline", steps=8, guidance=1.0, licence="Apache-2.0"),
    "zai-org/GLM-Image": _model(
        "GlmImagePipeline", steps=50, guidance=1.5, all_gb=32.0, largest_gb=18.0, licence="MIT"
    ),
    "jdopensource/JoyAI-Image-Edit-Diffusers": _model(
        "JoyImageEditPipeline", steps=40, guidance=4.0, all_gb=48.0, largest_gb=32.0, licence="Apache-2.0"
    ),
    "jdopensource/JoyAI-Image-Edit-Plus-Diffusers": _model(
        "JoyImageEditPlusPipeline", steps=30, guidance=4.0, all_gb=48.0, largest_gb=32.0, licence="Apache-2.0"
    ),
    "black-forest-labs/FLUX.1-schnell": _model(
        "FluxPipeline",
        steps=4,
        guidance=0.0,
        arguments=(("max_sequence_length", 256),),
        licence="Apache-2.0",
        **_FLUX_1,
    ),
    "black-forest-labs/FLUX.1-Kontext-dev": _model(
        "FluxKontextPipeline", steps=28, guidance=2.5, licence=_FLUX_NON_COMMERCIAL, **_FLUX_1
    ),
    "black-forest-labs/FLUX.1-Fill-dev": _model(
        "FluxFillPipeline", steps=50, guidance=30.0, licence=_FLUX_NON_COMMERCIAL, **_FLUX_1
    ),
}
KNOWN_MODELS: dict[str, ModelDefaults] = {name: defaults for name, (_, defaults) in _MODELS.items()}


def defaults_for(model: str, pipeline: str = "", inspected: PipelineClass | None = None) -> ModelDefaults:
    """Return the defaults of a model.

    The name of the repository determines the defaults. If the repository is unknown, the class `pipeline` (from the
    model's `model_index.json`) determines the defaults. A folder with the name and the class of a known model has the
    defaults of this model. If the class is also unknown, `inspected` (the abilities that the child process found out)
    determines the defaults. Otherwise, the general defaults are returned.
    """
    name = model.lower()
    folder = name.rpartition("/")[2]
    for repository, (known_pipeline, defaults) in _MODELS.items():
        if repository.lower() == name:
            return defaults
        if name.startswith("/") and pipeline == known_pipeline and repository.lower().rpartition("/")[2] == folder:
            return defaults
    if described := known_classes().get(pipeline, inspected):
        return class_defaults(pipeline, described)
    return ModelDefaults(known=False)
