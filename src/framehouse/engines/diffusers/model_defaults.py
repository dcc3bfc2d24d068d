"""What differs from one open model to the next. What is not in the table is asked of the pipeline itself."""

from dataclasses import dataclass

DEFAULT = "black-forest-labs/FLUX.2-klein-4B"
MOST_REFERENCES = 10
"""As many as a task may have: what is beyond a model's own limit goes onto a contact sheet."""


@dataclass(frozen=True, slots=True)
class Known:
    """How a model is asked, and what its weights weigh in 16 bits: all of them, and the largest part (0: not known).

    `steps` and `guidance` None: as the pipeline itself says. `shown`: how many pictures it is shown at most, 0 where it
    paints from words alone. `needs_reference`: it does not paint from words alone. `many_prompts`: one call takes
    several. `most_pixels`: up to where it paints well. `guidance_name`: the argument that guides it. `negative`: the
    negative prompt that it wants to be given.
    """

    steps: int | None = None
    guidance: float | None = None
    cite: str = "image {}"
    shown: int = 1
    needs_reference: bool = False
    many_prompts: bool = False
    most_pixels: int = 1024 * 1024
    least_steps: int = 1
    guidance_name: str = "guidance_scale"
    negative: str | None = None
    all_gb: float = 0.0
    largest_gb: float = 0.0
    licence: str = ""


def _klein(steps: int, guidance: float) -> Known:
    return Known(
        steps=steps,
        guidance=guidance,
        shown=4,
        many_prompts=True,
        most_pixels=2048 * 2048,
        all_gb=16.0,
        largest_gb=8.0,
        licence="Apache-2.0",
    )


_QWEN_EDIT = Known(
    steps=40,
    guidance=4.0,
    cite="Picture {}",
    shown=3,
    needs_reference=True,
    most_pixels=1328 * 1328,
    least_steps=2,  # with one, its schedule ends in NaN and the picture is black
    guidance_name="true_cfg_scale",
    negative=" ",
    all_gb=58.0,
    largest_gb=41.0,
    licence="Apache-2.0",
)
_Z_IMAGE = Known(
    steps=9,  # 8 of them count: the last has no noise left to take away
    guidance=0.0,
    shown=0,
    many_prompts=True,
    most_pixels=1536 * 1536,
    all_gb=20.5,
    largest_gb=12.3,
    licence="Apache-2.0",
)
TABLE: dict[str, Known] = {
    DEFAULT: _klein(4, 1.0),
    "black-forest-labs/FLUX.2-klein-base-4B": _klein(50, 4.0),
    "Qwen/Qwen-Image-Edit-2511": _QWEN_EDIT,
    "Qwen/Qwen-Image-Edit-2509": _QWEN_EDIT,
    "Tongyi-MAI/Z-Image-Turbo": _Z_IMAGE,
}
_BY_PIPELINE = {
    "Flux2KleinPipeline": Known(shown=4, many_prompts=True, most_pixels=2048 * 2048),
    "QwenImageEditPlusPipeline": _QWEN_EDIT,
    "ZImagePipeline": _Z_IMAGE,
}
"""For folders and other repositories: the weights may be others, how they are asked is the same."""


def known(model: str, pipeline: str = "") -> Known:
    """How `model` is asked: by its name, or by the class that its `model_index.json` names, or as most are."""
    names = {name.lower(): entry for name, entry in TABLE.items()}
    return names.get(model.lower()) or _BY_PIPELINE.get(pipeline) or Known()
