"""Read a request body and check it against the rules of the Kling API.

All problems in the body are reported together.
"""

from collections.abc import Callable, Mapping
from math import ceil

from framehouse.domain.errors import Refused, refused_fields
from framehouse.domain.expansion import MAX_AREA, MAX_RATIO, Expansion
from framehouse.domain.field_reader import FieldReader
from framehouse.domain.model import Catalog, Model
from framehouse.domain.prompt import MAX_PROMPT_CHARACTERS
from framehouse.domain.reference import ReferenceRole
from framehouse.domain.request_fields import (
    MAX_N,
    check_citations,
    check_reference_count,
    check_unused_references,
    read_elements,
    read_external_id,
    read_image,
    read_images,
    read_model,
    read_seed,
    read_subjects,
    read_watermark,
)
from framehouse.domain.sizes import AUTO, RATIOS
from framehouse.domain.task import ImageRequest, RequestOptions, ResultType
from framehouse.domain.task_kind import TaskKind

SERIES_AMOUNT = (2, 9)
MAX_SUBJECTS = 4
DEFAULT_IMAGE_FIDELITY, DEFAULT_HUMAN_FIDELITY = 0.5, 0.45
_Reader = Callable[[FieldReader, Model | None], ImageRequest]


def parse_request(body: object, models: Catalog, kind: TaskKind = "omni-image") -> ImageRequest:
    """Read the request in a JSON body.

    Raises Refused in the same cases as `read_request`. In addition, raises Refused (1201) with a list of all problems
    if the request is invalid.
    """
    request, problems = read_request(body, models, kind)
    if problems:
        raise refused_fields(problems)
    return request


def read_request(body: object, models: Catalog, kind: TaskKind = "omni-image") -> tuple[ImageRequest, list[str]]:
    """Read the request in a JSON body. Returns the request and a list of the problems in the body.

    The request is valid only if the list is empty. Raises Refused (1201) if the body is not an object. Raises Refused
    (1203) if the model is not configured.
    """
    if not isinstance(body, dict):
        raise Refused(1201, "the body must be a JSON object")
    reader = FieldReader(body)
    model = read_model(reader, models, kind)
    check_unused_references(reader, kind)
    return _READERS[kind](reader, model), reader.problems


def _read_omni_image(reader: FieldReader, model: Model | None) -> ImageRequest:
    prompt = reader.required_text("prompt", max_characters=MAX_PROMPT_CHARACTERS)
    # The Kling API has no field `image` in this request, but some clients send references in this field.
    images = (*read_images(reader, "image"), *read_images(reader, "image_list"))
    elements = read_elements(reader)
    check_reference_count(reader, len(images), len(elements))
    check_citations(reader, prompt, len(images), len(elements))
    result_choice = reader.choice("result_type", ("single", "series"), "single")
    result_type: ResultType = "series" if result_choice == "series" else "single"
    if result_type == "series" and model and not model.series:
        reader.add_problem("result_type", f"must be single for {model.name}")
    return ImageRequest(
        model=_name(model),
        prompt=prompt,
        images=images,
        elements=elements,
        resolution=_resolution(reader, model),
        result_type=result_type,
        ratio=reader.choice("aspect_ratio", (*RATIOS, AUTO), AUTO),
        amount=_amount(reader, result_type),
        watermark=read_watermark(reader),
        callback_url=reader.url("callback_url"),
        external_task_id=read_external_id(reader),
        seed=read_seed(reader),
    )


def _read_generation(reader: FieldReader, model: Model | None) -> ImageRequest:
    prompt = reader.required_text("prompt", max_characters=MAX_PROMPT_CHARACTERS)
    reference = reader.choice("image_reference", ("subject", "face"), "")
    role: ReferenceRole = "face" if reference == "face" else "subject" if reference == "subject" else ""
    images = (*read_images(reader, "image", role), *read_images(reader, "image_list", role))
    if role and not images:
        reader.add_problem("image", "is required if image_reference is set")
    elements = read_elements(reader)
    check_reference_count(reader, len(images), len(elements))
    check_citations(reader, prompt, len(images), len(elements))
    return ImageRequest(
        kind="generations",
        model=_name(model),
        prompt=prompt,
        images=images,
        elements=elements,
        resolution=_resolution(reader, model),
        ratio=reader.choice("aspect_ratio", (*RATIOS, AUTO), "16:9"),
        amount=reader.integer("n", 1, MAX_N, 1),
        watermark=read_watermark(reader),
        callback_url=reader.url("callback_url"),
        external_task_id=read_external_id(reader),
        seed=read_seed(reader),
        options=RequestOptions(
            negative_prompt=reader.text("negative_prompt", max_characters=MAX_PROMPT_CHARACTERS).strip(),
            image_fidelity=_fidelity(reader, "image_fidelity", DEFAULT_IMAGE_FIDELITY),
            human_fidelity=_fidelity(reader, "human_fidelity", DEFAULT_HUMAN_FIDELITY),
        ),
    )


def _read_multi_image(reader: FieldReader, model: Model | None) -> ImageRequest:
    images = (
        *read_subjects(reader, MAX_SUBJECTS),
        *read_image(reader, "scene_image", "scene"),
        *read_image(reader, "style_image", "style"),
    )
    prompt = reader.text("prompt", max_characters=MAX_PROMPT_CHARACTERS)
    check_citations(reader, prompt, len(images), 0)
    return ImageRequest(
        kind="multi-image2image",
        model=_name(model),
        prompt=prompt,
        images=images,
        ratio=reader.choice("aspect_ratio", (*RATIOS, AUTO), "16:9"),
        amount=reader.integer("n", 1, MAX_N, 1),
        watermark=read_watermark(reader),
        callback_url=reader.url("callback_url"),
        external_task_id=read_external_id(reader),
        seed=read_seed(reader),
    )


def _read_expansion(reader: FieldReader, model: Model | None) -> ImageRequest:
    ratios = {
        side: reader.number(f"{side}_expansion_ratio", 0, MAX_RATIO, 0) for side in ("up", "down", "left", "right")
    }
    expansion = Expansion(**ratios)
    if not any(ratios.values()) and not any("_expansion_ratio" in problem for problem in reader.problems):
        reader.add_problem("up_expansion_ratio", "or one of the ratios for down, left and right must be greater than 0")
    elif expansion.area > MAX_AREA + 1e-9:
        reader.add_problem(
            "up_expansion_ratio",
            f"and the other ratios enlarge the image to {ceil(expansion.area * 100) / 100:g} times its original area; "
            f"at most {MAX_AREA:g} times the original area is allowed",
        )
    if model and not model.expansions:
        reader.add_problem("model_name", f"{model.name} cannot expand images, because none of its engines can")
    prompt = reader.text("prompt", max_characters=MAX_PROMPT_CHARACTERS)
    images = read_image(reader, "image", "original", required=True)
    check_citations(reader, prompt, len(images), 0)
    return ImageRequest(
        kind="expand",
        model=_name(model),
        prompt=prompt,
        images=images,
        amount=reader.integer("n", 1, MAX_N, 1),
        watermark=read_watermark(reader),
        callback_url=reader.url("callback_url"),
        external_task_id=read_external_id(reader),
        seed=read_seed(reader),
        options=RequestOptions(expansion=expansion),
    )


def _read_try_on(reader: FieldReader, model: Model | None) -> ImageRequest:
    return ImageRequest(
        kind="try-on",
        model=_name(model),
        prompt="",
        images=(
            *read_image(reader, "human_image", "human", required=True),
            *read_image(reader, "cloth_image", "cloth", required=True),
        ),
        watermark=read_watermark(reader),
        callback_url=reader.url("callback_url"),
        external_task_id=read_external_id(reader),
        seed=read_seed(reader),
    )


_READERS: Mapping[TaskKind, _Reader] = {
    "omni-image": _read_omni_image,
    "generations": _read_generation,
    "multi-image2image": _read_multi_image,
    "expand": _read_expansion,
    "try-on": _read_try_on,
}


def _name(model: Model | None) -> str:
    return model.name if model else ""


def _resolution(reader: FieldReader, model: Model | None) -> str:
    return reader.choice("resolution", model.resolutions if model else ("1k", "2k", "4k"), "1k")


def _fidelity(reader: FieldReader, name: str, default: float) -> float | None:
    """Return a fidelity (see `RequestOptions`). If the field is absent, return None: the engine then uses its own
    default."""
    return reader.number(name, 0, 1, default) if reader.get(name) is not None else None


def _amount(reader: FieldReader, result_type: ResultType) -> int | None:
    if result_type == "single":
        return reader.integer("n", 1, MAX_N, 1)
    value = reader.body.get("series_amount")
    if isinstance(value, str) and value.strip().lower() in (AUTO, ""):
        return None
    low, high = SERIES_AMOUNT
    return reader.integer("series_amount", low, high, 0) or None
