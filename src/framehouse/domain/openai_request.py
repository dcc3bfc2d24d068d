"""Read a request of OpenAI's image API, and convert it to the request that all dialects share."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from framehouse.domain.errors import Refused
from framehouse.domain.field_reader import FieldReader, quoted
from framehouse.domain.model import Catalog, Model
from framehouse.domain.reference import MAX_REFERENCES, LongString, SentImage
from framehouse.domain.request_fields import (
    MAX_N,
    check_citations,
    read_elements,
    read_external_id,
    read_images,
    read_seed,
)
from framehouse.domain.sizes import AUTO, RATIOS, RESOLUTIONS, Size, nearest_ratio, ratio_and_resolution, size_of
from framehouse.domain.task import ImageRequest, OutputFormat, RequestOptions
from framehouse.domain.task_kind import TaskKind

MAX_PROMPT_CHARACTERS = 32_000
MIN_SIDE_PX, MAX_SIDE_PX, MAX_PIXELS, MAX_SIDE_RATIO = 256, 6272, 4096 * 4096, 3
MAX_PARTIAL_IMAGES = 3
FORMATS: tuple[OutputFormat, ...] = ("png", "jpeg", "webp")
QUALITIES: Mapping[str, str] = {
    "low": "1k",
    "medium": "1k",
    "standard": "1k",
    "high": "2k",
    "hd": "2k",
    "xhigh": "4k",
    "max": "4k",
}
"""The resolution for each value of `quality`."""
_KINDS: tuple[TaskKind, ...] = ("omni-image", "generations")
_OPENAI_MODEL = re.compile(r"(?:gpt-image|dall-e|chatgpt-image)[A-Za-z0-9._-]*")
_SIZE = re.compile(r"([0-9]{1,5})\s*[x×*]\s*([0-9]{1,5})", re.IGNORECASE)
_ENLARGEMENT = 1.34
"""A resolution is sufficient if its images must be enlarged by at most this factor to get the requested size."""
_DELIVERY_FIELDS = frozenset({"async", "partial_images", "response_format", "stream", "user"})
"""The fields that do not determine the task, but only how the client receives the images."""


@dataclass(frozen=True, slots=True)
class ImageDelivery:
    """How a client receives the images of a task.

    `urls` is true if the response contains URLs instead of base64. `stream` is true if the response is a stream of
    events. `partial_images` is the number of partial images that the stream may contain for each image.
    `asynchronous` is true if the response contains only the id of the task.
    """

    urls: bool = False
    stream: bool = False
    partial_images: int = 0
    asynchronous: bool = False


def read_openai_request(
    body: object, models: Catalog, *, edit: bool
) -> tuple[ImageRequest, Model, ImageDelivery, list[str]]:
    """Read the request in the fields of a JSON object or of a form.

    If `edit` is true, the request must contain an image. Returns the request, its model, how the client receives the
    images, and a list of the problems in the fields. The request is valid only if the list is empty. Fields that have
    no meaning here, such as `moderation` and `user`, are ignored.

    Raises Refused (1201) if the body is not an object. Raises Refused (1203) if the model is not configured.
    """
    if not isinstance(body, dict):
        raise Refused(1201, "the body must be a JSON object or a form")
    reader = FieldReader(body)
    model = _read_model(reader, models)
    prompt = reader.required_text("prompt", max_characters=MAX_PROMPT_CHARACTERS)
    images = (*read_images(reader, "image"), *read_images(reader, "images"))
    if edit and not images:
        reader.add_problem("image", "is required and must not be empty")
    elements = read_elements(reader)
    if len(images) + len(elements) > MAX_REFERENCES:
        reader.add_problem("image", f"has {len(images)} images; at most {MAX_REFERENCES} are allowed")
    check_citations(reader, prompt, len(images), len(elements))
    _check_background(reader)
    quality = reader.choice("quality", (*QUALITIES, AUTO), AUTO)
    ratio, resolution, size = _read_size(reader, model, QUALITIES.get(quality, ""))
    request = ImageRequest(
        kind=next(kind for kind in _KINDS if kind in model.kinds),
        model=model.name,
        prompt=prompt,
        images=(*images, *_read_mask(reader)) if edit else images,
        elements=elements,
        resolution=resolution,
        ratio=ratio,
        amount=reader.integer("n", 1, MAX_N, 1),
        callback_url=reader.url("callback_url"),
        external_task_id=read_external_id(reader),
        seed=read_seed(reader),
        options=_read_options(reader, size),
    )
    delivery = _read_delivery(reader)
    if delivery.partial_images:
        request = replace(request, options=replace(request.options, partial_images=delivery.partial_images))
    return request, model, delivery, reader.problems


def request_digest(body: object, *, edit: bool) -> bytes:
    """Return the SHA-256 digest of the fields that determine a task.

    The digest of a form does not depend on its boundary, which differs when a client repeats a request. A request that
    is repeated with another value of `stream` has the same digest.
    """
    assert isinstance(body, dict), "the body has been read"
    fields = {name: value for name, value in body.items() if name not in _DELIVERY_FIELDS}
    text = json.dumps(["edits" if edit else "generations", fields], sort_keys=True, default=_digest_of_file)
    return hashlib.sha256(text.encode(errors="surrogatepass")).digest()


def _digest_of_file(value: object) -> Any:
    assert isinstance(value, LongString)
    return [value.characters, value.content.sha256 if value.content else value.problem, value.head]


def default_model(models: Catalog) -> Model | None:
    """Return the model for requests that name no model or one of OpenAI's models: the setting `default_model`, or the
    first configured model."""
    candidates = ([models.default] if models.default else []) + list(models.models)
    return next((model for model in candidates if offers_images(model)), None)


def offers_images(model: Model) -> bool:
    """Return whether the dialect offers a model."""
    return any(kind in model.kinds for kind in _KINDS)


def _read_model(reader: FieldReader, models: Catalog) -> Model:
    name = reader.text("model", max_characters=200, strip=True)
    found = models.find(name) if name else None
    if found and offers_images(found):
        return found
    default = default_model(models)
    if default and (not name or (found is None and _OPENAI_MODEL.fullmatch(name.lower()))):
        return default
    names = ", ".join(model.name for model in models.models if offers_images(model)) or "none"
    raise Refused(1203, f"model {quoted(name)} does not exist; the available models are: {names}")


def _read_mask(reader: FieldReader) -> tuple[SentImage, ...]:
    """Return the mask, with the role `mask`. The mask belongs to the first image."""
    return tuple(SentImage(image.field, image.image, "mask") for image in read_images(reader, "mask"))


def _check_background(reader: FieldReader) -> None:
    if reader.choice("background", ("transparent", "opaque", AUTO), AUTO) == "transparent":
        reader.add_problem("background", "must be opaque or auto, because images have no transparency here")


def _read_size(reader: FieldReader, model: Model, resolution: str) -> tuple[str, str, Size | None]:
    """Return the aspect ratio, the resolution, and the exact size unless the first two determine it.

    `resolution` is the resolution that the quality selects, or empty. The field `resolution` is an extension and takes
    precedence. A resolution that the model does not offer is replaced by the largest offered resolution.
    """
    sent = reader.choice("resolution", RESOLUTIONS, "") or resolution
    ratio = reader.choice("aspect_ratio", (*RATIOS, AUTO), AUTO)
    text = reader.text("size", max_characters=40, strip=True).lower()
    if text in ("", AUTO):
        return ratio, offered_resolution(model, sent or "1k"), None
    match = _SIZE.fullmatch(text)
    size = Size(int(match[1]), int(match[2])) if match else Size(0, 0)
    if problem := _size_problem(size):
        reader.add_problem("size", f"{problem}, not {quoted(text)}")
        return ratio, offered_resolution(model, sent or "1k"), None
    try:
        ratio, exact = ratio_and_resolution(size)
    except KeyError:
        ratio = nearest_ratio(*size)
        return ratio, offered_resolution(model, sent or sufficient_resolution(size)), size
    resolution = offered_resolution(model, sent or exact)
    return ratio, resolution, None if resolution == exact else size


def _size_problem(size: Size) -> str:
    """Return the rule that a size violates, or an empty string."""
    if min(size) < MIN_SIDE_PX or max(size) > MAX_SIDE_PX:
        return f"must be auto or WIDTHxHEIGHT with sides of {MIN_SIDE_PX} to {MAX_SIDE_PX} px"
    if size.width * size.height > MAX_PIXELS:
        return f"must have at most {MAX_PIXELS:,} pixels"
    if max(size) > MAX_SIDE_RATIO * min(size):
        return f"must have a longer side of at most {MAX_SIDE_RATIO} times the shorter side"
    return ""


def sufficient_resolution(size: Size) -> str:
    """Return the smallest resolution whose images are enlarged only slightly, or not at all, to get this size."""
    ratio = nearest_ratio(*size)

    def enlargement(resolution: str) -> float:
        generated = size_of(ratio, resolution)
        return max(size.width / generated.width, size.height / generated.height)

    return next((name for name in RESOLUTIONS if enlargement(name) <= _ENLARGEMENT), RESOLUTIONS[-1])


def offered_resolution(model: Model, resolution: str) -> str:
    """Return the resolution if the model offers it, otherwise the largest smaller one, otherwise the smallest one."""
    offered = [name for name in RESOLUTIONS if name in model.resolutions]
    not_larger = [name for name in offered if RESOLUTIONS.index(name) <= RESOLUTIONS.index(resolution)]
    return (not_larger or offered)[-1 if not_larger else 0]


def _read_options(reader: FieldReader, size: Size | None) -> RequestOptions:
    chosen = reader.choice("output_format", FORMATS, "")
    format: OutputFormat | None = next((name for name in FORMATS if name == chosen), None)
    # OpenAI calls this field compression, but 100 stands for the best quality
    quality = (
        reader.integer("output_compression", 0, 100, 100) if reader.get("output_compression") is not None else None
    )
    return RequestOptions(size=size, format=format, quality=None if quality is None else max(1, quality))


def _read_delivery(reader: FieldReader) -> ImageDelivery:
    response_format = reader.choice("response_format", ("b64_json", "url"), "b64_json")
    stream = reader.boolean("stream")
    partial_images = reader.integer("partial_images", 0, MAX_PARTIAL_IMAGES, 0)
    delivery = ImageDelivery(
        urls=response_format == "url",
        stream=stream,
        partial_images=partial_images if stream else 0,
        asynchronous=reader.boolean("async"),
    )
    if delivery.stream and delivery.asynchronous:
        reader.add_problem("stream", "must be false if async is true")
    return delivery
