"""Read the fields that several kinds of requests share."""

from framehouse.domain.errors import Refused
from framehouse.domain.field_reader import FieldReader, quoted, read_int, shortened
from framehouse.domain.model import Catalog, Model
from framehouse.domain.prompt import citations, resolve_citation
from framehouse.domain.reference import MAX_REFERENCES, ReferenceRole, SentImage
from framehouse.domain.task_kind import TaskKind

MAX_N = 9
MAX_EXTERNAL_ID_CHARACTERS = 255
MAX_SEED = 2**53 - 1
_LIMIT_TEXT = "at most {max_entries} images and elements together are allowed"
_IMAGE_KEYS = ("image", "url", "image_url")
_DEFAULT_MODELS: dict[TaskKind, str] = {
    "generations": "kling-v3",
    "multi-image2image": "kling-v2-1",
    "try-on": "kolors-virtual-try-on-v1",
}
"""The models that the Kling API specifies for requests without `model_name`."""
_USED_REFERENCE_FIELDS: dict[TaskKind, tuple[str, ...]] = {
    "omni-image": ("image", "image_list", "element_list"),
    "generations": ("image", "image_list", "element_list"),
    "multi-image2image": ("subject_image_list", "scene_image", "style_image"),
    "expand": ("image",),
    "try-on": ("human_image", "cloth_image"),
}
_REFERENCE_FIELDS = tuple(dict.fromkeys(name for names in _USED_REFERENCE_FIELDS.values() for name in names))


def read_model(reader: FieldReader, models: Catalog, kind: TaskKind) -> Model | None:
    """Return the model that a request names, or the default model for this kind of request.

    For omni-image, the default is the setting `default_model`. For all other kinds, the default is the first of the
    following models that supports this kind of request: the model that the Kling API specifies, `default_model`, and
    the other models in the order of the configuration. Returns None if the named model does not support this kind of
    request, or if no default model was found. In both cases, `reader.problems` contains the reason. Raises Refused
    (1203) if the named model is not configured.
    """
    name = reader.text("model_name", max_characters=200, strip=True)
    name = name or reader.text("model", max_characters=200, strip=True)
    if name:
        if (model := models.find(name)) is None:
            raise Refused(1203, f"model_name {quoted(name)} does not exist")
        if kind not in model.kinds:
            reader.add_problem("model_name", f"{shortened(name)} is not available here; {_offers(models, kind)}")
            return None
        return model
    candidates = [models.find(_DEFAULT_MODELS.get(kind, "")), models.default]
    if kind != "omni-image":
        candidates += models.models
    default = next((model for model in candidates if model and kind in model.kinds), None)
    if default is None and not reader.problems:
        reader.add_problem("model_name", f"is required; {_offers(models, kind)}")
    return default


def _offers(models: Catalog, kind: TaskKind) -> str:
    names = [model.name for model in models.models if kind in model.kinds]
    return f"send {' or '.join(names)}" if names else "no configured model supports this endpoint"


def read_images(reader: FieldReader, name: str, role: ReferenceRole = "") -> tuple[SentImage, ...]:
    """Return the images in a field. Each image is a string, or an object with one of `_IMAGE_KEYS`.

    The field contains a list or, unless its name ends with `_list`, a single image.
    """
    value = reader.get(name)
    if value is None:
        return ()
    if not isinstance(value, list):
        if name.endswith("_list"):
            reader.add_problem(name, f"must be a list of images, not {quoted(value)}")
            return ()
        return (_sent_image(reader, name, value, _IMAGE_KEYS, role),)
    if len(value) > MAX_REFERENCES:
        reader.add_problem(name, f"has {len(value)} entries; {_LIMIT_TEXT.format(max_entries=MAX_REFERENCES)}")
    return tuple(
        _sent_image(reader, f"{name}[{index}]", item, _IMAGE_KEYS, role)
        for index, item in enumerate(value[: MAX_REFERENCES + 1])
    )


def read_image(reader: FieldReader, name: str, role: ReferenceRole, *, required: bool = False) -> tuple[SentImage, ...]:
    """Return the image in a field, or an empty tuple if the field is absent."""
    value = reader.get(name)
    if value is None:
        if required:
            reader.add_problem(name, "is required and must not be empty")
        return ()
    return (_sent_image(reader, name, value, (name, *_IMAGE_KEYS), role),)


def read_subjects(reader: FieldReader, max_subjects: int) -> tuple[SentImage, ...]:
    """Return the images in `subject_image_list`, which must contain 1 to `max_subjects` images."""
    name = "subject_image_list"
    value = reader.get(name)
    if not isinstance(value, list) or not 1 <= len(value) <= max_subjects:
        count = f", not {len(value)}" if isinstance(value, list) else ""
        reader.add_problem(name, f"is required and must be a list of 1 to {max_subjects} images{count}")
        return ()
    keys = ("subject_image", *_IMAGE_KEYS)
    return tuple(_sent_image(reader, f"{name}[{i}]", item, keys, "subject") for i, item in enumerate(value))


def _sent_image(reader: FieldReader, field: str, item: object, keys: tuple[str, ...], role: ReferenceRole) -> SentImage:
    """Return one image. `field` is the path of `item`. If the item is invalid, the attribute `image` of the result is
    an empty string."""
    if isinstance(item, dict):
        sent = [key for key in keys if item.get(key) not in (None, "")]
        key = sent[0] if sent else keys[0]
        if any(item[other] != item[key] for other in sent[1:]):
            reader.add_problem(field, f"contains several images: {', '.join(sent)}; send one object for each image")
        field, item = f"{field}.{key}", item.get(key)
    if item in (None, ""):
        reader.add_problem(field, "is required and must not be empty")
        return SentImage(field, "", role)
    return SentImage(field, reader.image(field, item), role)


def check_unused_references(reader: FieldReader, kind: TaskKind) -> None:
    """Add a problem for each field whose references this kind of request does not use.

    Without this check, the request would be accepted, but no engine would use these references.
    """
    for name in _REFERENCE_FIELDS:
        if name not in _USED_REFERENCE_FIELDS[kind] and reader.get(name) not in (None, [], {}):
            used = ", ".join(_USED_REFERENCE_FIELDS[kind])
            reader.add_problem(name, f"is not used by this endpoint; its reference fields are {used}")


def read_elements(reader: FieldReader) -> tuple[int, ...]:
    """Return the ids in `element_list`. An invalid id is replaced by 0."""
    elements = []
    for index, value in enumerate(reader.objects("element_list", "element_id", limit_text=_LIMIT_TEXT)):
        number = read_int(value)
        if number is None or number < 1:
            reader.add_problem(f"element_list[{index}].element_id", f"must be a positive integer, not {quoted(value)}")
            number = 0
        elements.append(number)
    return tuple(elements)


def check_reference_count(reader: FieldReader, images: int, elements: int) -> None:
    """Add a problem if the request contains too many images and elements in total.

    If one list alone is too long, a problem for this list has already been added, and no further problem is added.
    """
    names = [name for name in ("image", "image_list", "element_list") if reader.get(name) not in (None, [])]
    longest = max(len(value) if isinstance(value := reader.get(name), list) else 1 for name in names) if names else 0
    if images + elements > MAX_REFERENCES >= longest:
        reader.add_problem(
            " and ".join(names),
            f"have {images + elements} entries; at most {MAX_REFERENCES} in total are allowed",
        )


def check_citations(reader: FieldReader, prompt: str, images: int, elements: int) -> None:
    """Add a problem for each citation whose image or element is not in the request."""
    for citation in citations(prompt):
        resolved = resolve_citation(citation, images=images, elements=elements)
        if resolved is None and citation.must_exist:
            counts = f"{_count(images, 'image')} and {_count(elements, 'element')}"
            reader.add_problem("prompt", f"cites {shortened(citation.text)}, but {counts} were sent")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def read_external_id(reader: FieldReader) -> str:
    """Read the id that the client assigns to a task, without surrounding whitespace.

    Returns an empty string if the field is absent or does not contain valid text.

    An id with control characters is returned, but a problem is added to `reader.problems`.
    """
    value = reader.text("external_task_id", max_characters=MAX_EXTERNAL_ID_CHARACTERS, strip=True)
    if any(ord(c) < 0x20 or ord(c) == 0x7F for c in value):
        reader.add_problem("external_task_id", "must not contain control characters")
    return value


def read_watermark(reader: FieldReader) -> bool:
    """Return whether a watermarked copy is requested, in `watermark_info.enabled` or in `watermark`.

    The field `watermark` is read only if `watermark_info` is absent. Some clients send `watermark` instead.
    """
    info = reader.get("watermark_info")
    if info is None:
        return reader.boolean("watermark")
    if not isinstance(info, dict):
        reader.add_problem("watermark_info", 'must be {"enabled": true} or {"enabled": false}')
        return False
    return FieldReader(info, reader.problems, "watermark_info.").boolean("enabled")


def read_seed(reader: FieldReader) -> int | None:
    """Read the field `seed`, which is not part of the Kling API. Returns None if the field is absent or invalid.

    An invalid seed is ignored, because the Kling API ignores unknown fields.
    """
    seed = read_int(reader.body.get("seed"))
    return seed if seed is not None and 0 <= seed <= MAX_SEED else None
