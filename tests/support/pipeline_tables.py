"""The tables of docs/engines/diffusers-pipelines.md, which are generated from the settings in the code."""

from framehouse.engines.diffusers.model_defaults import KNOWN_MODELS, ModelDefaults, class_defaults
from framehouse.engines.diffusers.pipeline_classes import PipelineClass, known_classes

START = "<!-- The rest of this page is generated. To update it, run tests/engines/test_diffusers_pipelines.py. -->\n"


def tables() -> str:
    classes = known_classes()
    usable = {name: entry for name, entry in classes.items() if not entry.unusable}
    return "\n".join(
        [
            START,
            "## Known models",
            "",
            *_table(
                ("model", "licence", "steps", "guidance", "default negative prompt", "input images", "largest image"),
                [(f"`{name}`", *_model_row(model)) for name, model in KNOWN_MODELS.items()],
            ),
            "",
            f"## Pipelines that the engine can use ({len(usable)})",
            "",
            *_table(
                ("pipeline", "input images", "steps", "guidance", "negative prompts", "prompts per call",
                 "expansions with", "progress"),
                [(f"`{name}`", *_class_row(name, entry)) for name, entry in sorted(usable.items())],
            ),
            "",
            f"## Pipelines that the engine cannot use ({len(classes) - len(usable)})",
            "",
            *_table(
                ("pipeline", "reason"),
                [(f"`{name}`", entry.unusable) for name, entry in sorted(classes.items()) if entry.unusable],
            ),
            "",
        ]
    )  # fmt: skip


def _table(heading: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (heading, ("---",) * len(heading), *rows)]


def _model_row(model: ModelDefaults) -> tuple[str, ...]:
    side = int(model.max_pixels**0.5)
    negative_prompt = {None: "none", " ": "a space"}.get(model.negative_prompt, "from the model card")
    return (
        model.licence,
        str(model.steps),
        "none" if model.guidance is None else f"{model.guidance:g}",
        negative_prompt,
        "only expansions" if model.only_expansions else _input_images(model),
        f"{side}x{side}",
    )


def _input_images(model: ModelDefaults) -> str:
    most = str(model.max_input_images) if model.max_input_images else "none"
    return f"1 to {most}" if model.needs_reference and model.max_input_images > 1 else most


def _class_row(name: str, entry: PipelineClass) -> tuple[str, ...]:
    model = class_defaults(name, entry)
    images = {
        "none": "none",
        "one": f"one (`{entry.image_argument}`)",
        "several": f"several (`{entry.image_argument}`)",
    }
    needed = ", needs a mask" if entry.needs_mask else ", needs one" if entry.needs_reference else ""
    limit = f", {model.max_input_images} by default" if entry.references == "several" else ""
    guidance = "" if entry.guidance is None else f" = {entry.guidance:g}"
    negative = f"if guidance is above {entry.guidance_threshold:g}"
    needless = ", and guidance needs one" if entry.needs_negative_prompt else ""
    return (
        images[entry.references] + limit + needed,
        "none" if entry.steps is None else str(entry.steps),
        f"`{entry.guidance_argument}`{guidance}" if entry.guidance_argument else "none",
        negative + needless if entry.negative_prompts else "not used",
        "several" if model.multiple_prompts else "one",
        f"`{entry.inpaint_pipeline}`" if entry.inpaint_pipeline else "none",
        "each step" if entry.reports_progress else "none",
    )
